"""The documentation tells of everything, of nothing else, and its examples work."""

from __future__ import annotations

import ast
import configparser
import contextlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import uvicorn
from fastapi.routing import APIRoute
from PIL import Image
from prometheus_client import Counter, Gauge, Histogram
from typer.testing import CliRunner

import tutela
from support import encoded, photo
from tutela import errors, findings
from tutela.banks import Tier, transfer
from tutela.cli import output
from tutela.cli.app import app as cli
from tutela.detectors import Detector, Subject, trigger
from tutela.media.types import MediaFacts
from tutela.policy import Context, Decision
from tutela.sandbox import Sandbox
from tutela.server import app as server
from tutela.server import banking, health, metrics, screening
from tutela.server import errors as server_errors
from tutela.server.keys import Keys, Scope
from tutela.settings import Settings, load
from tutela.signals import SignalType
from tutela.store import Store
from tutela.verdict import Verdict

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
EXAMPLES = sorted(set(DOCS.glob("*.md")) - {DOCS / "policy.md", DOCS / "plug-ins.md"})
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def rows_of(name: str) -> list[list[str]]:
    """The cells of every line of every table, with `\\|` kept together."""
    lines = re.findall(r"^\|(.*)\|$", text_of(name), re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def first_cells(name: str) -> set[str]:
    """What the first column of the tables names in backquotes."""
    return {found for row in rows_of(name) for found in re.findall(r"`([^`]+)`", row[0])}


# Everything that there is, is documented.


def test_every_setting() -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in rows_of("operating.md") if row[0]}
    for name, field in Settings.model_fields.items():
        assert name in rows
        if isinstance(field.default, bool | int | float | Path) and not field.default_factory:
            assert rows[name] == str(field.default).lower()


def commands(group: Any, names: str = "tutela") -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{names} {name}")
        else:
            yield f"{names} {name}", command


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name[:2] == "--"}


def test_every_command_and_option() -> None:
    tree = typer.main.get_command(cli)
    documented: dict[str, set[str]] = {}
    for row in rows_of("cli.md"):
        found = re.match(r"`(tutela [a-z ]+?)(?: [A-Z\[].*)?`", row[0])
        if found:
            documented[found[1]] = set(re.findall(r"--[a-z-]+", row[2]))
    known = {name: options(command) - {"--help"} for name, command in commands(tree)}
    assert len(known) > 20
    assert documented == known
    common = {option for cell in first_cells("cli.md") for option in re.findall("--[a-z-]+", cell)}
    assert options(tree) <= common


def test_every_exit_code() -> None:
    rows = {row[0] for row in rows_of("cli.md")}
    assert {str(code) for code in (0, output.FAILED, 2, output.HELD, output.BLOCKED)} <= rows


def test_every_route_with_its_scope(tmp_path: Path) -> None:
    known = {}
    for part in (screening, banking, health):
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            scopes = [str(found.dependency.scope) for found in route.dependencies]  # type: ignore
            for method in route.methods:
                known[f"{method} {route.path}"] = scopes[0] if scopes else "none"
    described = server.create(load(tmp_path)).openapi()["paths"]
    assert {f"{m.upper()} {path}" for path, found in described.items() for m in found} == set(known)
    documented = {
        row[0].strip("`"): row[1].strip("`")
        for row in rows_of("screening-api.md")
        if re.match(r"`[A-Z]+ /", row[0])
    }
    assert documented == known
    assert set(Scope) <= first_cells("screening-api.md")


def refusals() -> set[tuple[int, str]]:
    """(status, type) of every error that the server's code answers with."""
    found = set(server_errors.STATUS.values())
    for path in Path(inspect.getfile(server_errors)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Refused", "shaped"):
                match node.args:
                    case [ast.Constant(int(status)), ast.Constant(str(kind)), *_]:
                        found.add((status, kind))
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "kinds":
                found |= set(ast.literal_eval(node.value).items())
    return found


def test_every_error_type() -> None:
    documented = {
        (int(row[0]), row[1].strip("`"))
        for row in rows_of("screening-api.md")
        if re.fullmatch(r"[45]\d\d", row[0]) and row[1].startswith("`")
    }
    # 400 is also what any other refusal of the framework is called.
    assert documented == refusals() | {(400, "bad-request")}


def test_every_reason_and_every_field_of_a_verdict() -> None:
    named = first_cells("screening-api.md")
    assert set(errors.Reason) <= named
    for kind in (findings.Finding, Decision, Context):
        assert {field.name for field in fields(kind)} <= named
    text = text_of("screening-api.md")
    assert all(f"`{field.name}`" in text for field in fields(MediaFacts))
    assert all(f"`{kind}`" in text for kind in findings.NOT_EXAMINED | {findings.MATCH})


def test_the_example_of_a_verdict_has_its_form() -> None:
    shown = next(
        json.loads(b) for _, _, b in BLOCK.findall(text_of("screening-api.md")) if "timings" in b
    )
    context = Context()
    decision = Decision("allow", None, (), (), "")
    real = Verdict("", tutela.store.now(), decision, (), (), MediaFacts(), context).document()
    assert list(shown) == list(real)
    for part in ("media", "context", "verdict"):
        assert list(shown[part]) == list(real[part])
    assert [findings.Finding.from_json(found) for found in shown["findings"]]


def test_every_metric() -> None:
    documented = {row[0].strip("`"): row[1] for row in rows_of("operating.md")}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            assert re.findall(r"`(\w+)`", documented[name]) == list(metric._labelnames)


def test_every_error_class() -> None:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TutelaError)
    }
    assert classes <= first_cells("python-api.md")


