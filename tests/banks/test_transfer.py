"""Imports are one unit: tried, reported row by row, quarantined, taken back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tutela.banks import Banks, canaries, export_bank, import_bank
from tutela.banks.bank import NewEntry
from tutela.banks.transfer import list_imports, release, roll_back
from tutela.errors import BankError, ImportRefused, UnknownBank
from tutela.signals import Fingerprint
from tutela.store import Store

PDQ = "d8f8f0cce0f4a84f0e370a22028f67f0b36e2ed596623e1d33e6339c4e9c9b22"
MD5 = "9e107d9d372bb6826bd81d3542a419d6"


@pytest.fixture
def banks(store: Store) -> Banks:
    made = Banks(store)
    made.create("x", "reviewed")
    return made


def _file(folder: Path, text: str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


CSV = f"signal,value,note,tags,expires_at\npdq,{PDQ},a note,one two,2031-01-31\nmd5,{MD5},,,\n"
JSONL = (
    json.dumps({"signal": "pdq", "value": PDQ, "tags": ["one", "two"], "note": "a note"})
    + "\n"
    + json.dumps({"signal": "md5", "value": MD5})
    + "\n"
)
EXCHANGE = f"hash,type,tags\n{PDQ},HASH_PDQ,one two\n{MD5.upper()},HASH_MD5,\n"


@pytest.mark.parametrize("text", [CSV, JSONL, EXCHANGE, "\ufeff" + CSV, CSV.replace("\n", "\r\n")])
def test_lists_are_read_as_they_come(store: Store, banks: Banks, tmp_path: Path, text: str) -> None:
    report = import_bank(store, "x", _file(tmp_path, text))
    assert (report.status, report.rows, report.added, report.errors) == ("applied", 2, 2, 0)
    found = {entry.signal: entry for entry in banks.entries("x")}
    assert found["pdq"].text == f"pdq:{PDQ}"
    assert found["md5"].text == f"md5:{MD5}"
    assert found["pdq"].tags == ("one", "two")


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    banks.add("x", [NewEntry(Fingerprint("md5", bytes.fromhex(MD5)))])
    report = import_bank(store, "x", _file(tmp_path, CSV), dry_run=True)
    assert (report.status, report.id, report.added, report.duplicates) == ("dry-run", None, 1, 1)
    assert banks.get("x").entries == 1
    assert list_imports(store) == []


def test_every_row_that_can_not_be_taken_is_reported_with_its_line(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    text = (
        f"signal,value,quality,expires_at\npdq,{PDQ},80,\npdq,zz,80,\nphotodna,{MD5},,\n"
        f"pdq,{PDQ[::-1]},49,\nmd5,{MD5},,soon\nmd5,{MD5},x,\nsha1,{'a' * 40},,,,\nmd5,{MD5},,\n"
    )
    report = import_bank(store, "x", _file(tmp_path, text))
    assert (report.rows, report.added, report.errors) == (8, 2, 6)
    assert [row.line for row in report.error_rows] == [3, 4, 5, 6, 7, 8]
    messages = " | ".join(row.message for row in report.error_rows)
    for part in ("64 hexadecimal", "photodna", "below 50", "ISO 8601", "more fields"):
        assert part in messages
    assert [entry.signal for entry in banks.entries("x")] == ["pdq", "md5"]
    kept = list_imports(store, "x")[0]
    assert [row.line for row in kept.error_rows] == [3, 4, 5, 6, 7, 8]


def test_strict_takes_nothing_if_a_row_is_wrong(store: Store, banks: Banks, tmp_path: Path) -> None:
    report = import_bank(store, "x", _file(tmp_path, CSV + "md5,zz,,,\n"), strict=True)
    assert report.status == "refused"
    assert banks.get("x").entries == 0


def test_one_command_takes_an_import_back_and_nothing_else(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    banks.add("x", [NewEntry(Fingerprint("md5", bytes.fromhex(MD5)))])
    report = import_bank(store, "x", _file(tmp_path, CSV))
    assert (report.added, report.duplicates) == (1, 1)
    back = roll_back(store, report.id or 0)
    assert back.status == "rolled-back"
    assert [entry.text for entry in banks.entries("x")] == [f"md5:{MD5}"]
    with pytest.raises(ImportRefused, match="rolled-back"):
        roll_back(store, report.id or 0)
    again = import_bank(store, "x", _file(tmp_path, CSV))
    assert again.added == 1


def test_a_list_that_matches_a_canary_is_quarantined(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    name, canary = next(pair for pair in canaries.shipped() if pair[0].startswith("wallpaper"))
    near = bytes([canary.value[0] ^ 0b111]) + canary.value[1:]
    report = import_bank(store, "x", _file(tmp_path, CSV + f"pdq,{near.hex()},,,\n"))
    assert report.status == "quarantined"
    assert [(hit.canary, hit.distance) for hit in report.canary_hits] == [(name, 3)]
    assert banks.get("x").entries == 0
    assert banks.exact([("md5", bytes.fromhex(MD5))]) == {}
    assert list_imports(store)[0].canary_hits == report.canary_hits
    released = release(store, report.id or 0)
    assert released.status == "released"
    assert banks.get("x").entries == 3
    assert len(banks.exact([("md5", bytes.fromhex(MD5))])) == 1
    with pytest.raises(ImportRefused):
        release(store, report.id or 0)
    roll_back(store, report.id or 0)
    assert banks.get("x").entries == 0


def test_mirrored_canaries_and_benign_banks_are_canaries_too(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    from tutela.signals.pdq import PDQ as SIGNAL

    banks.create("harmless", "benign")
    value = bytes.fromhex(PDQ)
    banks.add("harmless", [NewEntry(Fingerprint("pdq", value))])
    mirrored = SIGNAL.queries(Fingerprint("pdq", value))["mirrored"]
    report = import_bank(
        store, "x", _file(tmp_path, f"signal,value\npdq,{mirrored.hex()}\n"), dry_run=True
    )
    assert [hit.canary.split("/")[0] for hit in report.canary_hits] == ["harmless"]


def test_a_list_of_harmless_pictures_may_hold_canaries(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    banks.create("harmless", "benign")
    _, canary = next(pair for pair in canaries.shipped() if pair[0].startswith("wallpaper"))
    path = _file(tmp_path, f"signal,value\npdq,{canary.value.hex()}\n")
    assert import_bank(store, "harmless", path).status == "applied"
    assert import_bank(store, "x", path).status == "quarantined"


def test_the_digest_of_nothing_is_a_canary(store: Store, banks: Banks, tmp_path: Path) -> None:
    text = "signal,value\nmd5,d41d8cd98f00b204e9800998ecf8427e\n"
    assert import_bank(store, "x", _file(tmp_path, text)).status == "quarantined"


@pytest.mark.parametrize("format", ["csv", "jsonl", "threatexchange"])
def test_what_is_exported_can_be_imported(
    store: Store, banks: Banks, tmp_path: Path, format: str
) -> None:
    import_bank(store, "x", _file(tmp_path, CSV))
    banks.create("copy", "reviewed")
    out = io.StringIO(newline="")
    assert export_bank(store, "x", out, format=format).written == 2
    report = import_bank(store, "copy", io.StringIO(out.getvalue(), newline=""), source="copy")
    assert (report.added, report.errors) == (2, 0)
    before, after = ({e.text: e for e in banks.entries(name)} for name in ("x", "copy"))
    assert before.keys() == after.keys()
    assert all(after[text].tags == entry.tags for text, entry in before.items())
    if format != "threatexchange":
        assert all(after[text].expires_at == entry.expires_at for text, entry in before.items())
        assert all(after[text].note == entry.note for text, entry in before.items())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a,b\n1,2\n", "header row"),
        (b"", "header row"),
        (b"signal,value\n\xff\xfe\n", "UTF-8"),
        (b"x" * (1 << 20) + b"y", "longer than"),
    ],
)
def test_files_that_are_no_list_are_refused(
    store: Store, banks: Banks, tmp_path: Path, content: bytes, match: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(BankError, match=match):
        import_bank(store, "x", path)


def test_mistakes_are_bank_errors(store: Store, banks: Banks, tmp_path: Path) -> None:
    with pytest.raises(UnknownBank):
        import_bank(store, "nobody", _file(tmp_path, CSV))
    with pytest.raises(BankError, match="can't be read"):
        import_bank(store, "x", tmp_path / "absent.csv")
    with pytest.raises(BankError, match="no import 99"):
        roll_back(store, 99)
    with pytest.raises(BankError, match="no format"):
        import_bank(store, "x", _file(tmp_path, CSV), format="xml")
    with pytest.raises(BankError, match="no format"):
        export_bank(store, "x", io.StringIO(), format="xml")
    broken = _file(tmp_path, '{"signal": "md5", "value": 7}\n[1]\n{"a":\n', "broken.jsonl")
    report = import_bank(store, "x", broken)
    assert (report.status, report.rows, report.errors) == ("refused", 3, 3)
