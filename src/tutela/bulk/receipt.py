"""Receipts: a signed statement of what was scanned, with which lists, when, and what was found.

It names no member and shows no content: it may be handed to whoever asks whether a data set was
checked. Ed25519 over the canonical JSON of its `receipt` (keys sorted, no spaces, UTF-8).
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tutela.errors import ConfigurationError, ReceiptInvalid

FORMAT: Final = "tutela-receipt-1"
LARGEST: Final = 64 << 20
"""Bytes of a receipt that is read."""


def sign(receipt: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The document to hand out."""
    return {
        "format": FORMAT,
        "receipt": receipt,
        "signature": {
            "algorithm": "Ed25519",
            "public_key": _encoded(raw(key.public_key())),
            "value": _encoded(key.sign(_canonical(receipt))),
        },
    }


def verify(data: bytes, trusted: Ed25519PublicKey | None = None) -> dict[str, Any]:
    """The receipt of a document, its signature checked; by `trusted`, if a key is given.

    Raises `ReceiptInvalid`. Without `trusted` it says only that nobody altered it since whoever
    holds the key that it names signed it.
    """
    try:
        document = orjson.loads(data)
        receipt, signature = document["receipt"], document["signature"]
        made_by = base64.b64decode(signature["public_key"], validate=True)
        value = base64.b64decode(signature["value"], validate=True)
        known = document["format"] == FORMAT and signature["algorithm"] == "Ed25519"
        public = Ed25519PublicKey.from_public_bytes(made_by)
    except (ValueError, LookupError, TypeError) as error:
        raise ReceiptInvalid("this is no receipt of Tutela's") from error
    if not known or not isinstance(receipt, dict):
        raise ReceiptInvalid("this is a receipt of another version; read it with that one")
    if trusted is not None and raw(trusted) != made_by:
        raise ReceiptInvalid(
            f"the receipt is signed by the key {fingerprint(public)}, not by {fingerprint(trusted)}"
        )
    try:
        public.verify(value, _canonical(receipt))
    except InvalidSignature:
        raise ReceiptInvalid("the receipt was altered after it was signed") from None
    return receipt


def signer(path: Path) -> Ed25519PrivateKey:
    """The key that signs receipts, made if the file isn't there. Raises `ConfigurationError`."""
    try:
        return _private(path.read_bytes(), path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"the key {path} can't be read: {error.strerror}") from error
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        # Never there half-written, never readable by others, never over another's.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"the key {path} can't be made: {error.strerror}") from error
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """A public key, PEM. Raises `ConfigurationError`."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the key {path} can't be read: {error.strerror}") from error
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(
            f"{path} is no public Ed25519 key; `tutela receipt key` prints one"
        )
    return key


def pem(key: Ed25519PublicKey) -> str:
    """A public key as text, to hand to those who verify."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def fingerprint(key: Ed25519PublicKey) -> str:
    """A short name of a key."""
    return hashlib.sha256(raw(key)).hexdigest()[:16]


def raw(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _private(data: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} is no private Ed25519 key in PEM; name another in `receipt_key`, or move it "
            "away and a new one is made"
        )
    return key


def _canonical(receipt: dict[str, Any]) -> bytes:
    return orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
