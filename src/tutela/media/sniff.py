"""Which format a file is, by its first bytes alone. Names and declared types are never asked."""

from __future__ import annotations

from tutela.errors import Reason, Rejected

_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Formats that people upload but that are not decoded: named, so that the rejection can say so.
_KNOWN = (
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\1\0", "Windows icon"),
    (b"PK\3\4", "ZIP archive"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
)


def sniff(data: bytes) -> str:
    """`jpeg`, `png`, `gif`, `webp`, `avif`, `heif`, `bmp` or `tiff`.

    Raises `Rejected`: EMPTY, UNSUPPORTED (a format that is known but not decoded; films and sounds
    are for `film.decode`), UNKNOWN_TYPE.
    """
    if not data:
        raise Rejected(Reason.EMPTY, "The content is empty.")
    film = container(data)
    if film is not None:
        raise Rejected(Reason.UNSUPPORTED, f"This is a film or a sound ({film}), not a picture.")
    head = bytes(data[:16])
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _isobmff(data)
    if head.startswith(_TIFF_MAGIC):
        return "tiff"
    # "BM" alone is two letters of text; the size of the info header makes it a bitmap.
    if head.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return "bmp"
    for magic, name in _KNOWN:
        if head.startswith(magic):
            raise Rejected(Reason.UNSUPPORTED, f"{name} content is not decoded.")
    raise Rejected(Reason.UNKNOWN_TYPE, "The content is of no image format that is known.")


def is_film(head: bytes) -> bool:
    """Whether this is a film or a sound, by its first bytes."""
    return container(head) is not None


def container(data: bytes) -> str | None:
    """`mp4`, `matroska`, `avi`, `mpegts`, `mpegps`, `flv`, `asf`, `ogg`, `mp3`, `aac`, `wav`,
    `flac`, `aiff`, `caf` or `amr`; None for what is no film and no sound that is known.

    QuickTime, 3GP and M4A are `mp4`, and WebM is `matroska`: families of one form each.
    """
    head = bytes(data[:16])
    if head[4:8] in _QUICKTIME:
        return "mp4"
    if head[4:8] == b"ftyp":
        return None if _brands(data) & (_AVIF_BRANDS | _HEIF_BRANDS) else "mp4"
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"AVI ": "avi", b"WAVE": "wav"}.get(head[8:12])
    if head[:4] == b"FORM":
        return "aiff" if head[8:12] in (b"AIFF", b"AIFC") else None
    for magic, name in _CONTAINERS:
        if head.startswith(magic):
            return name
    if head.startswith(b"ID3") and len(head) >= 10:
        return _tagged(data)
    if head.startswith(b"GIF8"):
        # It begins with a G as well.
        return None
    if all(data[at : at + 1] == b"G" for at in (0, 188, 376)):
        return "mpegts"
    # As Blu-ray and camcorders write it, with a time ahead of each packet.
    if all(data[at : at + 1] == b"G" for at in (4, 196, 388)):
        return "mpegts"
    return _frames(data)


# Old QuickTime files have no `ftyp`.
_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"pnot"})
_CONTAINERS = (
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"FLV\1", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", "asf"),
    (b"\0\0\1\xba", "mpegps"),
    (b"caff\0\1", "caf"),
    (b"#!AMR", "amr"),
)


def _tagged(data: bytes) -> str:
    """The sound behind an ID3 tag; `mp3` where it is beyond what was given."""
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    sound = bytes(data[10 + size : 10 + size + 4])
    if sound == b"fLaC":
        return "flac"
    return "aac" if len(sound) > 1 and sound[0] == 0xFF and sound[1] & 0xF6 == 0xF0 else "mp3"


_KBITS = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits a second by version (3: MPEG-1) and layer (3: the first), as MPEG audio numbers them."""


def _frames(data: bytes) -> str | None:
    """MPEG audio without any header of its own: two frames in a row."""
    name, length = _frame(data[:8])
    if name is None or length < 4:
        return None
    again, _ = _frame(data[length : length + 8])
    return name if again == name else None


def _frame(head: bytes) -> tuple[str | None, int]:
    """`mp3` or `aac`, and the bytes of this frame; None where no frame begins."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None, 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return ("aac", length) if head[1] & 0xF6 == 0xF0 and length >= 7 else (None, 0)
    rate, bits, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or rate == 3 or not 0 < bits < 15:
        return None, 0
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = _KBITS[3 if version == 3 else 2, layer][bits - 1]
    if layer == 3:
        return "mp3", (12_000 * kbits // hertz + padding) * 4
    samples = 72_000 if layer == 1 and version != 3 else 144_000
    return "mp3", samples * kbits // hertz + padding


_BMP_HEADERS = frozenset(n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124))


def _isobmff(data: bytes) -> str:
    return "avif" if _brands(data) & _AVIF_BRANDS else "heif"


def _brands(data: bytes) -> set[bytes]:
    size = int.from_bytes(data[:4], "big")
    brands = {bytes(data[8:12])}
    brands.update(bytes(data[at : at + 4]) for at in range(16, min(size, len(data), 1024) - 3, 4))
    return brands
