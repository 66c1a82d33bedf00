"""An innocent photo under protection finds its derivatives: from the photo to the verdict."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageFilter
from sqlalchemy import delete, func, select, update

import tutela
from support import encoded, photo
from tutela import signals
from tutela.banks import export_bank, import_bank
from tutela.banks.bank import bankable
from tutela.banks.protect import keyed
from tutela.content import Content, Context
from tutela.errors import (
    ConfigurationError,
    InvalidSignal,
    NotProtected,
    Rejected,
    UnknownEntry,
)
from tutela.examine import Wanted
from tutela.findings import DERIVATIVE, NUDITY, Finding, nudity
from tutela.policy.engine import read_text
from tutela.screening import Screener
from tutela.settings import load
from tutela.signals import Fingerprint
from tutela.signals.local import KEPT, Features
from tutela.store.tables import entries, sealed, sightings
from tutela.store.verdicts import get
from tutela.verdict import Verdict

PHOTO = photo("coffee")
NUDE = (nudity(0.9),)


def repainted(picture: Image.Image) -> Image.Image:
    """The picture with another one blended over its middle."""
    width, height = picture.size
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    other = photo("galaxies").resize(picture.size)
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, box)
    return Image.composite(other, picture, mask.filter(ImageFilter.GaussianBlur(6)))


FAKE = encoded(repainted(PHOTO), quality=80)


@pytest.fixture
def screener(database_url: str, tmp_path: Path, shared_screener: Screener) -> Iterator[Screener]:
    """A screener of its own on each database; a photo counts as widely shared at 3 accounts."""
    made = Screener(
        load(
            tmp_path / "data",
            workers=1,
            database=database_url,
            widely_shared=3,
            case_photos=2,
            policy=derivatives_alone(tmp_path / "derivatives.toml"),
            evidence="needed",
        )
    )
    made.sandbox.close()
    made.sandbox = shared_screener.sandbox
    yield made
    made.recorder.close()
    made.store.close()


def derivatives_alone(path: Path) -> Path:
    """The policy that comes with Tutela without its rules for nudity of any minor."""
    rules = re.split(r"(?=^\[\[)", read_text(None), flags=re.MULTILINE)
    kept = [rule for rule in rules if 'id = "nudity-with-minor' not in rule]
    assert len(kept) == len(rules) - 3
    path.write_text("".join(kept))
    return path


def derivatives(verdict: Verdict) -> list[Finding]:
    return [finding for finding in verdict.findings if finding.kind == DERIVATIVE]


def shown_by(screener: Screener, data: bytes, *accounts: str, nude: bool = False) -> Verdict:
    for account in accounts:
        verdict = screener.screen(
            data, context=Context(account=account), findings=NUDE if nude else ()
        )
    return verdict


def test_a_repainted_photo_is_found_and_held_with_nudity(screener: Screener) -> None:
    assert derivatives(screener.screen(FAKE, findings=NUDE)) == []
    done = screener.protect(encoded(PHOTO), bank="friends", case="c-1", note="n")
    bank = screener.banks.get("friends")
    assert (bank.tier, bank.entries) == ("reported", 1)
    alone = screener.screen(FAKE)
    assert alone.action == "allow"
    (found,) = derivatives(alone)
    assert (found.source, found.signal, found.bank, found.tier, found.entry) == (
        *("local", "local", "friends", "reported"),
        done.entry,
    )
    assert found.likelihood is not None
    assert found.likelihood > 0.9
    assert found.overlap is not None
    assert found.overlap > 0.8
    assert found.changed is not None
    assert 0 < found.changed < 0.9
    assert set(found.mask) <= set("012-/")
    assert {"1", "2"} <= set(found.mask)
    held = screener.screen(FAKE, findings=NUDE)
    assert (held.action, held.rules) == ("hold", ("derivative-with-nudity",))
    document = get(screener.store, held.id)
    assert document == held.document()
    assert [Finding.from_json(one) for one in document["findings"]] == list(held.findings)
    assert screener.screen(FAKE, findings=[nudity(0.4)]).action == "allow"
    # The photo itself is not banked: it is known only as what derivatives come from.
    assert screener.screen(encoded(PHOTO)).action == "allow"
    assert {f.kind for f in screener.screen(encoded(PHOTO)).findings} == {DERIVATIVE, NUDITY}
    assert derivatives(screener.screen(encoded(photo("rocket")))) == []


def test_a_mirrored_derivative_is_found(screener: Screener) -> None:
    screener.protect(encoded(PHOTO), bank="friends")
    flipped = repainted(PHOTO).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    (found,) = derivatives(screener.screen(encoded(flipped)))
    assert found.variant == "mirrored"


def test_a_frame_of_an_animation_is_asked_as_well(screener: Screener) -> None:
    screener.protect(encoded(PHOTO), bank="friends")
    size = PHOTO.size
    others = [photo(name).resize(size) for name in ("rocket", "cat")]
    frames = [others[0], repainted(PHOTO), others[1]]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert {f.part for f in derivatives(screener.screen(data))} == {"frame 1"}


def test_nothing_is_taken_of_uploads_while_nothing_is_protected(screener: Screener) -> None:
    before = screener.screen(FAKE).timings
    done = screener.protect(encoded(PHOTO), bank="friends")
    between = screener.screen(FAKE).timings
    screener.banks.remove_entry("friends", done.entry)
    after = screener.screen(FAKE).timings
    assert ["local" in timings for timings in (before, between, after)] == [False, True, False]


def test_another_process_finds_it_without_being_told(
    screener: Screener, shared_screener: Screener
) -> None:
    with Screener(screener.settings) as other:
        assert derivatives(other.screen(FAKE)) == []
        screener.protect(encoded(PHOTO), bank="friends")
        other.matcher.refresh()
        assert len(derivatives(other.screen(FAKE))) == 1
        screener.banks.update("friends", enabled=False)
        assert derivatives(other.screen(FAKE)) == []
        screener.banks.update("friends", enabled=True)
        screener.banks.delete("friends")
        other.matcher.refresh()
        assert derivatives(other.screen(FAKE)) == []


def test_local_fingerprints_are_neither_recorded_nor_shown(screener: Screener) -> None:
    screener.protect(encoded(PHOTO), bank="friends")
    verdict = screener.screen(FAKE)
    assert set(verdict.document()["signals"]) == {"md5", "pdq", "sha1", "sha256"}
    assert all(made.signal != "local" for made in verdict.fingerprints)
    (entry,) = screener.banks.entries("friends")
    assert entry.text == "local:sealed"


def test_the_database_holds_no_feature_of_the_photo(tmp_path: Path) -> None:
    """Neither as they are nor keyed; and nothing is left once the entry is gone."""
    with tutela.open(tmp_path / "data", workers=1) as screener:
        examined = screener.sandbox.examine(encoded(PHOTO), Wanted(frozenset(["local"])))
        (made,) = (f for f in examined.fingerprints if f.signal == "local")
        done = screener.protect(encoded(PHOTO), bank="friends", case="case-of-someone")
        shown_by(screener, FAKE, "account-of-someone")
        secret = screener.keyring.get()
        features = Features.from_bytes(made.value).first(KEPT)
        plain = features.descriptors
        hidden = [*plain, *secret.keyed(plain)]
        with screener.store.read() as connection:
            value = connection.scalar(select(entries.c.value))
            body = connection.scalar(select(sealed.c.body))
            rows = connection.execute(select(sightings)).all()
        assert secret.open(value.hex(), body) == keyed(secret, features).to_bytes()
        assert len(rows) == 1
        assert b"account-of-someone" not in rows[0].account
        stored = _bytes(tmp_path / "data")
        assert value in stored
        assert body[:200] in stored
        assert b"case-of-someone" not in stored
        assert not [row for row in hidden if row.tobytes() in stored]
        screener.banks.remove_entry("friends", done.entry)
        with screener.store.read() as connection:
            for table in (sealed, sightings):
                assert connection.scalar(select(func.count()).select_from(table)) == 0
    stored = _bytes(tmp_path / "data")
    assert value not in stored
    assert body[:200] not in stored


def _bytes(folder: Path) -> bytes:
    """Everything that lies in a data folder, but the secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "secret.key"]
    return b"\n".join(path.read_bytes() for path in files)