def test_everything_about_banks() -> None:
    named = first_cells("banks.md")
    assert set(Tier) | set(transfer.FORMATS) | set(transfer.COLUMNS) <= named
    text = text_of("banks.md")
    assert all(f"`{name}`" in text for also in transfer.COLUMNS.values() for name in also)
    statuses = re.findall(
        r"`([\w-]+)`", inspect.getsource(transfer.ImportReport).split("id: int")[0]
    )
    assert len(statuses) == 6
    assert set(statuses) <= named


def test_the_whole_plug_in_interface() -> None:
    named = " ".join(first_cells("plug-ins.md"))
    for kind in (SignalType, Detector):
        members = {name for name in vars(kind) if not name.startswith("_")}
        assert len(members) >= 3
        assert all(re.search(rf"\b{name}\b", named) for name in members)
    assert all(f"`{field.name}`" in text_of("plug-ins.md") for field in fields(Subject))
    assert {"tutela.signals", "tutela.detectors"} <= first_cells("plug-ins.md")


def test_every_page_is_in_the_index_and_the_version_in_the_changelog() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", text_of("index.md")))
    assert linked == {path.name for path in DOCS.glob("*.md")} - {"index.md"}
    assert f"## {tutela.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_benchmark_that_is_named_exists() -> None:
    named = {
        found for page in PAGES for found in re.findall(r"bench/\w+\.py", page.read_text("utf-8"))
    }
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# Links lead somewhere, and nothing of a machine is named.


