"""A film that is still being written, cut into pieces that can each be decoded alone.

Cuts fall where the container lets a player join: at the start of a group of pictures of MPEG-TS,
at a fragment of an MP4, at a cluster of Matroska. Each piece carries the header that decoding
needs. Nothing is decoded here; a length that the bytes claim is never trusted beyond `MAX_UNIT`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from tutela.errors import Reason, Rejected
from tutela.media.sniff import container

MAX_HEADER = 4 << 20
MAX_UNIT = 256 << 20
ENOUGH = 4096
"""Bytes by which a container is told."""
_PACKET = 188
_SYNC = 0x47


class Cutter(ABC):
    """Takes bytes as they come; gives pieces as they are complete.

    A piece begins with the last unit of the one before it, so that what lies across a cut is
    whole in one of them.
    """

    def __init__(self) -> None:
        self.least = 0
        """Bytes that a piece has at least; may be changed at any time."""
        self._buffer = bytearray()
        self._units: list[bytes] = []
        self._unit = bytearray()
        self._fresh = 0

    @abstractmethod
    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that these bytes complete. Raises `Rejected` for what is no such film."""

    @abstractmethod
    def header(self) -> bytes:
        """What goes ahead of every piece."""

    def rest(self) -> bytes:
        """The last piece, once the film has ended; empty if there is none."""
        self._end_unit()
        return self._piece() if self._fresh else b""

    def _ripe(self) -> Iterator[bytes]:
        """Called where a unit begins: the piece that ends here, if it is large enough."""
        self._end_unit()
        if self._fresh > self.least:
            yield self._piece()

    def _add(self, data: bytes) -> None:
        self._unit += data
        if self._fresh + len(self._unit) > MAX_UNIT:
            raise Rejected(Reason.TOO_MANY_BYTES, "The film has no place at which it can be cut.")

    def _end_unit(self) -> None:
        if self._unit:
            self._units.append(bytes(self._unit))
            self._fresh += len(self._unit)
            self._unit.clear()

    def _piece(self) -> bytes:
        piece = self.header() + b"".join(self._units)
        self._units, self._fresh = self._units[-1:], 0
        return piece


def cutter(head: bytes) -> Cutter:
    """The cutter for a film that begins so.

    Raises `Rejected` for a container that can't be cut while it grows.
    """
    kind = container(head)
    if kind == "mpegts":
        return Packets()
    if kind == "mp4":
        return Fragments()
    if kind == "matroska":
        return Clusters()
    what = f"A {kind} file" if kind else "What is no film"
    raise Rejected(
        Reason.UNSUPPORTED,
        f"{what} can't be screened while it grows; record MPEG-TS, fragmented MP4 or Matroska.",
    )