def test_a_photo_is_held_once_and_the_same_elsewhere_has_another_name(screener: Screener) -> None:
    first = screener.protect(encoded(PHOTO), bank="friends")
    assert screener.protect(encoded(PHOTO), bank="friends") == replace(first, known=True)
    second = screener.protect(encoded(PHOTO), bank="school")
    assert second.entry != first.entry
    assert len(derivatives(screener.screen(FAKE))) == 2


def test_what_can_not_be_protected_is_refused_with_a_reason(screener: Screener) -> None:
    flat = Image.new("RGB", (640, 480), (120, 90, 60))
    with pytest.raises(NotProtected) as refused:
        screener.protect(encoded(flat), bank="friends")
    assert refused.value.reason == "too-flat"
    with pytest.raises(Rejected):
        screener.protect(b"no picture", bank="friends")


def test_a_case_and_a_bank_hold_so_many_photos(screener: Screener) -> None:
    names = ("coffee", "rocket", "cat")
    first, *_ = (
        screener.protect(encoded(photo(name)), bank="friends", case="c-1") for name in names[:2]
    )
    with pytest.raises(NotProtected) as refused:
        screener.protect(encoded(photo("cat")), bank="other", case="c-1")
    assert refused.value.reason == "case-full"
    screener.protect(encoded(photo("cat")), bank="friends", case="c-2")
    screener.banks.remove_entry("friends", first.entry)
    screener.protect(encoded(photo("coins")), bank="friends", case="c-1")
    screener.protection.bank_photos = 3
    with pytest.raises(NotProtected) as refused:
        screener.protect(encoded(PHOTO), bank="friends")
    assert refused.value.reason == "bank-full"


