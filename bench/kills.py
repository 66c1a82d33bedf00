"""Kill the server at random moments; nothing that it acknowledged may be lost.

    python bench/kills.py --kills 300 --database sqlite
    python bench/kills.py --kills 300 --database postgresql [--postgres-url URL]
    python bench/kills.py --kills 5 --control

Clients screen pictures, with and without an Idempotency-Key, and change a bank. At a random moment
the server gets SIGKILL, alone or with its decoding processes, and is started again. Then the
database is read past Tutela's own code, by plain SQL:

- every verdict whose answer arrived whole is there, word for word;
- a request that was cut off and is repeated twice at once with its key has exactly one verdict;
- a bank holds what was acknowledged, and of what was cut off all of a request or nothing;
- every snapshot passes its checksum; one that is damaged on purpose is rebuilt;
- matches equal those of a naive scan of the live entries.

`--control` runs a server whose recorder acknowledges first and commits later. The same checks must
find verdicts missing: the run succeeds only if they do.

SIGKILL takes the process, not the power: what the kernel holds is still written. See
docs/design/durability.md. Linux only, for it finds the processes under /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from running import Database, Server, cluster, own_database
from tutela.errors import IndexDamaged
from tutela.index.snapshot import Snapshot

ENTRIES = 20_000
"""Entries that the bank starts with, so that writing a snapshot takes a while."""
CLIENTS = 6
RADIUS = 31
SCOPES = ("screen", "verdicts", "banks:read", "banks:write", "metrics")
LATE = 0.05
"""Seconds by which the control's recorder commits after it acknowledged."""


def launch(control: bool, arguments: list[str]) -> None:
    """Run the `tutela` command as it is, but for how often it compacts (and for the control)."""
    from tutela.cli import main
    from tutela.index.live import LiveIndex
    from tutela.server.app import Beside
    from tutela.store.recorder import Recorder

    follow = Beside._follow

    def follow_and_compact(self: Beside) -> None:
        follow(self)
        self._screener.matcher.compact()

    # Every change makes a new snapshot, five times a second: many kills fall into writing one.
    LiveIndex.needs_compaction = True  # type: ignore[assignment, method-assign]
    Beside._follow = follow_and_compact  # type: ignore[method-assign]
    if control:
        insert = Recorder._insert

        def submit(self: Recorder, rows: Any) -> Future[None]:
            done: Future[None] = Future()
            done.set_result(None)
            threading.Timer(LATE, insert, (self, [rows])).start()
            return done

        Recorder.submit = submit  # type: ignore[method-assign]
    sys.argv = ["tutela", *arguments]
    main()


# What was sent and what came back -----------------------------------------------------------------


@dataclass
class Sent:
    """A picture that was sent and, if the answer arrived whole, its verdict."""

    number: int
    keyed: bool
    document: dict[str, Any] | None = None


@dataclass
class Change:
    """A request that changed the bank."""

    add: tuple[bytes, ...] = ()
    remove: int = 0
    ids: tuple[int, ...] = ()
    acknowledged: bool = False


@dataclass
class Record:
    """What the clients know. Each list is appended to by one thread, or under the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: int = 0
    in_flight: int = 0
    sent: list[Sent] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def number(self) -> int:
        with self.lock:
            self.numbers += 1
            return self.numbers


def pictures(count: int = 24) -> list[bytes]:
    """Small JPEGs of smooth random colours."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        made.append(buffer.getvalue())
    return made


PICTURES = pictures()


def upload(number: int) -> bytes:
    """The picture of that number: no two have the same bytes, for each has its own comment."""
    comment = f"upload {number}".encode()
    data = PICTURES[number % len(PICTURES)]
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return data[:2] + segment + data[2:]


