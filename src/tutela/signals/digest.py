"""Exact fingerprints: digests of the bytes as they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutela.errors import InvalidSignal
from tutela.media.types import Media
from tutela.signals.base import Fingerprint, Hit, Match, Stored, nearest


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest of the content's bytes, compared for equality. It reads no pixels.

    MD5 and SHA-1 are here because hash lists carry them: they name known files and prove nothing.
    """

    name: str
    algorithm: str
    size: int
    """Bytes of the digest."""
    version: str = "1"
    radius: None = None
    row_bits: int = 0
    min_quality: int = 0
    detail: int = 0

    def fingerprint(self, data: bytes, media: Media | None) -> Sequence[Fingerprint]:
        """One digest of `data`, also of content that can't be decoded."""
        del media
        digest = hashlib.new(self.algorithm, data, usedforsecurity=False).digest()
        return (Fingerprint(self.name, digest),)

    def parse(self, text: str) -> bytes:
        """Hexadecimal text, either case, of the exact length. Raises `InvalidSignal`."""
        return hexadecimal(self.name, text, self.size)

    def format(self, value: bytes) -> str:
        return value.hex()

    def rows(self, value: bytes) -> Sequence[bytes]:
        return (value,)

    def queries(self, fingerprint: Fingerprint) -> Mapping[str, bytes]:
        return {"": fingerprint.value}

    def judge(
        self, fingerprint: Fingerprint, variants: Sequence[str], hits: Sequence[Hit], stored: Stored
    ) -> Sequence[Match]:
        del fingerprint, stored
        return nearest(variants, hits)


def hexadecimal(name: str, text: str, size: int) -> bytes:
    """The `size` bytes that `text` spells in hexadecimal, or `InvalidSignal`."""
    # bytes.fromhex skips spaces, so the length of the text has to be exact as well.
    try:
        value = bytes.fromhex(text) if len(text) == 2 * size else b""
    except ValueError:
        value = b""
    if len(value) != size:
        raise InvalidSignal(f"a {name} fingerprint is {2 * size} hexadecimal digits")
    return value


SHA256 = Digest("sha256", "sha256", 32)
SHA1 = Digest("sha1", "sha1", 20)
MD5 = Digest("md5", "md5", 16)