def test_what_many_accounts_show_is_set_aside_until_someone_decides(screener: Screener) -> None:
    screener.banks.create("friends", "reviewed")
    done = screener.protect(encoded(PHOTO), bank="friends")
    assert shown_by(screener, FAKE, "a", "b", "b", "").action == "hold"
    assert screener.protection.waiting() == []
    assert shown_by(screener, FAKE, "c").action == "hold"
    verdict = screener.screen(FAKE)
    assert verdict.action == "allow"
    assert [found.review for found in derivatives(verdict)] == ["aside"]
    (waiting,) = screener.protection.waiting()
    assert (waiting.entry, waiting.why, waiting.accounts) == (done.entry, "shared", 3)
    # With nudity it holds all the same: popular photos of a child are what abusers start from.
    assert screener.screen(FAKE, findings=NUDE).action == "hold"
    screener.protection.decide(done.entry, keep=True)
    verdict = shown_by(screener, FAKE, "d", "e", "f", "g")
    assert verdict.action == "hold"
    assert [found.review for found in derivatives(verdict)] == ["kept"]
    assert screener.protection.waiting() == []
    with screener.store.read() as connection:
        assert connection.execute(select(sightings)).all() == []
    screener.protection.decide(done.entry, keep=False)
    assert derivatives(screener.screen(FAKE)) == []
    with pytest.raises(UnknownEntry):
        screener.protection.decide(done.entry, keep=True)


def test_a_kept_photo_of_a_reported_bank_holds_without_nudity(screener: Screener) -> None:
    done = screener.protect(encoded(PHOTO), bank="friends")
    assert screener.screen(FAKE).action == "allow"
    screener.protection.decide(done.entry, keep=True)
    assert screener.screen(FAKE).rules == ("derivative-of-reviewed",)


def test_what_many_accounts_show_with_nudity_holds_on_and_comes_first(screener: Screener) -> None:
    """Spreading the abusive picture from many accounts must not set its entry aside."""
    meme = screener.protect(encoded(photo("rocket")), bank="friends")
    shown_by(screener, encoded(photo("rocket")), "a", "b", "c")
    done = screener.protect(encoded(PHOTO), bank="friends")
    verdict = shown_by(screener, FAKE, *"abcdef", nude=True)
    assert verdict.action == "hold"
    assert [found.review for found in derivatives(verdict)] == [""]
    first, second = screener.protection.waiting()
    assert (first.entry, first.why, first.accounts) == (done.entry, "nudity", 0)
    assert first.accounts_with_nudity == 3
    assert (second.entry, second.why) == (meme.entry, "shared")


