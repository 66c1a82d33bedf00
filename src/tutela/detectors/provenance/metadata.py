"""What stands beside the pixels of a file, gathered in bounded steps and not yet interpreted.

Every walker stops at the first thing out of form and keeps what it has: damaged metadata are no
reason to lose what could be read, and never an error.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tutela.detectors.provenance import exif, xmp
from tutela.media.types import MiB

MAX_TEXT: Final = MiB
"""Bytes of one text, after inflating."""
MAX_TOTAL: Final = 4 * MiB
"""Bytes of all texts of one file."""
MAX_NOTES: Final = 256
MAX_STEPS: Final = 65_536
"""Chunks, segments or boxes of one file."""
MAX_SCAN: Final = 8 * MiB
"""Bytes at the beginning of a file that are searched for a packet which no walker found."""
TAIL: Final = MiB // 4
"""Bytes at the end that are searched likewise."""

MANIFEST: Final = b"jumdc2pa"
"""Stands once in every C2PA manifest store: the description of its outermost box."""
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_XMP_HEAD, _XMP_MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_LABEL = re.compile(rb'\{[^{}]{0,2000}"ContentProducer"[^{}]{0,2000}\}')

# Records of IPTC-IIM 4.2 that name the program or the source type; 2:120 is the caption.
_IPTC: Final = {65: "software", 110: "credit", 115: "source", 120: "imagedescription"}

_KNOWN: Final = xmp.WANTED | frozenset(
    {
        "artist",
        "comment",
        "dream",
        "generation_data",
        "imagedescription",
        "invokeai_graph",
        "invokeai_metadata",
        "invokeai_workflow",
        "make",
        "model",
        "postprocessing",
        "prompt",
        "sd-metadata",
        "source",
        "workflow",
        "xpcomment",
    }
)


@dataclass(frozen=True, slots=True)
class Note:
    """A named text of a file."""

    where: str
    """`PNG`, `EXIF`, `XMP`, `IPTC`, `JPEG`, `GIF`, `MP4` or `file`."""
    name: str
    """The name of the field, in lower case."""
    text: str

    @property
    def place(self) -> str:
        """Where it stands, in words that are safe to show: a name may be anyone's text too."""
        return f"{self.where} {self.name}" if self.name in _KNOWN else f"{self.where} text"


@dataclass(slots=True)
class Metadata:
    """What was gathered."""

    notes: list[Note] = field(default_factory=list)
    manifest: bool = False
    """Whether there is a C2PA manifest, or what is left of one."""
    walked: int = 0
    """How far everything was accounted for: only what lies behind is searched for remains."""
    spent: int = 0
    packets: int = 0

    def add(self, where: str, name: str, text: str) -> None:
        """Keep a text, as far as the bounds allow."""
        size = min(len(text), MAX_TEXT)
        if text and len(self.notes) < MAX_NOTES and self.spent + size <= MAX_TOTAL:
            self.notes.append(Note(where, name[:64], text[:MAX_TEXT]))
            self.spent += size

    def add_xmp(self, packet: bytes) -> None:
        """Keep the properties of an XMP packet."""
        self.packets += 1
        if self.packets <= 8:
            for name, text in xmp.properties(packet[:MAX_TEXT]):
                self.add("XMP", name, text)

    def add_exif(self, data: bytes) -> None:
        """Keep the fields of an EXIF block, which begins with a TIFF header."""
        for name, value in exif.fields(data, MAX_TEXT):
            match name:
                case "xmp":
                    self.add_xmp(value)
                case "iptc":
                    self.add_iptc(value)
                case "photoshop":
                    self.add_photoshop(value)
                case "c2pa":
                    self.manifest = True
                case _:
                    self.add("EXIF", name, exif.text(name, value))

    def add_iptc(self, data: bytes) -> None:
        """Keep the fields of IPTC-IIM records."""
        at = 0
        for _ in range(MAX_NOTES):
            if at + 5 > len(data) or data[at] != 0x1C:
                return
            record, number, size = struct.unpack_from(">BBH", data, at + 1)
            if size & 0x8000:
                return
            if record == 2 and number in _IPTC:
                value = data[at + 5 : at + 5 + size]
                self.add("IPTC", _IPTC[number], value.decode("utf-8", "replace").strip("\0 "))
            at += 5 + size

    def add_photoshop(self, data: bytes) -> None:
        """Keep what Photoshop's image resources hold of IPTC, XMP and EXIF."""
        at = 0
        for _ in range(MAX_NOTES):
            if data[at : at + 4] != b"8BIM" or at + 12 > len(data):
                return
            (number,) = struct.unpack_from(">H", data, at + 4)
            # A Pascal string, padded to an even length with its own length byte.
            start = at + 6 + (data[at + 6] + 2 & ~1)
            if start + 4 > len(data):
                return
            (size,) = struct.unpack_from(">I", data, start)
            value = data[start + 4 : start + 4 + size]
            if number == 0x0404:
                self.add_iptc(value)
            elif number == 0x0424:
                self.add_xmp(value)
            elif number == 0x0422:
                self.add_exif(value)
            at = start + 4 + size + (size & 1)


