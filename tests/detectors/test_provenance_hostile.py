"""Provenance of damaged and hostile files: no exception, bounded time and memory, no text leaks."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from functools import cache

import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

import provenance_files as files
from pictures import chunk
from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance, exif, generators, metadata, xmp
from tutela.detectors.provenance.metadata import MAX_NOTES, MAX_TEXT, MAX_TOTAL


@cache
def detector() -> Provenance:
    made = Provenance()
    made.prepare(Options())
    return made


@cache
def bases() -> tuple[bytes, ...]:
    made = files.action("c2pa.created", "trainedAlgorithmicMedia")
    several = [files.signed(made, kind=kind) for kind in ("JPEG", "PNG", "AVIF")]
    return (*several, *(file.data for file in [*files.generators(), *files.source_types()]))


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "drop", "add", "cut", "twice"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=24),
    ),
    min_size=1,
    max_size=12,
)


@rules(max_examples=400)
@given(st.integers(0, 10_000), edits, st.booleans())
def test_damaged_files_never_raise_and_nothing_leaks(
    which: int, changes: list[tuple[str, float, bytes]], head: bool
) -> None:
    data = bytearray(bases()[which % len(bases())])
    for change, where, value in changes:
        at = int(where * (min(len(data), 2000) if head else len(data)))
        match change:
            case "set":
                data[at : at + len(value)] = value
            case "drop":
                del data[at : at + len(value)]
            case "add":
                data[at:at] = value
            case "cut":
                del data[max(at, 16) :]
            case "twice":
                data += data[at : at + 400]
    for finding in detector().examine(Subject(data=bytes(data))):
        written = json.dumps(finding.to_json(), ensure_ascii=False)
        assert finding.state in ("valid", "invalid", "unsigned")
        assert len(finding.detail) <= 200
        assert finding.detail.isprintable()
        assert not [secret for secret in files.SECRETS if secret in written]


@rules(max_examples=300)
@given(
    st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF89a", b"II*\0", b"\0\0\0\x18ftyp"]
    ),
    st.binary(max_size=300),
)
def test_noise_behind_a_magic_number_never_raises(magic: bytes, noise: bytes) -> None:
    detector().examine(Subject(data=magic + noise))


@given(st.text(max_size=400), st.sampled_from(sorted(metadata._KNOWN)))
def test_any_text_in_any_field_is_safe(text: str, name: str) -> None:
    found = metadata.Metadata()
    found.add("PNG", name, text)
    for evidence in generators.read(found):
        assert evidence.detail.isprintable()
        assert len(evidence.detail) <= 200


@given(st.binary(max_size=400))
def test_any_packet_and_any_directory_is_safe(data: bytes) -> None:
    list(xmp.properties(data))
    for order in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        for name, value in exif.fields(order + data, 1000):
            assert len(value) <= 1000
            exif.text(name, value)


def spent(data: bytes) -> tuple[float, float]:
    """Processor seconds and mebibytes that an examination takes at most."""
    detector().examine(Subject(data=data))
    tracemalloc.start()
    started = time.process_time()
    detector().examine(Subject(data=data))
    taken = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken, peak / 2**20


def directory(count: int) -> bytes:
    """A TIFF whose entries all name the same long text, and whose EXIF directory is itself."""
    entry = struct.pack("<HHII", 0x010E, 2, 60_000, 5000)
    again = struct.pack("<HHII", 0x8769, 4, 1, 8)
    entries = again + entry * (count - 1)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + b"a" * 70_000


def many_chunks() -> bytes:
    plain = files.saved("PNG")
    return plain[:33] + chunk(b"tEXt", b"parameters\0x") * 60_000 + plain[33:]


DEEP = "[" * 200_000
ENTITIES = (
    b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x:xmpmeta>'
    b"<photoshop:Credit>&b;&b;</photoshop:Credit>"
)
HOSTILE = {
    "a text that inflates to 200 MB": lambda: files.huge_text(200_000_000),
    "deep JSON": lambda: files.png({"prompt": '{"a":' * 100_000, "workflow": DEEP}),
    "deep JSON in a graph": lambda: files.png(
        {"prompt": '{"1":{"class_type":"KSampler","inputs":{"a":' + DEEP}
    ),
    "many chunks": many_chunks,
    "entries that share a text": lambda: directory(5000),
    "tags that never close": lambda: files.saved("PNG") + b"<x:xmpmeta" + b"<a:Credit>" * 90_000,
    "tags without end": lambda: files.saved("PNG") + b"<x:xmpmeta " + b'<a b="' * 150_000,
    "entities": lambda: files.saved("JPEG", xmp=ENTITIES),
    "a GIF of empty blocks": lambda: files.saved("GIF")[:-1] + b"\x21\xfe\0" * 300_000,
    "settings without end": lambda: files.png({"parameters": "\nSteps: 1, " * 90_000}),
    "a label without end": lambda: b"RIFX" + b'{"ContentProducer"' * 12_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_cost_little(name: str) -> None:
    seconds, mebibytes = spent(HOSTILE[name]())
    # Watching the memory makes it about five times as slow; the picture is decoded, too.
    assert seconds < 5
    assert mebibytes < 48


def test_gathering_is_bounded() -> None:
    found = metadata.gather(directory(500))
    assert len(found.notes) <= MAX_NOTES
    assert sum(len(note.text) for note in found.notes) <= MAX_TOTAL
    (note,) = metadata.gather(files.huge_text(50_000_000)).notes
    assert len(note.text) == MAX_TEXT


def test_an_entity_is_never_expanded() -> None:
    bomb = b'<!ENTITY m "Midjourney"><x><photoshop:Credit>&m;</photoshop:Credit></x>'
    assert list(xmp.properties(bomb)) == [("credit", "&m;")]