def test_a_photo_on_a_benign_list_is_set_aside_at_once(screener: Screener) -> None:
    screener.banks.create("memes", "benign")
    new, _ = bankable(screener.examine(Content(data=encoded(PHOTO))).fingerprints)
    screener.banks.add("memes", new)
    small = encoded(PHOTO.resize((PHOTO.width * 3 // 4, PHOTO.height * 3 // 4)))
    done = screener.protect(small, bank="friends")
    assert done.review == "aside"
    (waiting,) = screener.protection.waiting()
    assert (waiting.entry, waiting.why) == (done.entry, "benign")


def test_a_photo_protected_in_a_benign_bank_sets_its_derivatives_aside(
    screener: Screener,
) -> None:
    screener.protect(encoded(PHOTO), bank="friends")
    screener.banks.create("memes", "benign")
    assert screener.screen(FAKE, findings=NUDE).action == "hold"
    screener.protect(encoded(PHOTO), bank="memes")
    verdict = screener.screen(FAKE, findings=NUDE)
    assert verdict.action == "allow"
    assert any("Set aside by known-false-match" in reason for reason in verdict.reasons)
    # A photo of a benign bank says nothing about what else matches.
    screener.banks.create("known", "confirmed")
    new, _ = bankable(screener.examine(Content(data=FAKE)).fingerprints)
    screener.banks.add("known", new)
    assert screener.screen(FAKE).action == "block"


def test_no_policy_blocks_on_a_derivative(screener: Screener, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        """
        [policy]
        name = "greedy"
        default = "allow"
        [[rule]]
        id = "anything"
        when = 'findings.exists(f, f.kind == "derivative" || f.tier != "")'
        action = "block"
        """
    )
    for bank in ("reported", "reviewed", "confirmed"):
        screener.banks.create(bank, bank)
        screener.protect(encoded(PHOTO), bank=bank)
    screener.policy = tutela.screening.Policy.load(policy)
    for own in ((), NUDE):
        verdict = screener.screen(FAKE, findings=own)
        assert len(derivatives(verdict)) == 3
        assert verdict.action == "hold"
        assert verdict.rules == ("anything", "always:derivative-never-blocks")


def test_a_secret_that_is_lost_stops_the_start_and_holds_what_runs(
    screener: Screener, caplog: pytest.LogCaptureFixture
) -> None:
    with Screener(screener.settings) as running:
        assert running.screen(FAKE).action == "allow"
        screener.protect(encoded(PHOTO), bank="friends")
        path = screener.settings.secret_path
        kept = path.read_bytes()
        path.unlink()
        with caplog.at_level(logging.ERROR):
            running.matcher.refresh()
        assert "restore it from a backup" in caplog.text
        assert not running.matcher.complete
        verdict = running.screen(FAKE)
        assert (verdict.action, verdict.rules) == ("hold", ("not-examined",))
        assert "failure" in {found.kind for found in verdict.findings}
        assert str(path) not in str(verdict.document())
        assert running.screen_text("text").action == "allow"  # no text shows a photo
        with pytest.raises(ConfigurationError, match="restore it from a backup"):
            Screener(screener.settings)
        path.write_bytes(kept)
        running.matcher.refresh()
        assert running.matcher.complete
        assert len(derivatives(running.screen(FAKE))) == 1


def test_a_damaged_body_holds_and_names_the_entry_in_the_log(
    screener: Screener, caplog: pytest.LogCaptureFixture
) -> None:
    good = screener.protect(encoded(photo("rocket")), bank="friends")
    done = screener.protect(encoded(PHOTO), bank="friends")
    assert screener.screen(FAKE).action == "allow"
    with screener.store.write() as connection:
        body = bytearray(connection.scalar(select(sealed.c.body).filter_by(entry_id=done.entry)))
        body[100] ^= 1
        connection.execute(
            update(sealed).where(sealed.c.entry_id == done.entry).values(body=bytes(body))
        )
    # One that is loaded already: found out when it is compared.
    assert screener.screen(FAKE).action == "hold"
    with Screener(screener.settings) as fresh, caplog.at_level(logging.ERROR):
        # One that loads them now: nothing can be said of any picture, but others still match.
        verdict = fresh.screen(encoded(photo("rocket")))
        assert verdict.action == "hold"
        assert {f.kind for f in verdict.findings} == {DERIVATIVE, "failure"}
        assert [f.entry for f in derivatives(verdict)] == [good.entry]
        assert f"protected photo {done.entry} is damaged" in caplog.text
        screener.protection.decide(done.entry, keep=False)
        fresh.matcher.refresh()
        assert fresh.screen(encoded(photo("rocket"))).action == "allow"
    with screener.store.write() as connection:
        connection.execute(delete(sealed))
    with Screener(screener.settings) as fresh:
        assert fresh.screen(FAKE).action == "hold"


def test_a_body_opens_for_its_own_entry_alone(screener: Screener) -> None:
    one = screener.protect(encoded(PHOTO), bank="friends")
    other = screener.protect(encoded(photo("rocket")), bank="friends")
    with screener.store.write() as connection:
        bodies = dict(connection.execute(select(sealed.c.entry_id, sealed.c.body)).all())
        for entry, body in ((one.entry, bodies[other.entry]), (other.entry, bodies[one.entry])):
            connection.execute(update(sealed).where(sealed.c.entry_id == entry).values(body=body))
    with Screener(screener.settings) as fresh:
        assert fresh.screen(encoded(photo("cat"))).action == "hold"


def test_many_that_protect_at_once_keep_the_limits(screener: Screener) -> None:
    names = ("coffee", "rocket", "cat", "coins", "galaxies")
    data = [encoded(photo(name)) for name in names]
    done: list[object] = []

    def protect(number: int) -> None:
        try:
            photo_data = data[number % len(data)]
            done.append(screener.protect(photo_data, bank="friends", case="c").entry)
        except NotProtected as refused:
            done.append(refused.reason)

    threads = [threading.Thread(target=protect, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 10
    assert len({one for one in done if isinstance(one, int)}) == 2
    assert screener.banks.get("friends").entries == 2


def test_a_case_is_withdrawn_as_a_whole(screener: Screener) -> None:
    one = screener.protect(encoded(PHOTO), bank="friends", case="c-1")
    two = screener.protect(encoded(photo("rocket")), bank="friends", case="c-1")
    same = screener.protect(encoded(PHOTO), bank="friends", case="c-2")
    assert not same.known
    assert screener.protection.withdraw("friends", "c-3") == []
    assert screener.protection.withdraw("friends", "c-1") == [one.entry, two.entry]
    assert [found.entry for found in derivatives(screener.screen(FAKE))] == [same.entry]
    assert screener.banks.get("friends").entries == 1


def test_protected_photos_are_not_exported_and_none_is_imported(
    screener: Screener, tmp_path: Path
) -> None:
    screener.protect(encoded(PHOTO), bank="friends")
    new, _ = bankable([Fingerprint("md5", bytes(16))])
    screener.banks.add("friends", new)
    for form in ("csv", "jsonl", "threatexchange"):
        out = tmp_path / form
        with out.open("w", newline="") as file:
            done = export_bank(screener.store, "friends", file, format=form)
        assert (done.written, done.left_out) == (1, 1)
        assert "local" not in out.read_text()
    listed = tmp_path / "list.csv"
    listed.write_text("signal,value\nlocal,AAAA\nLOCAL,BBBB\n")
    report = import_bank(screener.store, "friends", listed)
    assert report.status == "refused"
    assert all("tutela protect" in row.message for row in report.error_rows)
    with pytest.raises(InvalidSignal, match="tutela protect"):
        screener.banks.add("friends", [replace(new[0], fingerprint=Fingerprint("local", b"x"))])
    with pytest.raises(InvalidSignal):
        screener.screen_signals([Fingerprint("local", b"x")])


def test_an_entry_lives_like_any_other(screener: Screener) -> None:
    done = screener.protect(encoded(PHOTO), bank="friends")
    screener.banks.update_entry("friends", done.entry, enabled=False)
    assert derivatives(screener.screen(FAKE)) == []
    screener.banks.update_entry("friends", done.entry, enabled=True)
    assert len(derivatives(screener.screen(FAKE))) == 1
    screener.banks.delete("friends")
    assert derivatives(screener.screen(FAKE)) == []
    with screener.store.read() as connection:
        assert connection.execute(select(sealed)).all() == []
        assert connection.scalars(select(entries.c.value)).all() == [b""]


@pytest.mark.parametrize(
    "given",
    [
        Finding("match", "x", likelihood=1.0),
        Finding("derivative", "x", likelihood=1.0),
        Finding("failure", "x", likelihood=1.0),
        Finding("nudity", "x"),
        Finding("nudity", "x", likelihood=1.5),
        Finding("nudity", "x", likelihood=float("nan")),
        Finding("nudity", "x", likelihood=1.0, tier="confirmed"),
        Finding("nudity", "x", likelihood=1.0, bank="b"),
    ],
)
def test_a_caller_can_not_claim_what_only_tutela_finds(given: Finding) -> None:
    with pytest.raises(ValueError, match="caller's finding"):
        Content(data=b"", findings=(given,))


def test_what_a_caller_found_never_makes_a_verdict_milder(
    screener: Screener, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        """
        [policy]
        name = "odd"
        default = "hold"
        [[rule]]
        id = "clean"
        when = 'findings.exists(f, f.kind == "harmless" && f.likelihood > 0.9)'
        action = "allow"
        """
    )
    screener.policy = tutela.screening.Policy.load(policy)
    verdict = screener.screen(FAKE, findings=[Finding("harmless", "ours", likelihood=0.99)])
    assert verdict.action == "hold"
    assert verdict.rules == ("always:advice-never-milder",)
    assert screener.policy.explain(verdict.findings, Context()).decision == verdict.decision


def test_local_is_a_signal_like_others() -> None:
    kind = signals.find("local")
    assert (kind.row_bits, kind.radius) == (256, None)