def _prose(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", "`", BLOCK.sub("", page.read_text("utf-8")))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", _prose(page)):
        if target.startswith(("http:", "https:")):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_path_of_a_machine(page: Path) -> None:
    text = page.read_text("utf-8")
    assert str(ROOT) not in text
    assert not re.findall(r"(?<![\w.])/(?:home|root|Users|work|workspace|builds?|tmp)/\w+", text)


# Examples work.


class Shell:
    """Runs the lines of `sh` blocks: `tutela` in this process, `curl` as requests to a server."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._url = ""
        self.variables: dict[str, str] = {}

    def key(self) -> str:
        """The key that an example made, else one with every scope."""
        if "KEY" not in self.variables:
            Path("tutela-data").mkdir(exist_ok=True)
            store = Store(load().database_url)
            self.variables["KEY"] = Keys(store).create("docs", Scope)[1]
            store.close()
        return self.variables["KEY"]

    def at_server(self, text: str) -> str:
        """The text with the address of the server that runs for the examples."""
        if not self._url:
            self._url = self._stack.enter_context(served(load()))
        return text.replace("http://127.0.0.1:8000", self._url)

    def run(self, line: str) -> None:
        command, _, comment = line.partition("    # ")
        for part in command.split(" && "):
            assigned = re.fullmatch(r"(\w+)=\$\((.*)\)", part)
            printed = self._run(assigned[2] if assigned else part, comment)
            if assigned:
                self.variables[assigned[1]] = printed.strip()

    def _run(self, command: str, comment: str) -> str:
        words = shlex.split(command)
        variables = {}
        while re.match(r"[A-Z_]+=", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        program, *words = words
        words, given = (words[:-2], Path(words[-1]).read_text()) if "<" in words else (words, None)
        if program == "curl":
            answer = self._curl(words)
            assert comment in ("", "blocked")
            assert not comment or answer["verdict"]["action"] == "block"
            return ""
        if program == "echo":
            return ""
        assert program == "tutela"
        into = None
        if ">" in words:
            *words, _, into = words
        if "serve" in words[:2]:
            # What it does, the server that `curl` talks to does, or a test of its own.
            known = dict(commands(typer.main.get_command(cli)))
            end = words.index("serve") + 1
            known[" ".join(["tutela", *words[:end]])].make_context("serve", words[end:])
            return ""
        done = CliRunner().invoke(cli, words, given, env=variables)
        wanted = re.match(r"exits (\d)", comment)
        assert done.exit_code == (int(wanted[1]) if wanted else 0), (
            command,
            done.stdout,
            done.stderr,
            done.exception,
        )
        if into is not None:
            Path(into).write_text(done.stdout, "utf-8")
        return done.stdout

    def _curl(self, words: list[str]) -> Any:
        headers: dict[str, str] = {}
        files: list[tuple[str, Any]] = []
        body: bytes | None = None
        url = ""
        rest = iter(words)
        for word in rest:
            match word:
                case "-H":
                    name, _, value = next(rest).replace("$KEY", self.key()).partition(": ")
                    headers[name] = value
                case "-F":
                    name, _, value = next(rest).partition("=")
                    at = value.removeprefix("@")
                    files.append(
                        (name, (None, value) if at == value else (at, Path(at).read_bytes()))
                    )
                case "-d" | "--data-binary":
                    value = next(rest)
                    at = value.removeprefix("@")
                    body = value.encode() if at == value else Path(at).read_bytes()
                case "-sS":
                    pass
                case _:
                    url = self.at_server(word)
        method = "GET" if body is None and not files else "POST"
        answer = httpx.request(
            method, url, headers=headers, content=body, files=files or None, timeout=60
        )
        assert answer.status_code in (200, 201), (words, answer.text)
        return answer.json()


class Lent:
    """A sandbox that goes on when its borrower closes it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.examine = sandbox.examine
        self.examine_many = sandbox.examine_many
        self.warm = sandbox.warm
        self.confinement = sandbox.confinement

    def close(self) -> None: ...

    def __enter__(self) -> Lent:
        return self

    def __exit__(self, *_: object) -> None: ...


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[str]:
    """A server in a thread; gives its address."""
    config = uvicorn.Config(server.create(settings), port=0, log_config=None, ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def workers() -> Iterator[Sandbox]:
    """Workers that hold no state, started once for all examples."""
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Sandbox) -> Iterator[Shell]:
    """A folder with the pictures that the examples name."""
    monkeypatch.chdir(tmp_path)
    for module in ("tutela.screening", "tutela.sandbox"):
        monkeypatch.setattr(f"{module}.Sandbox", lambda *_, **__: Lent(workers))
    for name in [name for name in os.environ if name.startswith("TUTELA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TUTELA_WORKERS", "1")
    monkeypatch.setenv("TUTELA_WITHOUT", '["lettering"]')
    Path("photo.jpg").write_bytes(encoded(photo("coffee"), quality=85))
    Path("other.jpg").write_bytes(encoded(photo("rocket"), quality=85))
    Path("uploads").mkdir()
    Path("requests.txt").write_text("a lighthouse at dusk\n", "utf-8")
    Path("made.png").write_bytes(encoded(photo("galaxies"), "PNG"))
    mask = Image.new("RGBA", photo("coffee").size)
    Path("mask.png").write_bytes(encoded(mask, "PNG"))
    small = photo("coffee").resize((300, 200))
    Path("uploads/copy.jpg").write_bytes(encoded(small))
    Path("uploads/other.png").write_bytes(encoded(photo("coins"), "PNG"))
    with contextlib.ExitStack() as stack:
        yield Shell(stack)


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_examples(page: Path, shell: Shell) -> None:
    names: dict[str, Any] = {}
    for language, name, body in BLOCK.findall(page.read_text("utf-8")):
        match language, name:
            case "sh", "":
                for line in body.splitlines():
                    shell.run(line)
            case "python", "":
                if "httpx" in body:
                    names["key"] = shell.key()
                    body = shell.at_server(body)
                exec(compile(body, str(page), "exec"), names)
            case "json", "":
                json.loads(body)
            case "toml", "tutela.toml":
                Path("elsewhere").mkdir(exist_ok=True)
                Path("elsewhere/tutela.toml").write_text(body, "utf-8")
                assert load("elsewhere").fetch_hosts
            case "toml", "":
                load("tutela-data", **tomllib.loads(body))
            case "csv" | "jsonl", _:
                Path(name).write_text(body, "utf-8")
            case "ini", "":
                parsed = configparser.ConfigParser(strict=False, interpolation=None)
                parsed.read_string(body)
                assert parsed.has_section("Service")
            case (("console" | "nginx"), ""):
                pass
            case _:
                pytest.fail(f"{language} {name} is not tried")
    if may_publish := names.get("may_publish"):
        assert not may_publish(trigger.picture(), "1")
        assert may_publish(Path("other.jpg").read_bytes(), "2")
        assert not may_publish(trigger.picture(), "2")
        names["client"].close()


DRIVER = """
import sys
from typer.testing import CliRunner
from tutela.cli.app import app

for line in sys.stdin:
    done = CliRunner().invoke(app, ["--workers", "1", *line.split()])
    print(done.stdout if done.exit_code in (0, 3) else done.stderr, end="", flush=True)
"""


def test_every_field_that_the_command_prints(shell: Shell) -> None:
    fields_of = {
        command: re.findall(r"`(\w+)`", row[1])
        for row in rows_of("cli.md")
        for command in re.findall(r"`((?:bank|policy|key|index|db) \w+|doctor|protect)`", row[0])
    }
    Path("list.csv").write_text("signal,value\nsha1," + "1" * 40)
    Path("wrong.toml").write_text("[policy]\n")
    Path("other.toml").write_text(
        """
        [policy]
        name = "other"
        default = "hold"
        [[rule]]
        id = "never"
        when = "false"
        action = "hold"
        """
    )

    def keys(line: str, code: int = 0) -> list[str]:
        printed = CliRunner().invoke(cli, [*line.split(), "--json"])
        assert printed.exit_code == code, (line, printed.stdout, printed.stderr)
        return list(json.loads(printed.stdout.splitlines()[-1]))

    CliRunner().invoke(cli, ["screen", "other.jpg"])
    for words in (
        "bank create b --tier reviewed",
        "bank list",
        "bank add b photo.jpg",
        "bank show b",
        "bank remove b 1",
        "bank create harmless --tier benign",
        "bank add harmless photo.jpg",
        "protect --bank p photo.jpg",
        "bank aside",
        "bank decide 7 keep",
        "bank import b list.csv",
        "bank imports",
        "bank rollback 1",
        "policy explain photo.jpg",
        "key create k",
        "key list",
        "key revoke k",
        "doctor",
        "db upgrade",
        "bank delete b --yes",
    ):
        command = " ".join(words.split()[: 1 + (words.split()[0] not in ("doctor", "protect"))])
        assert keys(words) == fields_of[command], command
    assert keys("policy check wrong.toml", 1) == fields_of["policy check"]
    assert keys("policy replay other.toml") == fields_of["policy replay"][3:]
    assert keys("bank create c --tier benign") == keys("bank edit c --tier reported")
    assert keys("index status")[0] == "signal"
    documented = {
        name for row in rows_of("operating.md") for name in re.findall(r"`(\w+)`", row[0])
    }
    assert set(keys("index status")[1:]) <= documented


def test_plug_ins(tmp_path: Path) -> None:
    """The plug-ins of the page, as an installation would leave them, found and used."""
    packages = tmp_path / "packages"
    info = packages / "documented-1.dist-info"
    info.mkdir(parents=True)
    points = ""
    lines: list[str] = []
    for language, name, body in BLOCK.findall(text_of("plug-ins.md")):
        match language, name:
            case "python", _:
                (packages / name).write_text(body, "utf-8")
            case "toml", "policy.toml":
                (tmp_path / name).write_text(body, "utf-8")
            case "toml", _:
                for group, given in tomllib.loads(body)["project"]["entry-points"].items():
                    points += f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in given.items())
            case "sh", "":
                lines += [f"{line.removeprefix('tutela ')} --json" for line in body.splitlines()]
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: documented\nVersion: 1\n")
    (info / "entry_points.txt").write_text(points)
    wide = Image.linear_gradient("L").resize((900, 100))
    (tmp_path / "wide.png").write_bytes(encoded(wide, "PNG"))
    (tmp_path / "photo.jpg").write_bytes(encoded(photo("coffee")))
    value = "steps:0c06a4cce1d4f0c9"
    lines.append(f"bank add steps --signal {value} --json")
    lines.append("--policy policy.toml screen wide.png photo.jpg --json")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input="\n".join(lines) + "\n",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert not done.stderr
    *banked, held, matched = map(json.loads, done.stdout.splitlines())
    assert [answer.get("added") for answer in banked] == [None, [1], [2]]
    assert held["verdict"]["rules"] == ["banner"]
    (found,) = matched["findings"]
    assert (found["signal"], found["entry"]) == ("steps", 2)