def gather(data: bytes) -> Metadata:
    """What a file holds beside its pixels. Never raises for what is in the file."""
    found = Metadata()
    walker = _walker(data)
    if walker is not None:
        # The file may end early: what was read before that counts.
        with contextlib.suppress(struct.error, IndexError):
            walker(data, found)
    found.manifest = found.manifest or data.find(MANIFEST, found.walked) >= 0
    if not found.packets:
        _search(data, found)
    if walker is None:
        for part in (data[:TAIL], data[max(TAIL, len(data) - TAIL) :]):
            for label in _LABEL.findall(part)[:8]:
                found.add("file", "aigc", label.decode("utf-8", "replace"))
    return found


def _walker(data: bytes) -> Callable[[bytes, Metadata], None] | None:
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png
    if data[:4] == b"RIFF":
        return _riff
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _gif
    if data[4:8] == b"ftyp":
        return _boxes
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff
    return None


def _search(data: bytes, found: Metadata) -> None:
    """Find an XMP packet wherever it stands: behind the picture, in a format without a walker."""
    at = data.find(xmp.BEGIN, found.walked, found.walked + MAX_SCAN)
    if at < 0:
        at = data.find(xmp.BEGIN, max(found.walked, len(data) - TAIL))
    if at >= 0:
        end = data.find(b"</x:xmpmeta>", at, at + MAX_TEXT)
        found.add_xmp(data[at : end if end >= 0 else at + MAX_TEXT])


def _tiff(data: bytes, found: Metadata) -> None:
    found.add_exif(data)


def _jpeg(data: bytes, found: Metadata) -> None:
    """Segments up to the first scan. ISO/IEC 10918-1; XMP part 3; C2PA in APP11 (ISO 19566-5)."""
    more: dict[bytes, dict[int, bytes]] = {}
    at = 2
    for _ in range(MAX_STEPS):
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0xD9, 0xDA):
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (size,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + size]
        at += 2 + size
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            found.add_exif(body[6:])
        elif marker == 0xE1 and body.startswith(_XMP_HEAD):
            found.add_xmp(body[len(_XMP_HEAD) :])
        elif marker == 0xE1 and body.startswith(_XMP_MORE):
            head = len(_XMP_MORE)
            (offset,) = struct.unpack_from(">I", body, head + 36)
            more.setdefault(body[head : head + 32], {})[offset] = body[head + 40 :]
        elif marker == 0xED and body.startswith(_PHOTOSHOP):
            found.add_photoshop(body[len(_PHOTOSHOP) :])
        elif marker == 0xEB and body.startswith(b"JP") and b"jumb" in body[:32]:
            found.manifest = True
        elif marker == 0xFE:
            found.add("JPEG", "comment", body.decode("utf-8", "replace"))
    for parts in more.values():
        found.add_xmp(b"".join(parts[offset] for offset in sorted(parts)))


def _png(data: bytes, found: Metadata) -> None:
    """Chunks, also behind the pixels. PNG (third edition); C2PA in `caBX`."""
    at = 8
    for _ in range(MAX_STEPS):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size] if kind != b"IDAT" else b""
        at += 12 + size
        found.walked = min(at, len(data))
        match kind:
            case b"IEND":
                return
            case b"caBX":
                found.manifest = True
            case b"eXIf":
                found.add_exif(body.removeprefix(b"Exif\0\0"))
            case b"tEXt":
                name, _, rest = body.partition(b"\0")
                # Latin-1 by the standard; programs write UTF-8.
                _png_text(found, name, rest)
            case b"zTXt":
                name, _, rest = body.partition(b"\0")
                _png_text(found, name, _inflate(rest[1:]))
            case b"iTXt":
                name, _, rest = body.partition(b"\0")
                packed, rest = rest[:1], rest[2:]
                _, _, rest = rest.partition(b"\0")
                _, _, rest = rest.partition(b"\0")
                _png_text(found, name, _inflate(rest) if packed == b"\1" else rest)


