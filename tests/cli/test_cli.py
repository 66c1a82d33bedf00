"""The command as scripts and people use it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from support import PHOTOS, encoded, photo
from tutela.cli.app import app
from tutela.store import Store, now
from tutela.store.verdicts import forget, since

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `tutela --data … ARGS` in this process; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: str | Path, code: int = 0) -> Any:
        options = ["--data", str(tmp_path / "data"), "--workers", "1"]
        done = CliRunner().invoke(app, [*options, *map(str, args)])
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        return done

    return call


@pytest.fixture
def run_process(tmp_path: Path) -> Run:
    """Runs the same in a process of its own."""

    def call(*args: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tutela", "--data", str(tmp_path / "data"), *map(str, args)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return call


def _lines(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_contract_that_scripts_rely_on(run_process: Run, tmp_path: Path) -> None:
    run = run_process
    small = tmp_path / "small.jpg"
    small.write_bytes(encoded(photo("coffee").resize((300, 200)), quality=50))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing of the kind")
    run("bank", "create", "b", "--tier", "reviewed")
    run("bank", "add", "b", PHOTOS / "coffee.jpg")
    files = [small, broken, PHOTOS / "rocket.jpg", tmp_path / "absent.jpg"]
    found = _lines(run("screen", *files, "--json", code=4))
    assert [line["file"] for line in found] == [str(path) for path in files]
    blocked, held, allowed, absent = found
    assert set(blocked["signals"]["pdq"]) >= {"hex", "quality"}
    assert len(blocked["signals"]["pdq"]["hex"]) == 64
    assert {"sha256", "md5"} <= blocked["signals"].keys()
    (match,) = (found for found in blocked["findings"] if found["kind"] == "match")
    assert {
        "kind": "match",
        "signal": "pdq",
        "bank": "b",
        "tier": "reviewed",
    }.items() <= match.items()
    assert 0 <= match["distance"] <= 31
    assert blocked["error"] is None
    assert blocked["verdict"]["action"] == "block"
    assert {"action", "category", "rules", "reasons"} <= blocked["verdict"].keys()
    assert held["verdict"]["action"] == "hold"
    assert held["error"]["type"] == "unknown-type"
    assert held["error"]["message"]
    assert {"sha256", "md5"} <= held["signals"].keys()
    assert allowed["verdict"]["action"] == "allow"
    assert {found["kind"] for found in allowed["findings"]} <= {"nudity"}
    assert absent["error"]["type"] == "unreadable-file"
    assert absent["verdict"]["action"] == "hold"


def test_fingerprints_can_be_banked_without_the_picture(run: Run) -> None:
    run("bank", "create", "b", "--tier", "reported")
    (shown,) = _lines(run("screen", PHOTOS / "cat.jpg", "--json"))
    pdq, md5 = shown["signals"]["pdq"]["hex"], shown["signals"]["md5"]
    (added,) = _lines(
        run("bank", "add", "b", "--signal", f"pdq:{pdq}", "--signal", f"md5:{md5}", "--json")
    )
    assert len(added["added"]) == 2
    (verdict,) = _lines(run("screen", PHOTOS / "cat.jpg", "--json", code=3))
    signals = {found["signal"] for found in verdict["findings"] if found["kind"] == "match"}
    assert signals == {"pdq", "md5"}


@pytest.mark.parametrize(
    ("names", "code"), [(["rocket"], 0), (["rocket", "cat"], 3), (["cat", "coffee"], 4)]
)
def test_exit_codes_say_the_strongest_action(run: Run, names: list[str], code: int) -> None:
    for bank, tier, name in (("r", "reported", "cat"), ("b", "reviewed", "coffee")):
        run("bank", "create", bank, "--tier", tier)
        run("bank", "add", bank, PHOTOS / f"{name}.jpg")
    run("screen", *(PHOTOS / f"{name}.jpg" for name in names), code=code)


def test_mistakes_end_with_one_line_and_code_1(run: Run) -> None:
    done = run("bank", "add", "nobody", "--signal", f"md5:{'0' * 32}", code=1)
    assert done.stderr.count("\n") == 1
    assert "no bank is named nobody" in done.stderr
    run("bank", "create", "b", "--tier", "reviewed")
    for wrong in ("pdq:zz", "pdq", f"photodna:{'0' * 64}"):
        done = run("bank", "add", "b", "--signal", wrong, "--json", code=1)
        assert json.loads(done.stdout)["error"]["type"] == "InvalidSignal"
    assert run("bank", "create", "c", "--tier", "trusted", code=1).stderr
    assert run("bank", "add", "b", PHOTOS / "SOURCES.md", code=1).stderr
    assert run("screen", code=2).stderr


def test_a_bank_is_kept_by_its_commands(run: Run, tmp_path: Path) -> None:
    run("bank", "create", "b", "--tier", "confirmed", "--owner", "ops", "--purpose", "blocking")
    run("bank", "add", "b", PHOTOS / "coffee.jpg", "--note", "first")
    entries = _lines(run("bank", "show", "b", "--json"))
    assert {entry["fingerprint"].split(":")[0] for entry in entries} == {"sha256", "md5", "pdq"}
    screen = ("screen", PHOTOS / "coffee.jpg")
    run(*screen, code=4)
    run("bank", "disable", "b", "--until", "2099-01-01")
    run(*screen, code=0)
    run("bank", "enable", "b")
    run(*screen, code=4)
    for entry in entries:
        run("bank", "edit", "b", "--entry", str(entry["id"]), "--expires", "2020-01-01")
    run(*screen, code=0)
    run("bank", "remove", "b", *(str(entry["id"]) for entry in entries))
    assert _lines(run("bank", "show", "b", "--json")) == []
    assert "confirmed" in run("bank", "list").stdout
    run("bank", "delete", "b", "--yes")
    assert _lines(run("bank", "list", "--json")) == []


def test_lists_go_in_and_out(run: Run, tmp_path: Path) -> None:
    run("bank", "create", "b", "--tier", "reviewed")
    good = tmp_path / "good.csv"
    good.write_text(f"signal,value\nmd5,{'1' * 32}\nmd5,zz\n")
    assert "1 errors" in run("bank", "import", "b", good, "--dry-run").stdout
    (report,) = _lines(run("bank", "import", "b", good, "--json"))
    assert (report["added"], report["errors"]) == (1, 1)
    bad = tmp_path / "bad.csv"
    bad.write_text("signal,value\nmd5,d41d8cd98f00b204e9800998ecf8427e\n")
    assert "quarantined" in run("bank", "import", "b", bad, code=1).stdout
    assert [line["status"] for line in _lines(run("bank", "imports", "--json"))] == [
        "quarantined",
        "applied",
    ]
    run("bank", "export", "b", "--out", tmp_path / "out.csv")
    assert "1" * 32 in (tmp_path / "out.csv").read_text()
    run("bank", "rollback", str(report["id"]))
    assert _lines(run("bank", "show", "b", "--json"))[0]["state"] == "quarantined"


def test_a_policy_is_checked_explained_and_replayed(run: Run, tmp_path: Path) -> None:
    run("bank", "create", "b", "--tier", "reviewed")
    run("bank", "add", "b", PHOTOS / "coffee.jpg")
    (verdict,) = _lines(run("screen", PHOTOS / "coffee.jpg", "--json", code=4))
    text = run("policy", "explain", verdict["id"]).stdout
    assert "reviewed-match" in text
    assert "block" in text
    assert "reviewed-match" in run("policy", "explain", PHOTOS / "coffee.jpg").stdout
    policy = tmp_path / "policy.toml"
    default = run("policy", "show").stdout
    policy.write_text(default.replace('"reviewed-match"', '"softer"').replace('"block"', '"hold"'))
    run("policy", "check", policy)
    changes = _lines(run("policy", "replay", policy, "--json"))
    assert changes[0]["id"] == verdict["id"]
    assert changes[0]["after"]["action"] == "hold"
    assert changes[-1] == {"total": 1, "changed": 1, "moves": [["block", "hold", 1]]}
    assert "1 of 1" in run("policy", "replay", policy).stdout
    policy.write_text(default.replace("f.tier", "f.teir", 1))
    done = run("policy", "check", policy, code=1)
    assert f"{policy}:" in done.stdout
    assert "teir" in done.stdout
    run("policy", "explain", "nothing-of-the-kind", code=1)


def test_a_scan_reports_and_resumes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        picture = photo("rocket").resize((200 + number, 150))
        (folder / "deep" / f"{number}.jpg").write_bytes(encoded(picture))
    (folder / "note.txt").write_text("<script>alert(1)</script>")
    out, html = tmp_path / "out.jsonl", tmp_path / "report.html"
    done = run("scan", folder, "--out", out, "--html", html, code=3)
    assert "7 files: 6 allow, 1 hold" in done.stdout
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["file"] for line in lines] == [*(f"deep/{n}.jpg" for n in range(6)), "note.txt"]
    page = html.read_text()
    assert "note.txt" in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "7 files" in run("scan", folder, "--include", "*", code=3).stdout
    assert "6 files: 6 allow" in run("scan", folder, "--include", "*.jpg").stdout
    assert len(_lines(run("scan", folder, "--json", code=3))) == 7
    run("scan", tmp_path / "absent", code=1)


def test_the_demo_shows_every_verdict(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.jpg").write_bytes(encoded(photo("cat"), quality=70))
    done = run("demo", own, "--out", tmp_path / "demo")
    for action in ("allow", "hold", "block"):
        assert action in done.stdout
    assert "UNEXPECTED" not in done.stdout
    assert "1 files: 1 hold" in done.stdout
    assert (tmp_path / "demo" / "report.html").exists()
    run("demo", "--out", tmp_path / "demo", "--json")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    run("demo", "--out", tmp_path / "other", code=1)
    assert (tmp_path / "other" / "precious").exists()


def test_the_doctor_finds_what_is_broken(run: Run, tmp_path: Path) -> None:
    checks = {line["check"]: line["ok"] for line in _lines(run("doctor", "--json"))}
    assert all(checks.values())
    assert {
        "trigger picture",
        "trigger prompt",
        "banked picture",
        "broken picture",
    } <= checks.keys()
    policy = tmp_path / "lax.toml"
    policy.write_text('[policy]\nname = "lax"\ndefault = "allow"\n')
    done = run("--policy", policy, "doctor", "--json", code=1)
    failed = {line["check"] for line in _lines(done) if not line["ok"]}
    assert failed == {"trigger picture", "trigger prompt", "banked picture", "films"}


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['tutela', '--help']\n"
        "from tutela.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'sqlalchemy', 'pydantic', 'PIL', 'fastapi', 'alembic'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "loaded: []" in done.stdout
    for command in ("screen", "scan", "bank", "policy", "key", "serve", "doctor", "demo"):
        assert command in done.stdout


def test_keys_are_shown_once(run: Run, tmp_path: Path) -> None:
    (made,) = _lines(run("key", "create", "site", "--scope", "screen", "--json"))
    assert made["secret"].startswith("tutela_")
    listed = run("key", "list", "--json")
    assert made["secret"] not in listed.stdout
    raw = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("tutela.db*"))
    assert made["secret"].encode() not in raw
    run("key", "revoke", "site")
    run("key", "revoke", "site", code=1)
    run("key", "create", "x", "--scope", "everything", code=1)
    run("key", "create", "site", "--scope", "screen")


def test_old_verdicts_are_erased_when_the_operator_says_so(run: Run) -> None:
    run("screen", PHOTOS / "cat.jpg")
    assert _lines(run("db", "purge", "--days", "3", "--json")) == [{"erased": 0}]
    with Store(f"sqlite:///{(Path.cwd() / 'data' / 'tutela.db').as_posix()}") as store:
        assert forget(store, now() + timedelta(seconds=1)) == 1
        assert list(since(store)) == []
