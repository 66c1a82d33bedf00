"""A scan of training data: known material, and apparent minors beside nudity in one data set.

What a model learned from both it can put together, so a data set must not hold both (Safety by
Design, Thorn and All Tech Is Human). The scan ends in a receipt; one that was cut off goes on where
it stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, select, update

import tutela
from tutela.bulk.scan import Progress, Scan, begin
from tutela.bulk.shards import Member, Shard, members
from tutela.content import Content, Context
from tutela.detectors.minor import NOBODY, UNKNOWN
from tutela.errors import Rejected
from tutela.findings import DERIVATIVE, MATCH, MINOR, NOT_EXAMINED, NUDE, NUDITY
from tutela.media.sniff import container, sniff
from tutela.screening import Screener
from tutela.settings import Settings
from tutela.store import now
from tutela.store.recorder import Rows
from tutela.store.tables import scan_files, scans, verdicts
from tutela.verdict import Verdict

LEFT_OUT: Final = ("forensics", "intent", "judge", "lettering", "provenance", "synthetic", "voice")
"""Detectors that tell nothing of what a data set must not hold."""


@dataclass(slots=True)
class Found:
    """What the members of a data set came to, in numbers."""

    members: int = 0
    """Files, members of archives, values of tables."""
    other: int = 0
    """Of them neither pictures, films nor sounds: captions, labels, tables of numbers."""
    too_large: int = 0
    unexamined: int = 0
    """Content that could not be examined, or not fully."""
    matches: Counter[str] = field(default_factory=Counter)
    """Members that match an entry, by bank."""
    derivatives: int = 0
    """Members that show a protected photo."""
    nudity: int = 0
    apparent_minors: int = 0
    untold: int = 0
    """Members with somebody, or with nudity, where it can't be told how old."""

    @property
    def mixed(self) -> str:
        """Whether apparent minors and nudity are in it: `yes`, `no`, or `unknown`."""
        if not self.nudity:
            # What was not seen may have shown some.
            unseen = self.unexamined + self.too_large
            return "unknown" if unseen and (self.apparent_minors or self.untold) else "no"
        if self.apparent_minors:
            return "yes"
        return "unknown" if self.untold or self.unexamined or self.too_large else "no"

    @property
    def passed(self) -> bool:
        """Whether nothing was found, and everything was seen that had to be."""
        known = self.matches or self.derivatives
        return self.mixed == "no" and not known and not self.unexamined and not self.too_large


@dataclass(frozen=True, slots=True)
class Result:
    """A finished scan."""

    record: Scan
    progress: Progress
    found: Found
    receipt: dict[str, Any]
    """What is to be signed."""


def settings_for(settings: Settings) -> Settings:
    """The settings under which a data set is looked at: every member by every detector that counts
    here, whatever the policy needs."""
    without = tuple(dict.fromkeys((*settings.without, *LEFT_OUT)))
    return settings.model_copy(update={"without": without, "evidence": "full"})


def scan(
    screener: Screener,
    root: Path,
    *,
    fresh: bool = False,
    on_verdict: Callable[[Progress, str, Verdict], None] = lambda *_: None,
) -> Result:
    """Screen every picture, film and sound of a data set, and say what was found in all of it.

    `screener` is one of `settings_for`. Raises `ConfigurationError` for a data set that is not
    there or can't be read to its end: then there is no receipt.
    """
    root = root.resolve()
    store = screener.store
    record = Scan(store, begin(store, f"dataset:{root}", fresh), root)
    started_at = _started(record)
    done = _done(record)
    progress, found, shards = Progress(0), Found(), list[Shard]()
    largest = max(screener.settings.max_bytes, screener.settings.film_bytes)
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    digest = hashlib.sha256()

    def contents() -> Iterator[Content]:
        for member in members(root, largest, shards):
            found.members += 1
            _add(digest, member)
            if member.data is None:
                found.too_large += 1
            elif not _is_media(member.data):
                found.other += 1
            elif done.get(member.key) == (member.size, member.modified_ns):
                seen.add(member.key)
                progress.resumed += 1
                progress.done += 1
            else:
                if member.key in done:
                    _forget(record, member.key)
                seen.add(member.key)
                rows[member.key] = {
                    "scan_id": record.id,
                    "path": member.key,
                    "size": member.size,
                    "modified_ns": member.modified_ns,
                }
                yield Content(data=member.data, context=Context(), name=member.key)

    def note(made: Sequence[tuple[Content, Verdict]]) -> Rows:
        return [
            (scan_files, {**rows.pop(content.name), "verdict_id": verdict.id})
            for content, verdict in made
        ]

    for verdict in screener.screen_many(contents(), also=note):
        progress.count(verdict.action)
        on_verdict(progress, verdict.name, verdict)
    progress.actions = _count(record, found, seen)
    finished_at = now()
    with store.write() as connection:
        connection.execute(
            update(scans).where(scans.c.id == record.id).values(finished_at=finished_at)
        )
    receipt = _receipt(screener, root, shards, found, digest.hexdigest(), started_at, finished_at)
    return Result(record, progress, found, receipt)