def _png_text(found: Metadata, keyword: bytes, value: bytes) -> None:
    name = keyword[:79].decode("latin-1").lower()
    value = value[:MAX_TEXT]
    if name == "xml:com.adobe.xmp":
        found.add_xmp(value)
    elif name.startswith("raw profile type "):
        # ImageMagick's way: a name, a length, then hexadecimal digits.
        _, _, digits = value.strip().partition(b"\n")
        try:
            profile = bytes.fromhex(b"".join(digits.split()[1:]).decode("ascii"))
        except ValueError:
            return
        match name.removeprefix("raw profile type "):
            case "exif" | "app1":
                if profile.startswith(_XMP_HEAD):
                    found.add_xmp(profile[len(_XMP_HEAD) :])
                else:
                    found.add_exif(profile.removeprefix(b"Exif\0\0"))
            case "xmp":
                found.add_xmp(profile)
            case "iptc" | "8bim":
                found.add_photoshop(profile)
    else:
        found.add("PNG", name, value.decode("utf-8", "replace").strip("\0 \r\n"))


def _inflate(data: bytes) -> bytes:
    """The first `MAX_TEXT` bytes at most; nothing where the stream is damaged from the start."""
    try:
        return zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error:
        return b""


def _riff(data: bytes, found: Metadata) -> None:
    """Chunks of WebP, WAV and AVI."""
    at = 12
    for _ in range(MAX_STEPS):
        kind, size = struct.unpack_from("<4sI", data, at)
        start, at = at + 8, at + 8 + size + (size & 1)
        if kind in (b"EXIF", b"XMP ", b"_PMX", b"C2PA"):
            body = data[start : start + min(size, 2 * MAX_TEXT)]
            if kind == b"EXIF":
                found.add_exif(body.removeprefix(b"Exif\0\0"))
            elif kind == b"C2PA":
                found.manifest = True
            else:
                found.add_xmp(body)


def _gif(data: bytes, found: Metadata) -> None:
    """Comments and application extensions. GIF89a; XMP part 3; C2PA_GIF."""
    table = data[10]
    at = 13 + (3 << (table & 7) + 1 if table & 0x80 else 0)
    for _ in range(MAX_STEPS):
        if data[at] == 0x2C:
            local = data[at + 9]
            at += 10 + (3 << (local & 7) + 1 if local & 0x80 else 0) + 1
            at = _blocks(data, at, None)
        elif data[at] == 0x21 and data[at + 1] == 0xFE:
            comment = bytearray()
            at = _blocks(data, at + 2, comment)
            found.add("GIF", "comment", bytes(comment).decode("utf-8", "replace"))
        elif data[at] == 0x21 and data[at + 1] == 0xFF:
            name, start = data[at + 3 : at + 14], at + 14
            if name == b"XMP DataXMP":
                # Not in blocks: the packet stands as it is, with a trailer that ends them.
                end = data.find(b"\1\xff\xfe", start)
                found.add_xmp(data[start : end if end >= 0 else start + MAX_TEXT])
            elif name.startswith(b"C2PA_GIF"):
                found.manifest = True
            at = _blocks(data, start, None)
        elif data[at] == 0x21:
            at = _blocks(data, at + 2, None)
        else:
            return


def _blocks(data: bytes, at: int, into: bytearray | None) -> int:
    """Pass over sub-blocks; gives where they end."""
    while size := data[at]:
        if into is not None and len(into) < MAX_TEXT:
            into += data[at + 1 : at + 1 + size]
        at += 1 + size
    return at + 1


_CONTAINERS = frozenset({b"moov", b"udta", b"ilst", b"iprp"})


def _boxes(data: bytes, found: Metadata) -> None:
    """Boxes of AVIF, HEIF and MP4. ISO/IEC 14496-12, QuickTime's keyed metadata, C2PA's `uuid`."""
    steps = iter(range(MAX_STEPS))
    for kind, start, end in _each(data, 0, len(data), steps):
        if kind == b"uuid":
            name = data[start : start + 16]
            if name == _XMP_BOX:
                found.add_xmp(data[start + 16 : min(end, start + 16 + MAX_TEXT)])
            elif name == _C2PA_BOX:
                found.manifest = True
        elif kind == b"meta":
            _items(data, start + 4, end, found, steps)
        elif kind == b"moov":
            _moov(data, start, end, found, steps, 0)


