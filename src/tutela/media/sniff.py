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
    (b"\x1aE\xdf\xa3", "Matroska video"),
    (b"OggS", "Ogg audio or video"),
    (b"ID3", "MP3 audio"),
    (b"PK\3\4", "ZIP archive"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
)


def sniff(data: bytes) -> str:
    """`jpeg`, `png`, `gif`, `webp`, `avif`, `heif`, `bmp` or `tiff`.

    Raises `Rejected`: EMPTY, UNSUPPORTED (a format that is known but not decoded), UNKNOWN_TYPE.
    """
    if not data:
        raise Rejected(Reason.EMPTY, "The content is empty.")
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


_BMP_HEADERS = frozenset(n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124))


def _isobmff(data: bytes) -> str:
    size = int.from_bytes(data[:4], "big")
    brands = {bytes(data[8:12])}
    brands.update(bytes(data[at : at + 4]) for at in range(16, min(size, len(data), 1024) - 3, 4))
    if brands & _AVIF_BRANDS:
        return "avif"
    if brands & _HEIF_BRANDS:
        return "heif"
    raise Rejected(Reason.UNSUPPORTED, "MP4-family video content is not decoded.")
