"""Properties of an XMP packet, by their local names.

Read by one pass of a pattern that takes linear time: no XML is parsed, so no entity is expanded
and nothing is fetched, and a packet that is cut short still gives what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

BEGIN: Final = b"<x:xmpmeta"
MAX_PROPERTIES: Final = 256

WANTED: Final = frozenset(
    {
        "aigc",
        "creatortool",
        "credit",
        "description",
        "digitalsourcefiletype",
        "digitalsourcetype",
        "aisystemused",
        "parameters",
        "provenance",
        "software",
        "softwareagent",
        "usercomment",
    }
)

# Possessive throughout: no step is ever taken back. A value can't hold "<", which XML forbids.
_TAG = re.compile(
    r"<(/?+)([\w.:-]++)((?:\s++[\w.:-]++\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'))*+)\s*+(/?+)>"
)
_ATTRIBUTE = re.compile(r"([\w.:-]++)\s*+=\s*+(\"[^\"<]*+\"|'[^'<]*+')")
_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9A-Fa-f]{1,6}));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def properties(packet: bytes) -> Iterator[tuple[str, str]]:
    """Local name in lower case and text of every wanted property, as attribute or element."""
    text = _decode(packet)
    found = 0
    opened = ("", "", 0)
    for tag in _TAG.finditer(text):
        closing, name, attributes, empty = tag.groups()
        local = _local(name)
        if closing:
            if name == opened[0]:
                inner = text[opened[2] : tag.start()]
                yield opened[1], _unescape(_TAG.sub(" ", inner)).strip()
                found += 1
                opened = ("", "", 0)
        elif local in WANTED and not empty and not opened[0]:
            opened = (name, local, tag.end())
        if attributes:
            for attribute in _ATTRIBUTE.finditer(attributes):
                key, value = attribute.groups()
                key = _local(key)
                if key in WANTED:
                    yield key, _unescape(value[1:-1]).strip()
                    found += 1
                elif key == "resource" and local in WANTED:
                    # <x:DigitalSourceType rdf:resource="…"/> says it in an attribute of its own.
                    yield local, _unescape(value[1:-1]).strip()
                    found += 1
        if found >= MAX_PROPERTIES:
            return


def _local(name: str) -> str:
    """A name without its prefix, in lower case; `""` for `rdf:Description`, which is no text."""
    local = name.rsplit(":", 1)[-1]
    return "" if local == "Description" else local.lower()


def _decode(packet: bytes) -> str:
    head = packet[:64]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return packet.decode("utf-16", "replace")
    if b"<\0" in head:
        return packet.decode("utf-16-le", "replace")
    if b"\0<" in head:
        return packet.decode("utf-16-be", "replace")
    return packet.decode("utf-8", "replace")


def _unescape(value: str) -> str:
    def letter(match: re.Match[str]) -> str:
        name, decimal, hexadecimal = match.groups()
        if name:
            return _ENTITIES[name]
        number = int(decimal) if decimal else int(hexadecimal, 16)
        return chr(number) if 0 < number < 0x110000 else ""

    return _ENTITY.sub(letter, value)