class Client:
    """A connection to the server that is kept open."""

    def __init__(self, port: int, secret: str, record: Record) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._secret = secret
        self._record = record

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, bool]:
        """Status, document, and whether it was the answer to an earlier request.

        Raises `OSError` or `HTTPException` if the answer did not arrive whole.
        """
        given = {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        with self._record.lock:
            self._record.in_flight += 1
        try:
            self._connection.request(method, path, body, given)
            answer = self._connection.getresponse()
            text = answer.read()
            replayed = answer.headers.get("Idempotent-Replay") == "true"
            return answer.status, json.loads(text), replayed
        except BaseException:
            self._connection.close()
            raise
        finally:
            with self._record.lock:
                self._record.in_flight -= 1

    def screen(self, number: int, *, keyed: bool) -> tuple[int, Any, bool]:
        headers = {"Content_Type": "image/jpeg"}
        if keyed:
            headers["Idempotency_Key"] = f"key-{number}"
        return self.call("POST", "/v1/screen", upload(number), **headers)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


GONE = (OSError, http.client.HTTPException, json.JSONDecodeError)
"""What a client sees when the server dies under it."""


# The test -----------------------------------------------------------------------------------------


@dataclass
class Result:
    """What a run did and found."""

    planned: int
    fired: int = 0
    with_requests: int = 0
    alone: int = 0
    in_snapshot: int = 0
    damaged: int = 0
    rebuilt: int = 0
    acknowledged: int = 0
    cut_off: int = 0
    cut_off_committed: int = 0
    changes: int = 0
    replays: int = 0
    compared: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)
    restart_seconds: list[float] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        restarts = sorted(self.restart_seconds) or [0.0]
        return [
            f"{self.fired} of {self.planned} kills fired, {self.with_requests} of them with a "
            f"request in flight, {self.alone} of the server alone",
            f"{self.in_snapshot} kills cut a snapshot short; {self.damaged} snapshots damaged "
            f"on purpose, {self.rebuilt} rebuilt",
            f"{self.acknowledged} verdicts acknowledged, {self.lost} lost; {self.cut_off} requests "
            f"cut off, {self.cut_off_committed} of them committed nevertheless",
            f"{self.replays} repeats with a key, {self.changes} changes of a bank, "
            f"{self.compared} searches compared with a naive scan",
            f"restart to ready: median {restarts[len(restarts) // 2]:.2f} s, "
            f"most {restarts[-1]:.2f} s",
            *(f"BROKEN: {problem}" for problem in self.problems[:20]),
        ]


