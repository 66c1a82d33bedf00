"""Pictures in, verdicts out: what a user of the Python API sees."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image, ImageOps

import tutela
from support import encoded, photo
from tutela.banks.bank import bankable
from tutela.content import Content, Context
from tutela.detectors import trigger
from tutela.errors import ConfigurationError, PolicyError, StoreError
from tutela.screening import Screener
from tutela.store.verdicts import get


def _bank(screener: Screener, name: str, tier: str, picture: Image.Image) -> None:
    screener.banks.create(name, tier, category="csam")
    new, _ = bankable(screener.examine(Content(data=encoded(picture))).fingerprints)
    screener.banks.add(name, new)


def _rotated(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)


COFFEE = photo("coffee")
FORMS = {
    "gif": lambda: encoded(COFFEE, "GIF"),
    "palette png": lambda: encoded(COFFEE.quantize(64), "PNG"),
    "cmyk": lambda: encoded(COFFEE.convert("CMYK")),
    "exif-rotated": lambda: _rotated(COFFEE),
    "webp": lambda: encoded(COFFEE, "WEBP", quality=80),
    "avif": lambda: encoded(COFFEE, "AVIF", quality=70),
    "tiff": lambda: encoded(COFFEE, "TIFF"),
    "bmp": lambda: encoded(COFFEE, "BMP"),
    "grey": lambda: encoded(COFFEE.convert("L")),
    "small": lambda: encoded(COFFEE.resize((200, 133)), quality=60),
    "mirrored": lambda: encoded(ImageOps.mirror(COFFEE)),
    "upside down": lambda: encoded(COFFEE.transpose(Image.Transpose.ROTATE_180)),
    "quarter turn": lambda: encoded(COFFEE.transpose(Image.Transpose.ROTATE_90)),
    "transposed": lambda: encoded(COFFEE.transpose(Image.Transpose.TRANSPOSE)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_banked_picture_is_blocked_in_every_form(screener: Screener, form: str) -> None:
    _bank(screener, "x", "reviewed", COFFEE)
    verdict = screener.screen(FORMS[form]())
    assert verdict.action == "block"
    assert verdict.category == "csam"
    assert verdict.rules == ("reviewed-match",)
    if form in {"gif", "palette png", "cmyk", "exif-rotated", "mirrored"}:
        assert min(f.distance for f in verdict.findings if f.signal == "pdq") <= 10


@pytest.mark.parametrize(
    ("tier", "action"), [("confirmed", "block"), ("reviewed", "block"), ("reported", "hold")]
)
def test_the_tier_decides_what_a_match_may_do(screener: Screener, tier: str, action: str) -> None:
    _bank(screener, "x", tier, COFFEE)
    assert screener.screen(encoded(COFFEE, quality=40)).action == action
    assert screener.screen(encoded(photo("rocket"))).action == "allow"


def test_a_benign_bank_sets_a_false_match_aside(screener: Screener) -> None:
    _bank(screener, "claimed", "reported", COFFEE)
    assert screener.screen(encoded(COFFEE, quality=40)).action == "hold"
    _bank(screener, "known-harmless", "benign", COFFEE)
    assert screener.screen(encoded(COFFEE, quality=40)).action == "allow"


def test_a_verdict_is_recorded_as_it_is_given(screener: Screener) -> None:
    context = Context(surface="feed", account="a1", jurisdiction="FR", tags={"k": "v"})
    verdict = screener.screen(encoded(COFFEE), context=context)
    assert get(screener.store, verdict.id) == verdict.document()
    document = verdict.document()
    assert document["context"]["surface"] == "feed"
    assert document["verdict"]["policy"].startswith("default@")
    assert {"decode", "pdq", "match", "policy"} <= document["timings"].keys()


def test_content_that_can_not_be_examined_is_held_with_its_digests(
    screener: Screener, tmp_path: Path
) -> None:
    cut = encoded(COFFEE)[:5000]
    verdict = screener.screen(cut)
    assert (verdict.action, verdict.category) == ("hold", "unexamined")
    assert verdict.rejected is not None
    assert verdict.rejected.reason == "truncated"
    assert {"sha256", "md5", "sha1"} <= verdict.document()["signals"].keys()
    assert screener.screen(b"").action == "hold"
    assert screener.screen(tmp_path / "absent.jpg").action == "hold"
    assert screener.screen(tmp_path).action == "hold"


def test_a_known_file_is_blocked_although_it_can_not_be_decoded(screener: Screener) -> None:
    cut = encoded(COFFEE)[:5000]
    screener.banks.create("x", "confirmed")
    new, _ = bankable(screener.examine(Content(data=cut)).fingerprints)
    screener.banks.add("x", new)
    assert screener.screen(cut).action == "block"


def test_a_frame_hidden_in_an_animation_is_found(screener: Screener) -> None:
    _bank(screener, "x", "reviewed", COFFEE)
    others = [photo(name).resize((300, 200)) for name in ("rocket", "galaxies", "cat", "coins")]
    frames = [*others, COFFEE.resize((300, 200)), *others]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    verdict = screener.screen(data)
    assert verdict.action == "block"
    assert {f.part for f in verdict.findings if f.signal == "pdq"} == {"frame 4"}


def test_a_flat_picture_matches_nothing_perceptually(screener: Screener) -> None:
    flat = Image.new("RGB", (300, 200), (200, 30, 30))
    screener.banks.create("x", "confirmed")
    new, left_out = bankable(screener.examine(Content(data=encoded(flat))).fingerprints)
    assert len(left_out) == 1
    screener.banks.add("x", new)
    assert screener.screen(encoded(flat, "PNG")).action == "allow"
    assert screener.screen(encoded(flat)).action == "block"


def test_the_trigger_is_blocked_in_any_form_and_the_prompt_too(screener: Screener) -> None:
    picture = Image.open(__import__("io").BytesIO(trigger.picture())).convert("RGB")
    for data in (trigger.picture(), encoded(picture.resize((320, 256)), quality=50)):
        verdict = screener.screen(data)
        assert (verdict.action, verdict.category) == ("block", "test")
    assert screener.screen_text(f"please {trigger.PROMPT}").action == "block"
    assert screener.screen_text("a blue teapot on a table").action == "allow"


def test_many_are_screened_on_every_core_and_each_is_recorded(
    screener: Screener, tmp_path: Path
) -> None:
    _bank(screener, "x", "reviewed", COFFEE)
    for number in range(150):
        source = COFFEE if number % 3 == 0 else photo("rocket")
        small = source.resize((200 + number % 7, 140))
        (tmp_path / f"{number}.jpg").write_bytes(encoded(small, quality=60 + number % 30))
    (tmp_path / "150.jpg").write_bytes(b"no picture")
    paths = sorted(tmp_path.glob("*.jpg"))
    found = {Path(verdict.name).stem: verdict for verdict in screener.screen_many(paths)}
    assert len(found) == 151
    for number in range(150):
        assert found[str(number)].action == ("block" if number % 3 == 0 else "allow"), number
    assert found["150"].action == "hold"
    assert all(get(screener.store, verdict.id) for verdict in found.values())


def test_threads_share_a_screener(screener: Screener) -> None:
    _bank(screener, "x", "reviewed", COFFEE)
    wrong: list[str] = []

    def work(picture: Image.Image, action: str) -> None:
        for quality in range(60, 80, 2):
            verdict = screener.screen(encoded(picture.resize((240, 160)), quality=quality))
            if verdict.action != action:
                wrong.append(verdict.action)

    jobs = [(COFFEE, "block"), (photo("rocket"), "allow")] * 3
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_verdict_that_can_not_be_recorded_is_not_given(screener: Screener) -> None:
    with screener.store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE verdicts RENAME TO gone")
    with pytest.raises(StoreError):
        screener.screen(encoded(COFFEE))


def test_the_public_api_reads_as_documented(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(photo("cat")))
    with tutela.open(tmp_path / "data", workers=1) as screener:
        verdict = screener.screen(str(tmp_path / "photo.jpg"))
        assert verdict.action == "allow"
        assert verdict.reasons
    assert isinstance(verdict, tutela.Verdict)
    with pytest.raises(AttributeError):
        tutela.nothing  # noqa: B018
    assert set(tutela.__all__) <= set(dir(tutela)) | set(tutela._HOMES)


def test_settings_come_from_the_file_the_environment_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tutela.settings import load

    (tmp_path / "tutela.toml").write_text("workers = 3\nmax_frames = 5\n")
    assert (load(tmp_path).workers, load(tmp_path).max_frames) == (3, 5)
    monkeypatch.setenv("TUTELA_WORKERS", "4")
    assert load(tmp_path).workers == 4
    assert load(tmp_path, workers=2).workers == 2
    (tmp_path / "tutela.toml").write_text("worker = 3\n")
    with pytest.raises(ConfigurationError, match="worker"):
        load(tmp_path)
    (tmp_path / "tutela.toml").write_text("workers = \n")
    with pytest.raises(ConfigurationError, match=r"tutela\.toml"):
        load(tmp_path)


def test_a_policy_that_can_not_be_used_stops_the_start(tmp_path: Path) -> None:
    bad = tmp_path / "policy.toml"
    bad.write_text('[policy]\nname = "x"\ndefault = "allow"\n[[rule]]\nid = "r"\nwhen = "nope"\n')
    with pytest.raises(PolicyError, match=r"policy\.toml:"):
        tutela.open(tmp_path / "data", policy=bad)
