"""The sandbox at the level of its users: results, faults, bounds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tutela import signals
from tutela.errors import ConfigurationError, Reason
from tutela.examine import examine
from tutela.media import Limits
from tutela.sandbox import Sandbox

# A plug-in that does, in the worker alone, what a decoder does when it is attacked. It writes the
# fault's name into a file that it mapped ahead of the confinement, so that a test knows that the
# fault fired.
PLUGIN = """
import ctypes, mmap, os, socket, subprocess, time
from tutela.signals import Fingerprint

FIRED = mmap.mmap(os.open({fired!r}, os.O_RDWR), 16)

class Faulty:
    name, version, radius, row_bits, min_quality, detail = "faulty", "1", None, 0, 0, {detail}

    def fingerprint(self, data, media):
        fault = data[data.rfind(b"FAULT:") + 6:].decode() if b"FAULT:" in data else ""
        if fault:
            FIRED[:16] = fault.encode().ljust(16, b"\\0")
            return getattr(self, fault)() or ()
        return ()

    def escape(self):
        import shutil, signal, tempfile
        attempts = {{
            "socket": lambda: socket.create_connection(("127.0.0.1", 9)),
            "program": lambda: subprocess.run(["true"]),
            "process": os.fork,
            "write": lambda: open({fired!r} + "x", "wb"),
            "change": lambda: open({fired!r}, "r+b"),
            "folder": lambda: os.mkdir({fired!r} + "y"),
            "remove": lambda: os.unlink({fired!r}),
            "kill": lambda: os.kill(os.getppid(), 0),
        }}
        made = []
        for name, attempt in attempts.items():
            try:
                attempt()
                made.append(Fingerprint("faulty", b"", None, name))
            except PermissionError:
                pass
        return made

    def segfault(self):
        ctypes.string_at(0)

    def hang(self):
        while True:
            pass

    def sleep(self):
        time.sleep(60)

    def memory(self):
        held = []
        while True:
            held.append(b"x" * (1 << 20))

    def fail(self):
        raise RuntimeError("a broken plug-in")

    def leave(self):
        os._exit(0)

    def chatter(self):
        print("x" * 100_000, flush=True)
        os.write(1, b"y" * 100_000)
        os.write(2, b"z" * 100_000)

    def garble(self):
        self.answer(b"\\x05\\0\\0\\0[1,2]")

    def endless(self):
        self.answer(b"\\xff\\xff\\xff\\xff")

    def stall(self):
        self.answer(b"\\xff\\0\\0\\0{{")
        time.sleep(60)

    def answer(self, frame):
        for descriptor in range(3, 32):
            try:
                os.write(descriptor, frame)
            except OSError:
                pass