class Trial:
    """Rounds of load, kill, restart and check on one database."""

    def __init__(self, server: Server, seed: int, planned: int, entries: int) -> None:
        self.server = server
        self.entries = entries
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.database = Database(server.url)
        self.record = Record()
        self.result = Result(planned)
        self._alone = set(self.random.sample(range(planned), -(-planned * 3 // 10)))
        self._damaged = set(self.random.sample(range(planned), -(-planned // 20)))
        self._checked_sent = 0
        self._checked_changes = 0
        self._partial: set[Path] = set()
        self._damaged_files: set[Path] = set()

    def run(self) -> Result:
        """Everything. Problems are collected, not raised, but for a server that won't start."""
        self.secret = self.server.key("kills", *SCOPES)
        self.server.start()
        self._fill()
        for number in range(self.result.planned):
            self._round(number)
            if number % 25 == 24:
                print(f"{number + 1} kills", file=sys.stderr)
        self._check_all()
        return self.result

    def _round(self, number: int) -> None:
        alone = number in self._alone
        delay = self.random.uniform(0.02, 0.8)
        damage = number in self._damaged
        stop = threading.Event()
        before = len(self.record.sent)
        workers = [threading.Thread(target=self._screens, args=(stop,)) for _ in range(CLIENTS)]
        workers += [threading.Thread(target=self._changes, args=(stop, self.random.random()))]
        for worker in workers:
            worker.start()
        # The clock runs from the first answers on, so that every kill falls into the work.
        while len(self.record.sent) - before < CLIENTS and not self.record.wrong:
            time.sleep(0.005)
        time.sleep(delay)
        self.result.with_requests += self.record.in_flight > 0
        self.server.kill(alone=alone)
        self.result.fired += 1
        self.result.alone += alone
        stop.set()
        for worker in workers:
            worker.join()
        partial = set((self.server.data / "index").rglob("*.partial"))
        self.result.in_snapshot += bool(partial - self._partial)
        self._partial = partial
        self._check_snapshots()
        if damage:
            self._damage()
        started = time.perf_counter()
        self.server.start()
        self.result.restart_seconds.append(time.perf_counter() - started)
        if damage:
            with self._client() as client:
                _, told, _ = client.call("GET", "/v1/index")
            self.result.rebuilt += bool(told["signals"]["pdq"]["rebuilt"])
        self._check_repeats()
        self._check_verdicts(self.record.sent[self._checked_sent :])
        self._checked_sent = len(self.record.sent)
        self._check_bank()
        if number % 50 == 49:
            self.database.check()

    # Load

    def _client(self) -> Client:
        return Client(self.server.port, self.secret, self.record)

    def _fill(self) -> None:
        with self._client() as client:
            self._make_bank(client)

    def _make_bank(self, client: Client) -> None:
        bank = {"name": "live", "tier": "reviewed", "owner": "kills"}
        status, _, _ = client.call("POST", "/v1/banks", json.dumps(bank).encode())
        if status != 201:
            raise RuntimeError(f"the bank can't be made: {status}")
        for start in range(0, self.entries, 10_000):
            values = self.numpy.bytes(32 * min(10_000, self.entries - start))
            self._change(client, add=[values[at : at + 32] for at in range(0, len(values), 32)])
        deadline = time.monotonic() + 60
        while not client.call("GET", "/v1/index")[1]["signals"]["pdq"]["snapshot_rows"]:
            if time.monotonic() > deadline:
                raise RuntimeError("no snapshot is written")
            time.sleep(0.05)

    def _screens(self, stop: threading.Event) -> None:
        with self._client() as client:
            while not stop.is_set() and self._screened(client):
                pass

    def _screened(self, client: Client) -> bool:
        """Screen the next picture; whether the answer arrived."""
        number = self.record.number()
        sent = Sent(number, keyed=number % 3 != 0)
        try:
            status, sent.document, _ = client.screen(number, keyed=sent.keyed)
            if status != 200:
                self.record.wrong.append(f"screening answered {status}: {sent.document}")
                return False
        except GONE:
            pass
        with self.record.lock:
            self.record.sent.append(sent)
        return sent.document is not None

    def _changes(self, stop: threading.Event, seed: float) -> None:
        chosen = random.Random(seed)
        removable = [
            entry for change in self.record.changes[2:] if change.acknowledged
            for entry in change.ids
        ]  # fmt: skip
        with self._client() as client, contextlib.suppress(*GONE):
            while not stop.is_set():
                values = [chosen.randbytes(32) for _ in range(chosen.randrange(1, 20))]
                made = self._change(client, add=values)
                removable += made.ids
                for _ in range(2):
                    at = chosen.randrange(len(removable))
                    removable[at], removable[-1] = removable[-1], removable[at]
                    self._change(client, remove=removable.pop())
                time.sleep(0.01)

    def _change(self, client: Client, *, add: Sequence[bytes] = (), remove: int = 0) -> Change:
        change = Change(tuple(add), remove)
        self.record.changes.append(change)
        if remove:
            status, told, _ = client.call("DELETE", f"/v1/banks/live/entries/{remove}")
            # An entry whose removal was cut off may be gone already.
            expected = {200, 404} if self._removed_before(remove) else {200}
        else:
            body = json.dumps({"signals": [f"pdq:{value.hex()}" for value in add]}).encode()
            status, told, _ = client.call("POST", "/v1/banks/live/entries", body)
            expected = {201}
            change.ids = tuple(told.get("added", ()))
        if status not in expected:
            self.record.wrong.append(f"changing the bank answered {status}: {told}")
        change.acknowledged = True
        return change

    def _removed_before(self, entry: int) -> bool:
        return any(change.remove == entry for change in self.record.changes[:-1])

    # Checks

    def _problem(self, text: str) -> None:
        self.result.problems.append(text)

    def _check_verdicts(self, sent: Sequence[Sent]) -> None:
        """Every verdict that was acknowledged is in the database, word for word."""
        documents = [item.document for item in sent if item.document is not None]
        self.result.acknowledged += len(documents)
        self.result.lost += len(self._missing(documents))
        with self._client() as client:
            for item in documents[-2:]:
                status, told, _ = client.call("GET", f"/v1/verdicts/{item['id']}")
                if (status, told) != (200, item):
                    self._problem(f"verdict {item['id']} reads back as {status}")
        self.result.problems += self.record.wrong
        self.record.wrong.clear()

    def _missing(self, documents: Sequence[dict[str, Any]]) -> list[str]:
        missing = []
        for start in range(0, len(documents), 500):
            batch = documents[start : start + 500]
            marks = ",".join("?" * len(batch))
            query = f"SELECT id, document, action, sha256 FROM verdicts WHERE id IN ({marks})"
            found = {
                row[0]: row[1:] for row in self.database.rows(query, *(d["id"] for d in batch))
            }
            for document in batch:
                if document["id"] not in found:
                    missing.append(document["id"])
                    self._problem(f"verdict {document['id']} was acknowledged and is lost")
                    continue
                kept, action, sha256 = found[document["id"]]
                kept = json.loads(kept) if isinstance(kept, str) else kept
                expected = (document, document["verdict"]["action"], document["signals"]["sha256"])
                if (kept, action, sha256) != expected:
                    self._problem(f"verdict {document['id']} is not what was acknowledged")
        return missing

    def _check_repeats(self) -> None:
        """A request that is repeated with its key has one verdict, whatever became of the first."""
        sent = self.record.sent[self._checked_sent :]
        keyed = [item for item in sent if item.keyed]
        again = [item for item in keyed if item.document is None]
        again += [item for item in keyed if item.document is not None][-3:]
        cut = [item for item in sent if item.document is None]
        self.result.cut_off += len(cut)
        self.result.cut_off_committed += sum(self._count(item) for item in cut)
        with ThreadPoolExecutor(2 * CLIENTS) as pool:
            # Twice at once: the twins race each other as well as the past.
            asked = [(item, [pool.submit(self._repeat, item) for _ in range(2)]) for item in again]
            for item, futures in asked:
                answers = [future.result() for future in futures]
                self.result.replays += len(answers)
                ids = {document["id"] for _, document, _ in answers}
                if item.document is not None:
                    ids.add(item.document["id"])
                    if not all(replayed for _, _, replayed in answers):
                        self._problem(f"upload {item.number} was screened anew")
                if len(ids) != 1:
                    self._problem(f"upload {item.number} got {len(ids)} verdicts for one key")
                item.document = answers[0][1]
                # What came later is checked with the others.
        for item in sent:
            count = self._count(item)
            least = 0 if item.document is None else 1
            if not least <= count <= 1:
                self._problem(f"upload {item.number} has {count} verdicts")

    def _repeat(self, item: Sent) -> tuple[int, Any, bool]:
        with self._client() as client:
            answer = client.screen(item.number, keyed=True)
        if answer[0] != 200:
            raise RuntimeError(f"a repeat was answered {answer[0]}: {answer[1]}")
        return answer

    def _count(self, item: Sent) -> int:
        digest = hashlib.sha256(upload(item.number)).hexdigest()
        ((count,),) = self.database.rows("SELECT count(*) FROM verdicts WHERE sha256 = ?", digest)
        return int(count)

    def _check_snapshots(self) -> None:
        """No file under a snapshot's name is torn: it gets the name when it is whole."""
        for path in self._snapshots():
            try:
                Snapshot.open(path)
            except IndexDamaged as error:
                self._problem(f"a snapshot is torn: {error}")

    def _snapshots(self) -> list[Path]:
        found = (self.server.data / "index").rglob("*.v[0-9]")
        return sorted(path for path in found if path not in self._damaged_files)

    def _damage(self) -> None:
        """Cut every snapshot short or alter a bit of it, as a bad disk would."""
        self.result.damaged += 1
        for path in self._snapshots():
            data = bytearray(path.read_bytes())
            if self.random.random() < 0.5:
                del data[self.random.randrange(len(data)) :]
            else:
                data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            path.write_bytes(data)
            self._damaged_files.add(path)

    def _check_bank(self) -> None:
        """The bank holds what was acknowledged, and matches are those of a naive scan."""
        rows = self.database.rows("SELECT id, value, state FROM entries ORDER BY id")
        live = {entry: bytes(value) for entry, value, state in rows if state == "live"}
        known = set(live.values())
        removed = {change.remove for change in self.record.changes}
        for change in self.record.changes[self._checked_changes :]:
            self.result.changes += change.acknowledged
            held = sum(value in known for value in change.add)
            kept = [entry for entry in change.ids if entry not in removed]
            if change.acknowledged and any(entry not in live for entry in kept):
                self._problem("an acknowledged addition is lost")
            if not change.acknowledged and held not in (0, len(change.add)):
                self._problem(f"half an addition was kept: {held} of {len(change.add)}")
            if change.remove and change.acknowledged and change.remove in live:
                self._problem(f"entry {change.remove} was removed and is back")
        self._checked_changes = len(self.record.changes)
        self._compare(live, [bytes(value) for _, value, _ in rows[-40:]])

    def _compare(self, live: dict[int, bytes], recent: list[bytes]) -> None:
        """Search for values near old and new entries, live or removed."""
        ids = np.array(sorted(live), np.int64)
        held = np.frombuffer(b"".join(live[entry] for entry in ids.tolist()), np.uint8)
        held = held.reshape(-1, 32)
        near = [live[int(self.random.choice(ids))] for _ in range(4)]
        near += self.random.sample(recent, min(8, len(recent)))
        with self._client() as client:
            for value in near:
                flipped = int.from_bytes(value)
                for bit in self.random.sample(range(256), self.random.choice((0, 10, 31, 32))):
                    flipped ^= 1 << bit
                query = flipped.to_bytes(32)
                distances = np.bitwise_count(held ^ np.frombuffer(query, np.uint8)).sum(1, np.int64)
                within = np.flatnonzero(distances <= RADIUS)
                expected = {(int(ids[at]), int(distances[at])) for at in within}
                body = json.dumps({"signals": {"pdq": query.hex()}}).encode()
                status, told, _ = client.call("POST", "/v1/screen", body)
                found = {(match["entry"], match["distance"]) for match in told.get("findings", ())}
                self.result.compared += 1
                if status != 200 or found != expected:
                    self._problem(f"a search found {found}, a naive scan {expected} ({status})")

    def _check_all(self) -> None:
        """At the end, once more: everything that was ever acknowledged."""
        self.database.check()
        missing = self._missing([s.document for s in self.record.sent if s.document is not None])
        self.result.lost = max(self.result.lost, len(missing))
        rows = self.database.rows("SELECT idempotency_key, count(*) FROM answers GROUP BY 1")
        if any(count != 1 for _, count in rows):
            self._problem("a key has more than one answer")


def trial(
    database: str,
    *,
    kills: int,
    seed: int = 1,
    control: bool = False,
    entries: int = ENTRIES,
    keep: Path | None = None,
) -> Result:
    """Run a trial on `sqlite`, or on the PostgreSQL server of that URL."""
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'data' / 'tutela.db'}"
        if database != "sqlite":
            url = stack.enter_context(own_database(database))
        mode = "--launch-control" if control else "--launch"
        command = (sys.executable, __file__, mode)
        server = Server(folder, url, command=command, options=("--workers", "1"))
        stack.callback(server.stop)
        return Trial(server, seed, kills, entries).run()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--postgres-url", help="a server where databases may be made")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="a recorder that lies")
    parser.add_argument("--keep", type=Path, help="keep the data and the server's log here")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        database = given.database
        if database == "postgresql":
            database = given.postgres_url or stack.enter_context(cluster())
        result = trial(
            database, kills=given.kills, seed=given.seed, control=given.control, keep=given.keep
        )
    for line in result.lines():
        print(line)
    print(f"{time.perf_counter() - started:.0f} s, {given.database}, seed {given.seed}")
    fired = result.fired == result.planned
    if given.control:
        print(f"control: {'caught' if result.lost else 'NOT CAUGHT'}")
        return 0 if fired and result.lost else 1
    return 0 if fired and not result.problems else 1


if __name__ == "__main__":
    if sys.argv[1:2] in (["--launch"], ["--launch-control"]):
        launch(sys.argv[1] == "--launch-control", sys.argv[2:])
    else:
        raise SystemExit(main())
