"""Training data: what it holds is found in folders, archives and tables, and a receipt says so."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from support import encoded, photo
from tutela.banks.bank import NewEntry, Tier
from tutela.bulk import dataset, receipt
from tutela.bulk.dataset import Found
from tutela.bulk.shards import Shard, members
from tutela.cli.app import app
from tutela.content import Content
from tutela.errors import ConfigurationError, ReceiptInvalid
from tutela.findings import MINOR, NUDITY, Finding
from tutela.screening import Screener
from tutela.settings import load

KNOWN = encoded(photo("coffee"), quality=92)
OTHERS = {name: encoded(photo(name), quality=85) for name in ("cat", "coins", "rocket")}
LARGE = 1 << 30
PASSED, HELD, BLOCKED = 0, 3, 4


@pytest.fixture
def screener(tmp_path) -> Iterator[Screener]:
    with Screener(dataset.settings_for(load(tmp_path / "data", workers=1))) as made:
        yield made


def bank(screener, data=KNOWN) -> None:
    screener.banks.create("hotline", Tier.CONFIRMED, owner="a hotline")
    made = screener.examine(Content(data=data)).fingerprints
    screener.banks.add("hotline", [NewEntry(one) for one in made])


def tar(path, files, mode="w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def table(path, rows) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parquet.write_table(
        pa.table(
            {
                "caption": pa.array([f"caption {n}" for n in range(len(rows))]),
                "image": pa.array([{"bytes": row, "path": "x.jpg"} for row in rows], kind),
            }
        ),
        path,
    )


def make(kind, folder):
    """A data set of four pictures and captions, one of the pictures known."""
    folder.mkdir()
    files = [("0.jpg", OTHERS["cat"]), ("1.jpg", KNOWN), ("2.jpg", OTHERS["coins"])]
    files.append(("3.jpg", OTHERS["rocket"]))
    with_texts = [*files, *((f"{n}.txt", b"a caption") for n in range(4))]
    if kind == "folder":
        for name, data in with_texts:
            (folder / name).write_bytes(data)
    elif kind == "parquet":
        table(folder / "train.parquet", [data for _, data in files])
    else:
        tar(folder / f"shard-000.{kind}", with_texts, "w:gz" if kind == "tar.gz" else "w")
    return folder


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "parquet"])
def test_known_material_is_found_wherever_it_lies(screener, tmp_path, kind) -> None:
    bank(screener)
    result = dataset.scan(screener, make(kind, tmp_path / "set"))
    assert result.found.matches == {"hotline": 1}
    assert not result.found.passed
    assert result.found.members == (4 if kind == "parquet" else 8)
    assert result.found.other == (0 if kind == "parquet" else 4)
    assert sum(result.progress.actions.values()) == 4
    assert result.progress.actions["block"] == 1
    (listed,) = result.receipt["lists"]
    assert (listed["bank"], listed["tier"], listed["owner"]) == (
        "hotline",
        "confirmed",
        "a hotline",
    )
    assert len(result.receipt["dataset"]["shards"]) == (kind != "folder")


def test_a_data_set_with_nothing_in_it_that_was_looked_for_passes(screener, tmp_path) -> None:
    result = dataset.scan(screener, make("tar", tmp_path / "set"))
    assert result.found.passed
    assert result.found.mixed == "no"


def test_minors_in_one_place_and_nudity_in_another_are_mixed(screener, tmp_path) -> None:
    """The detectors' findings are stood in for: no such picture is ever used."""

    class Stand:
        version, looks_at, cost = "1", frozenset({"views"}), 1.0

        def __init__(self, name, kind, likelihood, of):
            self.name, self.kinds = name, frozenset({kind})
            self.finding = Finding(kind, name, likelihood=likelihood)
            self.of = of

        def prepare(self, options):
            pass

        def applies(self, facts):
            return True

        def examine(self, subject):
            light = subject.views[0].rgb.mean() > 120
            return [self.finding] if light == self.of else []

    screener.panel.all = (
        Stand("nudity", NUDITY, 0.9, of=True),
        Stand("minor", MINOR, 0.8, of=False),
    )
    folder = tmp_path / "set"
    folder.mkdir()
    for name, grey in (("light.png", 250), ("dark.png", 5)):
        (folder / name).write_bytes(encoded(Image.new("RGB", (64, 64), (grey,) * 3), "PNG"))
    result = dataset.scan(screener, folder)
    assert (result.found.nudity, result.found.apparent_minors) == (1, 1)
    assert result.found.mixed == "yes"
    assert not result.found.passed
    assert set(result.progress.actions) == {"allow"}, "no single picture says so"


@given(
    st.builds(
        Found,
        *(st.integers(0, 2) for _ in range(4)),
        *[st.just({}), st.just(0)],
        *(st.integers(0, 2) for _ in range(3)),
    )
)
def test_mixed_is_never_denied_where_it_can_t_be_known(found) -> None:
    unseen = found.unexamined or found.too_large
    if found.nudity and found.apparent_minors:
        assert found.mixed == "yes"
    if found.nudity and not found.apparent_minors:
        assert (found.mixed == "no") == (not found.untold and not unseen)
    assert not (found.passed and (found.mixed != "no" or unseen))


def test_what_can_t_be_examined_is_counted_and_does_not_pass(screener, tmp_path) -> None:
    folder = make("folder", tmp_path / "set")
    (folder / "broken.jpg").write_bytes(OTHERS["cat"][:300])
    (folder / "layers.psd").write_bytes(b"8BPS" + bytes(100))
    found = dataset.scan(screener, folder).found
    assert found.unexamined == 2
    assert not found.passed