FAULTY = Faulty()
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plug-in with faults is installed; gives its folder."""
    folder = tmp_path_factory.mktemp("plugin")
    fired = folder / "fired"
    fired.write_bytes(bytes(16))
    (folder / "faulty.py").write_text(PLUGIN.format(fired=str(fired), detail=64))
    facts = folder / "faulty-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[tutela.signals]\nfaulty = faulty:FAULTY\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        signals.installed.cache_clear()
        yield folder
    signals.installed.cache_clear()
    sys.modules.pop("faulty", None)


@pytest.fixture(scope="module")
def faulty(plugin: Path) -> Iterator[Sandbox]:
    """A sandbox of one worker with that plug-in: each fault leaves its successor to the next."""
    with Sandbox(Limits(max_seconds=1.0), workers=1, signal_names=["sha256", "faulty"]) as box:
        yield box


def fired(plugin: Path) -> str:
    """Which fault fired last; forgets it."""
    found = (plugin / "fired").read_bytes().rstrip(b"\0").decode()
    with (plugin / "fired").open("r+b") as file:
        file.write(bytes(16))
    return found


def jpeg(tail: bytes = b"", size: tuple[int, int] = (200, 150)) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue() + tail


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as box:
        yield box


def test_results_are_those_of_examine_in_process(sandbox: Sandbox, tmp_path: Path) -> None:
    data = jpeg()
    path = tmp_path / "picture.txt"
    path.write_bytes(data)
    expected = examine(data, sandbox.signals, sandbox.limits)
    for source in (data, path):
        found = sandbox.examine(source)
        assert found.fingerprints == expected.fingerprints
        assert found.media == expected.media
        assert found.rejected is None
        assert found.timings.keys() >= {"decode", *(kind.name for kind in sandbox.signals)}


def test_large_content_goes_through(sandbox: Sandbox) -> None:
    data = jpeg(bytes(5_000_000))
    assert (
        sandbox.examine(data).fingerprints
        == examine(data, sandbox.signals, sandbox.limits).fingerprints
    )


def test_examine_many_gives_each_source_once() -> None:
    sources = [jpeg(size=(100 + n, 80)) for n in range(40)]
    with Sandbox(workers=2, signal_names=["sha256", "pdq"]) as box:
        found = dict(box.examine_many(sources, bytes))
        few = box.examine_many(sources, bytes)
        next(few)
        few.close()
        assert box.examine(sources[0]).rejected is None
    assert found.keys() == set(sources)
    assert all(found[data].media.width == 100 + n for n, data in enumerate(sources))


def test_an_error_of_the_callers_iterator_reaches_the_caller(sandbox: Sandbox) -> None:
    def sources() -> Iterator[bytes]:
        yield jpeg()
        raise LookupError("no more")

    with pytest.raises(LookupError):
        list(sandbox.examine_many(sources(), bytes))
    assert sandbox.examine(jpeg()).rejected is None


def test_many_threads_share_few_workers(sandbox: Sandbox) -> None:
    done: list[bool] = []

    def work(n: int) -> None:
        found = sandbox.examine(jpeg(size=(100 + n, 90)))
        done.append(found.media.width == 100 + n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 12


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", Reason.DECODER_CRASHED),
        ("hang", Reason.TOO_SLOW),
        ("sleep", Reason.TOO_SLOW),
        ("stall", Reason.TOO_SLOW),
        pytest.param(
            "memory",
            Reason.TOO_MUCH_MEMORY,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux"),
        ),
        ("fail", Reason.DECODER_CRASHED),
        ("leave", Reason.DECODER_CRASHED),
        ("garble", Reason.DECODER_CRASHED),
        ("endless", Reason.DECODER_CRASHED),
    ],
)
def test_a_fault_costs_its_own_input_alone(
    plugin: Path, faulty: Sandbox, fault: str, reason: Reason
) -> None:
    data = jpeg(b"FAULT:" + fault.encode())
    failed = faulty.examine(data)
    assert fired(plugin) == fault
    after = faulty.examine(jpeg())
    assert failed.rejected is not None
    assert failed.rejected.reason is reason
    assert [made.signal for made in failed.fingerprints] == ["sha256"]
    assert failed.fingerprints == examine(data, signals.load(["sha256"]), Limits()).fingerprints
    assert after.rejected is None
    assert after.media.format == "jpeg"


def test_what_libraries_print_does_not_disturb_answers(plugin: Path, faulty: Sandbox) -> None:
    found = faulty.examine(jpeg(b"FAULT:chatter"))
    assert fired(plugin) == "chatter"
    assert found.rejected is None
    assert found.media.format == "jpeg"


def test_an_idle_worker_that_was_killed_is_replaced(sandbox: Sandbox) -> None:
    assert sandbox.examine(jpeg()).rejected is None
    worker = sandbox._free.get()
    assert worker is not None
    worker._process.kill()
    worker._process.wait()
    sandbox._free.put(worker)
    assert sandbox.examine(jpeg()).rejected is None


def test_an_interrupted_call_leaves_the_next_ones_right(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sandbox.examine(jpeg()).rejected is None
    worker = sandbox._free.get()
    sandbox._free.put(worker)
    assert worker is not None

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sandbox.examine(jpeg(size=(111, 90)))
    assert sandbox.examine(jpeg(size=(222, 90))).media.width == 222


def test_a_path_is_digested_after_a_crash(plugin: Path, faulty: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(jpeg(b"FAULT:segfault"))
    failed = faulty.examine(path)
    assert fired(plugin) == "segfault"
    assert failed.rejected is not None
    assert failed.rejected.reason is Reason.DECODER_CRASHED
    assert [made.signal for made in failed.fingerprints] == ["sha256"]


def test_workers_are_replaced_after_their_share(tmp_path: Path) -> None:
    with Sandbox(workers=1, signal_names=["sha256"], recycle_after=2) as box:
        assert all(box.examine(jpeg()).rejected is None for _ in range(5))


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: folder,
        lambda folder: folder / "missing",
        pytest.param(
            lambda folder: Path("/dev/zero"),
            marks=pytest.mark.skipif(os.name != "posix", reason="a device file"),
        ),
        pytest.param(
            lambda folder: [os.mkfifo(folder / "pipe"), folder / "pipe"][1],
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe"),
        ),
    ],
    ids=["folder", "missing", "device", "pipe"],
)
def test_only_regular_files_are_read(
    sandbox: Sandbox, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    found = sandbox.examine(make(tmp_path))
    assert found.rejected is not None
    assert found.rejected.reason is Reason.UNREADABLE_FILE
    assert found.fingerprints == ()


def test_too_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(jpeg(bytes(2000)))
    with Sandbox(Limits(max_bytes=1500), workers=1) as box:
        for source in (path, path.read_bytes()):
            found = box.examine(source)
            assert found.rejected is not None
            assert found.rejected.reason is Reason.TOO_MANY_BYTES


def test_a_closed_sandbox_says_so() -> None:
    box = Sandbox(workers=1)
    box.close()
    box.close()
    with pytest.raises(ConfigurationError, match="closed"):
        box.examine(jpeg())


def test_a_worker_that_can_not_start_says_why(plugin: Path) -> None:
    module = plugin / "faulty.py"
    source = module.read_text()
    with Sandbox(workers=1, signal_names=["faulty"]) as box:
        module.write_text("raise RuntimeError('out of order')")
        try:
            with pytest.raises(ConfigurationError, match="out of order"):
                box.examine(jpeg())
        finally:
            module.write_text(source)
        assert box.examine(jpeg()).rejected is None


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_a_worker_sees_no_secret_and_is_confined(sandbox: Sandbox) -> None:
    os.environ["TUTELA_TEST_SECRET"] = "hunter2"
    try:
        with Sandbox(workers=1, signal_names=["sha256"]) as box:
            box.examine(jpeg())
            worker = box._free.get()
            box._free.put(worker)
            assert worker is not None
            process = Path(f"/proc/{worker._process.pid}")
            assert b"hunter2" not in (process / "environ").read_bytes()
            status = (process / "status").read_text()
            limits = (process / "limits").read_text()
            targets = {os.readlink(entry) for entry in (process / "fd").iterdir()}
    finally:
        del os.environ["TUTELA_TEST_SECRET"]
    assert "NoNewPrivs:\t1" in status
    assert any(line.split()[4:6] == ["0", "0"] for line in limits.splitlines() if "core" in line)
    # The plug-in of other tests maps a file of its own.
    mine = {target for target in targets if not target.endswith("/fired")}
    assert all(target == os.devnull or target.startswith("pipe:") for target in mine), mine


@pytest.mark.skipif(sys.platform != "linux", reason="system calls are filtered on Linux")
def test_a_taken_worker_reaches_nothing(plugin: Path, faulty: Sandbox) -> None:
    found = faulty.examine(jpeg(b"FAULT:escape"))
    worker = faulty._free.get()
    faulty._free.put(worker)
    assert fired(plugin) == "escape"
    assert worker is not None
    if "filtered system calls" not in worker.confinement:
        pytest.skip("this kernel has no filter of system calls")
    assert found.rejected is None
    assert [made.part for made in found.fingerprints if made.signal == "faulty"] == []


def test_it_works_from_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    picture = tmp_path / "picture"
    picture.write_bytes(jpeg())
    script.write_text(
        "from pathlib import Path\n"
        "from tutela.sandbox import Sandbox\n"
        "box = Sandbox(workers=1, signal_names=['sha256'])\n"
        f"print(box.examine(Path({str(picture)!r})).rejected)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert ran.stdout.strip() == "None"
