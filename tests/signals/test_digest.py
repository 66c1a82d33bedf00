"""Digests are those that everyone else computes, and only exact text is one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutela.errors import InvalidSignal
from tutela.signals.base import Fingerprint, Hit
from tutela.signals.digest import MD5, SHA1, SHA256, Digest

DIGESTS = [SHA256, SHA1, MD5]


@pytest.mark.parametrize("digest", DIGESTS, ids=lambda digest: digest.name)
@given(data=st.binary())
def test_a_digest_is_of_the_bytes_and_reads_back(digest: Digest, data: bytes) -> None:
    (made,) = digest.fingerprint(data, None)
    assert made == Fingerprint(digest.name, hashlib.new(digest.name, data).digest())
    assert digest.parse(digest.format(made.value).upper()) == made.value
    assert digest.rows(made.value) == (made.value,)
    assert digest.queries(made) == {"": made.value}


@pytest.mark.parametrize("digest", DIGESTS, ids=lambda digest: digest.name)
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1],
        lambda t: t + "0",
        lambda t: " " + t[1:],
        lambda t: "g" + t[1:],
        lambda t: t[:-2] + "  ",
        lambda t: "",
    ],
)
def test_other_text_is_refused(digest: Digest, change) -> None:
    text = digest.format(digest.fingerprint(b"", None)[0].value)
    with pytest.raises(InvalidSignal, match=f"{2 * digest.size} hexadecimal digits"):
        digest.parse(change(text))


def test_a_digest_matches_at_distance_nought() -> None:
    (match,) = MD5.judge(Fingerprint("md5", bytes(16)), [""], [Hit(0, 7, 0)], lambda _: {})
    assert (match.entry, match.distance, match.variant) == (7, 0, "")
