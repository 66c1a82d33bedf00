"""`tutela serve` as a process: how it starts, how it stops, what outlives it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import kills
import running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes under /proc")

Served = Callable[..., tuple[running.Server, str]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Starts a server with further options of `serve`; gives it and a key for screening."""
    with contextlib.ExitStack() as stack:

        def start(*serve: str) -> tuple[running.Server, str]:
            url = f"sqlite:///{tmp_path / 'data' / 'tutela.db'}"
            server = running.Server(tmp_path, url, options=("--workers", "2"), serve=serve)
            stack.callback(server.stop)
            secret = server.key("test", "screen", "banks:write")
            server.start()
            return server, secret

        yield start


def waits(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def screen(server: running.Server, secret: str, number: int = 1) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "image/jpeg"}
        connection.request("POST", "/v1/screen", kills.upload(number), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def gone(processes: list[int]) -> bool:
    return not any(running.is_running(process) for process in processes)


def test_it_answers_what_was_begun_and_leaves_nothing(served: Served) -> None:
    server, secret = served()
    family = running.descendants(server.pid)
    assert family
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = kills.upload(1)
    connection.putrequest("POST", "/v1/screen")
    connection.putheader("Authorization", f"Bearer {secret}")
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(0.2)
    os.kill(server.pid, signal.SIGTERM)
    waits(lambda: not listens(server.port))
    connection.send(body[100:])
    answer = connection.getresponse()
    verdict = json.loads(answer.read())
    connection.close()
    assert server.wait(60) in (0, -signal.SIGTERM)
    assert answer.status == 200
    rows = running.Database(server.url).rows("SELECT id FROM verdicts")
    assert rows == [(verdict["id"],)]
    assert gone(family)


def test_the_disk_has_a_verdict_before_the_client(served: Served, tmp_path: Path) -> None:
    """Seen from the system: what is written, what is synced, what is answered, in this order."""
    tracer, trace = shutil.which("strace"), tmp_path / "trace"
    if tracer is None:
        pytest.skip("needs strace")
    server, secret = served()
    assert screen(server, secret)[0] == 200
    calls = "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg"
    watched = subprocess.Popen(
        [tracer, "-f", "-y", "-e", calls, "-o", trace, "-p", str(server.pid)],
        stderr=subprocess.DEVNULL,
    )
    waits(lambda: watched.poll() is not None or traced(server.pid))
    if watched.poll() is not None:
        pytest.skip("this system does not let processes be traced")
    assert screen(server, secret, 2)[0] == 200
    watched.terminate()
    watched.wait(60)
    lines = trace.read_text().splitlines()
    order = [
        next(at for at, line in enumerate(lines) if all(part in line for part in parts))
        for parts in (("pwrite64", "tutela.db-wal"), ("sync", "tutela.db-wal"), ("HTTP/1.1 200",))
    ]
    assert order == sorted(order)
    synced = max(at for at, line in enumerate(lines[: order[2]]) if "sync(" in line)
    assert not [line for line in lines[synced : order[2]] if "pwrite64" in line]


def traced(process: int) -> bool:
    return all(
        "TracerPid:\t0\n" not in status.read_text()
        for status in Path(f"/proc/{process}/task").glob("*/status")
    )


def test_several_processes_leave_with_the_one_that_started_them(served: Served) -> None:
    server, secret = served("--processes", "2")
    family = running.descendants(server.pid)
    assert screen(server, secret)[0] == 200
    os.kill(server.pid, signal.SIGKILL)
    server.wait(60)
    waits(lambda: gone(family))
    server.start()
    assert screen(server, secret, 2)[0] == 200


def test_a_server_process_that_dies_is_replaced_and_logs_alike(
    served: Served, tmp_path: Path
) -> None:
    server, secret = served("--processes", "2")
    family = running.descendants(server.pid)
    serving = [process for process in family if b"spawn_main" in command(process)]
    assert len(serving) == 2
    for process in serving:
        os.kill(process, signal.SIGKILL)
    waits(lambda: gone(serving))
    waits(server.ready)
    for number in range(4):
        assert screen(server, secret, number)[0] == 200
    server.stop()
    lines = (tmp_path / "server.log").read_text().splitlines()
    requests = [json.loads(line) for line in lines if '"/v1/screen"' in line]
    assert [request["status"] for request in requests] == [200] * 4
    assert all(request["verdicts"] for request in requests)
    assert secret not in "".join(lines)


def test_a_decoder_that_is_killed_costs_at_most_a_hold(served: Served) -> None:
    server, secret = served()
    decoders = running.descendants(server.pid)
    stop = threading.Event()
    actions: list[str] = []

    def clients() -> None:
        number = 100
        while not stop.is_set():
            number += 1
            status, body = screen(server, secret, number)
            actions.append(json.loads(body)["verdict"]["action"] if status == 200 else str(status))

    thread = threading.Thread(target=clients)
    thread.start()
    waits(lambda: len(actions) > 3)
    for decoder in decoders:
        os.kill(decoder, signal.SIGKILL)
    waits(lambda: gone(decoders))
    seen = len(actions)
    waits(lambda: len(actions) > seen + 5)
    stop.set()
    thread.join()
    assert set(actions) <= {"allow", "hold"}
    assert actions[-1] == "allow"


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    server = running.Server(tmp_path, f"sqlite:///{tmp_path / 'data' / 'tutela.db'}")
    with socket.create_server(("127.0.0.1", server.port)):
        done = subprocess.run(
            [*server.command, "serve", "--port", str(server.port)], capture_output=True, timeout=120
        )
    server.stop()
    assert done.returncode != 0
    assert b"address already in use" in done.stderr


def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    server = running.Server(tmp_path, url)
    done = subprocess.run([*server.command, "serve"], capture_output=True, timeout=120)
    server.stop()
    assert done.returncode == 1
    assert b"the database failed" in done.stderr
    assert b"Traceback" not in done.stderr