class Packets(Cutter):
    """MPEG-TS (ISO/IEC 13818-1): cut before a packet from which pictures can be decoded.

    The latest tables (PAT and PMT) go ahead of every piece.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[int, bytes] = {}
        self._maps: set[int] = set()
        self._pictures: set[int] = set()
        self._entered = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        whole = len(self._buffer) // _PACKET * _PACKET
        packets, self._buffer = bytes(self._buffer[:whole]), self._buffer[whole:]
        for at in range(0, whole, _PACKET):
            packet = packets[at : at + _PACKET]
            if packet[0] != _SYNC:
                raise Rejected(Reason.CORRUPT, "The stream is out of step with its packets.")
            self._learn(packet)
            if self._is_entry(packet):
                # What comes ahead of the first belongs to it.
                if self._entered:
                    yield from self._ripe()
                self._entered = True
            self._add(packet)

    def header(self) -> bytes:
        return b"".join(self._tables.values())

    def _is_entry(self, packet: bytes) -> bool:
        """Whether pictures can be decoded from here: the encoder marks it."""
        number = _pid(packet)
        entry = bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x40)
        return entry and (number in self._pictures or not self._pictures)

    def _learn(self, packet: bytes) -> None:
        number = _pid(packet)
        start = bool(packet[1] & 0x40)
        if not start or (number != 0 and number not in self._maps):
            return
        section = _section(packet)
        if number == 0:
            programs = section[8:-4] if len(section) > 12 else b""
            for at in range(0, len(programs) - 3, 4):
                if programs[at : at + 2] != b"\0\0":
                    self._maps.add((programs[at + 2] & 0x1F) << 8 | programs[at + 3])
        elif len(section) > 16:
            at = 12 + ((section[10] & 0x0F) << 8 | section[11])
            while at + 5 <= len(section) - 4:
                if section[at] in _PICTURE_STREAMS:
                    self._pictures.add((section[at + 1] & 0x1F) << 8 | section[at + 2])
                at += 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
        self._tables[number] = packet


_PICTURE_STREAMS = frozenset({0x01, 0x02, 0x10, 0x1B, 0x24, 0x33, 0x42, 0xD1, 0xEA})


def _pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _section(packet: bytes) -> bytes:
    """The table that begins in this packet, as far as it lies in it."""
    at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if at >= _PACKET:
        return b""
    at += 1 + packet[at]
    if at + 3 > _PACKET:
        return b""
    length = 3 + ((packet[at + 1] & 0x0F) << 8 | packet[at + 2])
    return packet[at : min(at + length, _PACKET)]


class Fragments(Cutter):
    """Fragmented MP4 (ISO/IEC 14496-12): the header up to `moov`, then pairs of `moof`, `mdat`."""

    def __init__(self) -> None:
        super().__init__()
        self._header = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while (size := self._box()) is not None and size <= len(self._buffer):
            kind, box = bytes(self._buffer[4:8]), bytes(self._buffer[:size])
            del self._buffer[:size]
            if kind == b"moof":
                self._begun = True
                yield from self._ripe()
            if self._begun:
                self._add(box)
                continue
            if kind == b"mdat":
                raise Rejected(
                    Reason.UNSUPPORTED,
                    "An MP4 file without fragments can't be screened while it grows; "
                    "record it fragmented.",
                )
            self._header += _header(box, len(self._header))

    def header(self) -> bytes:
        return bytes(self._header)

    def _box(self) -> int | None:
        if len(self._buffer) < 16:
            return None
        size = int.from_bytes(self._buffer[:4], "big")
        if size == 1:
            size = int.from_bytes(self._buffer[8:16], "big")
        if size == 0 or size > MAX_UNIT:
            raise Rejected(Reason.UNSUPPORTED, "A box of the MP4 file has no end of its own.")
        if size < 8:
            raise Rejected(Reason.CORRUPT, "A box of the MP4 file has no length.")
        return size


_SEGMENT, _CLUSTER, _TRACKS = b"\x18S\x80g", b"\x1fC\xb6u", b"\x16T\xaek"
_ENTRY, _NUMBER, _TYPE = b"\xae", b"\xd7", b"\x83"
_SIMPLE, _GROUP, _BLOCK, _REFERENCE = b"\xa3", b"\xa0", b"\xa1", b"\xfb"
_KEY = 0x80


class Clusters(Cutter):
    """Matroska and WebM (RFC 9559): the header up to the first cluster, then clusters.

    A live recording leaves the length of its segment, and often of its clusters, open. It is cut
    before a cluster whose first picture can be decoded by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._header = bytearray()
        self._pictures: set[int] = set()
        self._begun = False
        self._held: bytearray | None = None
        """The beginning of a cluster, until it is known what picture comes first."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while (taken := self._element()) is not None:
            kind, size = taken
            element = bytes(self._buffer[:size])
            del self._buffer[:size]
            if kind == _CLUSTER:
                self._release()
                self._begun, self._held = True, bytearray()
            if not self._begun:
                self._header += _header(element, len(self._header))
                if kind == _TRACKS:
                    self._pictures = _picture_tracks(element)
                continue
            if self._held is None:
                self._add(element)
                continue
            first = self._picture(kind, element)
            if first == _KEY:
                yield from self._ripe()
            self._held += element
            if first is not None:
                self._release()

    def rest(self) -> bytes:
        self._release()
        return super().rest()

    def _release(self) -> None:
        if self._held is not None:
            self._add(bytes(self._held))
            self._held = None

    def _picture(self, kind: bytes, element: bytes) -> int | None:
        """`_KEY` for a block that can be decoded by itself, 0 for another picture, else None."""
        if kind not in (_SIMPLE, _GROUP):
            return None
        inside = dict(_children(element)) if kind == _GROUP else {}
        block = inside.get(_BLOCK, b"") if kind == _GROUP else _body(element)
        number = _number(block, 0)
        if number is None or len(block) < number[1] + 3:
            return None
        if self._pictures and number[0] not in self._pictures:
            return None
        alone = _REFERENCE not in inside if kind == _GROUP else block[number[1] + 2] & _KEY
        return _KEY if alone else 0

    def header(self) -> bytes:
        return bytes(self._header)

    def _element(self) -> tuple[bytes, int] | None:
        """The next element and how much of it to take: what holds others is entered, not taken."""
        if len(self._buffer) < 2:
            return None
        identifier = 8 - (self._buffer[0] | 1).bit_length() + 1
        if identifier > 4:
            raise Rejected(Reason.CORRUPT, "The Matroska file has an element without a name.")
        if len(self._buffer) <= identifier:
            return None
        kind = bytes(self._buffer[:identifier])
        width = 8 - self._buffer[identifier].bit_length() + 1
        if width > 8:
            raise Rejected(Reason.CORRUPT, "The Matroska file has an element without a length.")
        body = identifier + width
        if len(self._buffer) < body:
            return None
        length = int.from_bytes(self._buffer[identifier:body], "big") & ((1 << 7 * width) - 1)
        unknown = length == (1 << 7 * width) - 1
        if kind == _SEGMENT:
            # Its length would be that of the whole film: left open, any part of it is well formed.
            self._open(identifier, width)
            return kind, body
        if kind == _CLUSTER:
            self._open(identifier, width)
            return kind, body
        if unknown or length > MAX_UNIT:
            raise Rejected(Reason.CORRUPT, "An element of the Matroska file has no end.")
        return (kind, body + length) if len(self._buffer) >= body + length else None

    def _open(self, at: int, width: int) -> None:
        self._buffer[at : at + width] = (1 << 7 * width | (1 << 7 * width) - 1).to_bytes(
            width, "big"
        )


def _number(data: bytes, at: int) -> tuple[int, int] | None:
    """A number of variable width, and where it ends; None where there is none."""
    if at >= len(data) or not data[at]:
        return None
    width = 9 - data[at].bit_length()
    if at + width > len(data):
        return None
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return value, at + width


def _body(element: bytes) -> bytes:
    """What a whole element holds."""
    length = _number(element, 9 - element[0].bit_length())
    return b"" if length is None else element[length[1] :]


def _children(element: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each element in a whole element."""
    body, at = _body(element), 0
    while at < len(body) and body[at]:
        named = at + 9 - body[at].bit_length()
        length = _number(body, named)
        if length is None:
            return
        yield body[at:named], body[length[1] : length[1] + length[0]]
        at = length[1] + length[0]


def _picture_tracks(tracks: bytes) -> set[int]:
    """Numbers of the tracks that are pictures."""
    found = set()
    for kind, entry in _children(tracks):
        # An entry's own name and length have been taken off: give it some again.
        facts = dict(_children(_ENTRY + b"\xff" + entry)) if kind == _ENTRY else {}
        if int.from_bytes(facts.get(_TYPE, b""), "big") == 1:
            found.add(int.from_bytes(facts.get(_NUMBER, b""), "big"))
    return found


def _header(part: bytes, before: int) -> bytes:
    if before + len(part) > MAX_HEADER:
        raise Rejected(Reason.CORRUPT, "The header of the film has no end.")
    return part