def _add(digest: Any, member: Member) -> None:
    """What the data set's digest is taken of: each member's name and digest, in their order."""
    inner = "too-large" if member.data is None else hashlib.sha256(member.data).hexdigest()
    digest.update(f"{inner} {member.key}\n".encode())


def _is_media(data: bytes) -> bool:
    if container(data) is not None:
        return True
    try:
        sniff(data)
    except Rejected as rejected:
        # A picture of a format that isn't decoded is one: it counts as not examined.
        return rejected.reason == "unsupported" and not data.startswith(_DOCUMENTS)
    return True


_DOCUMENTS: Final = (b"%PDF-", b"%!PS", b"PK\3\4", b"<?xml", b"<svg")


def _count(record: Scan, found: Found, seen: Set[str]) -> dict[str, int]:
    """Count what the verdicts on the members that are there found; returns how many of them there
    are of each action."""
    actions: Counter[str] = Counter()
    for name, document in record.results():
        if name not in seen:
            continue
        actions[document["verdict"]["action"]] += 1
        findings = document["findings"]
        kinds = {finding["kind"] for finding in findings}
        found.unexamined += bool(kinds & NOT_EXAMINED)
        found.derivatives += any(
            one["kind"] == DERIVATIVE and one.get("tier") != "benign" for one in findings
        )
        for bank in {one["bank"] for one in findings if one["kind"] == MATCH}:
            found.matches[bank] += 1
        nude = any(one["kind"] == NUDITY and one.get("likelihood", 0) >= NUDE for one in findings)
        found.nudity += nude
        for one in findings:
            if one["kind"] != MINOR:
                continue
            likely = one.get("likelihood", 0)
            found.apparent_minors += likely > UNKNOWN
            somebody = nude or not one.get("detail", "").endswith(NOBODY)
            found.untold += likely == UNKNOWN and somebody
    return dict(actions)


def _receipt(
    screener: Screener,
    root: Path,
    shards: Sequence[Shard],
    found: Found,
    digest: str,
    started_at: datetime,
    finished_at: datetime,
) -> dict[str, Any]:
    return {
        "dataset": {
            "name": root.name,
            "digest": digest,
            "shards": [asdict(shard) for shard in shards],
        },
        "started_at": started_at.isoformat(),
        "finished_at": finished_at.isoformat(),
        "tool": {"name": "Tutela", "version": tutela.__version__},
        "policy": screener.policy.version,
        "lists": [
            {
                "bank": bank.name,
                "tier": str(bank.tier),
                "owner": bank.owner,
                "enabled": bank.enabled,
                "entries": bank.entries,
                "digest": _digest_of(screener, bank.name),
            }
            for bank in screener.banks.all()
        ],
        "detectors": [{"name": one.name, "version": one.version} for one in screener.panel.all],
        "found": {**asdict(found), "matches": dict(sorted(found.matches.items()))},
        "mixed": found.mixed,
        "passed": found.passed,
    }


def _digest_of(screener: Screener, bank: str) -> str:
    """Of the entries of a list that count, in the order of their numbers."""
    digest = hashlib.sha256()
    for entry in screener.banks.every_entry(bank):
        digest.update(f"{entry.signal} {entry.value.hex()}\n".encode())
    return digest.hexdigest()


def _started(record: Scan) -> datetime:
    with record.store.read() as connection:
        started: datetime = connection.execute(
            select(scans.c.started_at).where(scans.c.id == record.id)
        ).scalar_one()
    return started


def _done(record: Scan) -> dict[str, tuple[int, int]]:
    """Members that an earlier run screened: size and time of change by key."""
    query = select(scan_files.c.path, scan_files.c.size, scan_files.c.modified_ns)
    with record.store.read() as connection:
        rows = connection.execute(
            query.join(verdicts, verdicts.c.id == scan_files.c.verdict_id).where(
                scan_files.c.scan_id == record.id
            )
        )
        return {row.path: (row.size, row.modified_ns) for row in rows}


def _forget(record: Scan, key: str) -> None:
    """Drop the verdict of a member that has changed since."""
    with record.store.write() as connection:
        connection.execute(
            delete(scan_files).where(scan_files.c.scan_id == record.id, scan_files.c.path == key)
        )