def test_a_member_that_is_too_large_is_said(tmp_path) -> None:
    folder = make("tar", tmp_path / "set")
    seen = list(members(folder, 1_000, []))
    assert {one.key.rsplit(".", 1)[1]: one.data is None for one in seen} == {
        "jpg": True,
        "txt": False,
    }


def test_a_scan_that_was_cut_off_goes_on_and_counts_everything(screener, tmp_path) -> None:
    bank(screener)
    folder = make("tar", tmp_path / "set")

    class Cut(Exception):
        pass

    def cut(progress, name, verdict):
        raise Cut

    with pytest.raises(Cut):
        dataset.scan(screener, folder, on_verdict=cut)
    result = dataset.scan(screener, folder)
    assert result.progress.resumed >= 1
    assert sum(result.progress.actions.values()) == 4
    assert result.found.matches == {"hotline": 1}
    fresh = dataset.scan(screener, folder, fresh=True)
    assert fresh.progress.resumed == 0
    assert fresh.receipt["dataset"] == result.receipt["dataset"]


def test_a_shard_that_changed_meanwhile_is_looked_at_again(screener, tmp_path) -> None:
    folder = make("tar", tmp_path / "set")
    path = folder / "shard-000.tar"

    def cut(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.scan(screener, folder, on_verdict=cut)
    tar(path, [("1.jpg", KNOWN)])
    os.utime(path, ns=(1, 1))
    bank(screener)
    result = dataset.scan(screener, folder)
    assert result.progress.resumed == 0
    assert result.progress.actions == {"block": 1}


def test_a_name_that_stands_twice_in_an_archive_is_two_members(tmp_path) -> None:
    tar(tmp_path / "a.tar", [("x.jpg", b"one"), ("x.jpg", b"two")])
    assert [(one.key, one.data) for one in members(tmp_path, LARGE, [])] == [
        ("a.tar/x.jpg", b"one"),
        ("a.tar/x.jpg (2)", b"two"),
    ]


def test_the_digest_of_a_shard_is_that_of_its_file(tmp_path) -> None:
    import hashlib

    for kind in ("tar", "tar.gz", "parquet"):
        folder = make(kind, tmp_path / kind)
        (path,) = folder.iterdir()
        shards: list[Shard] = []
        assert list(members(folder, LARGE, shards))
        data = path.read_bytes()
        assert shards == [Shard(path.name, len(data), hashlib.sha256(data).hexdigest())]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "parquet"])
def test_a_data_set_that_is_damaged_gives_no_receipt(screener, tmp_path, kind) -> None:
    folder = make(kind, tmp_path / "set")
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ConfigurationError, match="can't be read to its end"):
        dataset.scan(screener, folder)


def test_lists_and_nested_pictures_of_tables_are_found(tmp_path) -> None:
    path = tmp_path / "t.parquet"
    images = pa.array([[b"a", b"b"], [b"c"]], pa.list_(pa.binary()))
    parquet.write_table(pa.table({"images": images, "n": [1, 2]}), path)
    assert [(one.key, one.data) for one in members(path, LARGE, [])] == [
        ("t.parquet/0/images.0", b"a"),
        ("t.parquet/0/images.1", b"b"),
        ("t.parquet/1/images.0", b"c"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values), st.randoms(use_true_random=False))
def test_a_receipt_opens_as_it_was_signed_and_not_altered(said, random) -> None:
    key = receipt.Ed25519PrivateKey.generate()
    document = receipt.sign(said, key)
    data = json.dumps(document).encode()
    assert receipt.verify(data, key.public_key()) == said
    with pytest.raises(ReceiptInvalid, match="signed by the key"):
        receipt.verify(data, receipt.Ed25519PrivateKey.generate().public_key())
    with pytest.raises(ReceiptInvalid):
        receipt.verify(json.dumps({**document, "receipt": {**said, "added": 1}}).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"receipt": {}, "signature": {"public_key": 1}}'],
)
def test_what_is_no_receipt_is_refused(data) -> None:
    with pytest.raises(ReceiptInvalid):
        receipt.verify(data)


def test_the_command_scans_signs_and_verifies(tmp_path) -> None:
    runner = CliRunner()
    folder, data = make("tar", tmp_path / "set"), str(tmp_path / "data")
    out, public = tmp_path / "receipt.json", tmp_path / "public.pem"

    def run(*arguments):
        return runner.invoke(app, ["--data", data, "--workers", "1", *map(str, arguments)])

    done = run("scan", folder, "--dataset", "--receipt", out)
    assert done.exit_code == PASSED, done.output
    assert "not mixed" in done.output
    public.write_text(run("receipt", "key").output)
    checked = run("receipt", "verify", out, "--key", public)
    assert checked.exit_code == 0
    assert "by the key that you named" in checked.output
    assert "passed: yes" in checked.output
    assert "nobody vouches" in run("receipt", "verify", out).output
    out.write_text(out.read_text().replace('"passed": true', '"passed": false'))
    assert run("receipt", "verify", out).exit_code == 1
    (tmp_path / "data" / "receipt.key").write_text("no key")
    assert run("scan", folder, "--dataset", "--receipt", out).exit_code == 1


def test_a_receipt_names_no_member_and_shows_no_content(screener, tmp_path) -> None:
    bank(screener)
    folder = tmp_path / "set"
    folder.mkdir()
    noise = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    (folder / "marker-name.png").write_bytes(encoded(Image.fromarray(noise), "PNG"))
    said = json.dumps(dataset.scan(screener, folder).receipt)
    assert "marker-name" not in said