def _each(data: bytes, at: int, end: int, steps: Iterator[int]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box in a range."""
    for _ in steps:
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        last = end if size == 0 else at + size
        if last < at + head or last > end:
            return
        yield kind, at + head, last
        at = last


def _moov(
    data: bytes, start: int, end: int, found: Metadata, steps: Iterator[int], depth: int
) -> None:
    for kind, inner, last in _each(data, start, end, steps):
        if kind == b"udta" and depth < 2:
            _moov(data, inner, last, found, steps, depth + 1)
        elif kind == b"meta":
            # A full box in MP4, a plain one in QuickTime.
            plain = data[inner + 4 : inner + 8] in (b"hdlr", b"keys", b"ilst")
            _keyed(data, inner if plain else inner + 4, last, found, steps)
        elif kind == b"uuid" and data[inner : inner + 16] == _XMP_BOX:
            found.add_xmp(data[inner + 16 : min(last, inner + 16 + MAX_TEXT)])
        elif kind == b"XMP_":
            found.add_xmp(data[inner : min(last, inner + MAX_TEXT)])
        elif kind[:1] == b"\xa9" and last - inner > 4:
            text = data[inner + 4 : min(last, inner + MAX_TEXT)]
            found.add("MP4", _atom(kind), text.decode("utf-8", "replace"))


def _keyed(data: bytes, start: int, end: int, found: Metadata, steps: Iterator[int]) -> None:
    keys: list[str] = []
    for kind, inner, last in _each(data, start, end, steps):
        if kind == b"keys":
            for _, name, stop in _each(data, inner + 8, last, steps):
                keys.append(data[name : min(stop, name + 64)].decode("utf-8", "replace"))
        elif kind == b"ilst":
            for atom, first, stop in _each(data, inner, last, steps):
                number = int.from_bytes(atom, "big") - 1
                key = keys[number] if 0 <= number < len(keys) else _atom(atom)
                for part, value, until in _each(data, first, stop, steps):
                    if part == b"name":
                        key = data[value + 4 : min(until, value + 68)].decode("utf-8", "replace")
                    elif part == b"data":
                        text = data[value + 8 : min(until, value + 8 + MAX_TEXT)]
                        short = key.rsplit(".", 1)[-1].lower()
                        found.add("MP4", short, text.decode("utf-8", "replace").strip("\0 "))


def _atom(kind: bytes) -> str:
    known = {b"\xa9too": "software", b"\xa9swr": "software", b"\xa9cmt": "comment"}
    known |= {b"\xa9des": "description", b"desc": "description", b"\xa9mak": "make"}
    return known.get(kind, kind.decode("latin-1").lower())


def _items(data: bytes, start: int, end: int, found: Metadata, steps: Iterator[int]) -> None:
    """EXIF and XMP items of a picture in boxes."""
    kinds: dict[int, bytes] = {}
    places: list[tuple[int, int, int]] = []
    local = 0
    for kind, inner, last in _each(data, start, end, steps):
        if kind == b"iinf":
            head = inner + (6 if data[inner] == 0 else 8)
            for entry, at, stop in _each(data, head, last, steps):
                if entry == b"infe" and data[at] >= 2:
                    wide = data[at] > 2
                    number = int.from_bytes(data[at + 4 : at + (8 if wide else 6)], "big")
                    name = at + (10 if wide else 8)
                    kinds[number] = data[name : min(stop, name + 64)]
        elif kind == b"iloc":
            places = list(_locations(data, inner, last, steps))
        elif kind == b"idat":
            local = inner
    for number, at, size in places:
        at, size = (local - at - 1 if at < 0 else at), min(size, 2 * MAX_TEXT)
        kind = kinds.get(number, b"")
        if kind.startswith(b"Exif"):
            block = data[at : at + size]
            (skip,) = struct.unpack_from(">I", block)
            found.add_exif(block[4 + skip :])
        elif kind.startswith(b"mime") and b"rdf+xml" in kind:
            found.add_xmp(data[at : at + size])


def _locations(
    data: bytes, at: int, end: int, steps: Iterator[int]
) -> Iterator[tuple[int, int, int]]:
    """Number, place and size of items in one extent; a place in `idat` as its complement."""
    version = data[at]
    sizes, more = data[at + 4], data[at + 5]
    offset, length, base = sizes >> 4, sizes & 15, more >> 4
    index = more & 15 if version else 0
    wide = 4 if version == 2 else 2
    count = int.from_bytes(data[at + 6 : at + 6 + wide], "big")
    at += 6 + wide
    for _, _ in zip(range(min(count, MAX_STEPS)), steps, strict=False):
        if at + 4 > end:
            return
        number = int.from_bytes(data[at : at + wide], "big")
        at += wide
        inside = version and int.from_bytes(data[at : at + 2], "big") & 15 == 1
        at += (2 if version else 0) + 2
        origin = int.from_bytes(data[at : at + base], "big")
        at += base
        extents = int.from_bytes(data[at : at + 2], "big")
        at += 2
        place = origin + int.from_bytes(data[at + index : at + index + offset], "big")
        size = int.from_bytes(data[at + index + offset : at + index + offset + length], "big")
        at += extents * (index + offset + length)
        if extents == 1:
            yield number, -place - 1 if inside else place, size
