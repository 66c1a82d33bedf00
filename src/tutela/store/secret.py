"""The secret of one deployment: what local fingerprints are keyed, sealed and named with.

Whoever has the database alone can't compare its local fingerprints with pictures, nor with those
of another deployment. The secret lies in a file beside the database's, never in it: 64 hexadecimal
digits in `secret.key` in the data folder, or where the setting `secret_file` says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select, update

from tutela.errors import ConfigurationError, SealBroken
from tutela.store import Store
from tutela.store.tables import counters, sealed

SIZE = 32
"""Bytes of the secret, and of each key derived from it."""
NONCE = 12
BITS = 256
"""Bits of a row that the isometry permutes."""
CHECK = "secret"
"""The counter that holds the check of the secret which this database was sealed with."""


class Secret:
    """Keys derived from the deployment's secret by HKDF-SHA256 (RFC 5869). Threads may share it."""

    def __init__(self, root: bytes) -> None:
        """`root` is 32 random bytes."""
        if len(root) != SIZE:
            raise ValueError(f"a secret has {SIZE} bytes")
        self._seal = AESGCM(_derived(root, "seal"))
        self._names = _derived(root, "names")
        self.check = int.from_bytes(_derived(root, "check")) >> (8 * SIZE - 62)
        """Tells this secret from another, and says nothing else about it: 62 bits."""
        stream = _stream(_derived(root, "isometry"))
        self._order = _permutation(stream)
        self._mask = np.frombuffer(bytes(next(stream) for _ in range(BITS // 8)), np.uint8)

    def keyed(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rows (n, 32) moved by the secret isometry: every Hamming distance stays as it is."""
        bits = np.unpackbits(np.ascontiguousarray(rows), axis=1)
        moved: NDArray[np.uint8] = np.packbits(bits[:, self._order], axis=1) ^ self._mask
        return moved

    def seal(self, name: str, plain: bytes) -> bytes:
        """Encrypt with AES-256-GCM under a fresh nonce; it opens under the same name alone."""
        nonce = os.urandom(NONCE)
        return nonce + self._seal.encrypt(nonce, plain, name.encode())

    def open(self, name: str, body: bytes) -> bytes:
        """What `seal` was given. Raises `SealBroken`."""
        try:
            return self._seal.decrypt(body[:NONCE], body[NONCE:], name.encode())
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"the sealed {name} is damaged; restore the database from a backup, or remove the "
                "entry and protect its photo anew"
            ) from None

    def digest(self, use: str, plain: bytes) -> bytes:
        """HMAC-SHA256 of `plain` for one use: names things without telling what they are."""
        return hmac.digest(self._names, use.encode() + b"\0" + plain, "sha256")


class Keyring:
    """The secret that a database's local fingerprints are sealed with, made when first needed.

    The database keeps a check of it, so that a secret which is lost, or of another deployment, is
    an error and never just matches nothing.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self.path = path
        self._secret: Secret | None = None

    def get(self) -> Secret:
        """The secret. Raises `ConfigurationError`, with the cure, if it is lost or another one."""
        with self._store.read() as connection:
            held = _check(connection)
        return self._matching(held)

    def make(self, connection: Connection) -> Secret:
        """The secret, made if nothing was ever sealed. In a transaction that is to seal.

        Raises `ConfigurationError` as `get` does, and when the file can't be written.
        """
        held = _check(connection)
        if held is not None and connection.scalar(select(sealed.c.entry_id).limit(1)) is not None:
            return self._matching(held)
        # Nothing is sealed, so nothing needs a secret of before.
        found = _read(self.path)
        secret = Secret(found if found is not None else _create(self.path))
        if held is None:
            connection.execute(insert(counters).values(name=CHECK, value=secret.check))
        elif held != secret.check:
            connection.execute(
                update(counters).where(counters.c.name == CHECK).values(value=secret.check)
            )
        self._secret = secret
        return secret

    def _matching(self, held: int | None) -> Secret:
        if self._secret is not None and self._secret.check == held:
            return self._secret
        found = _read(self.path)
        cure = (
            "restore it from a backup, or copy it from the machine that made it and name it in "
            "`secret_file`; if it is lost, remove the protected entries and protect the photos anew"
        )
        if found is None:
            raise ConfigurationError(
                f"the protected photos were sealed with a secret, and {self.path} is not there: "
                f"{cure}"
            )
        secret = Secret(found)
        if secret.check != held:
            raise ConfigurationError(
                f"{self.path} is not the secret that the protected photos were sealed with: {cure}"
            )
        self._secret = secret
        return secret


def _check(connection: Connection) -> int | None:
    return connection.scalar(select(counters.c.value).where(counters.c.name == CHECK))


def _derived(root: bytes, use: str) -> bytes:
    info = f"tutela local fingerprints: {use}".encode()
    return HKDF(algorithm=SHA256(), length=SIZE, salt=None, info=info).derive(root)


def _stream(key: bytes) -> Iterator[int]:
    """The bytes of SHAKE-256: the same for ever, unlike a library's random generator."""
    return iter(hashlib.shake_256(key).digest(1 << 16))


def _permutation(stream: Iterator[int]) -> NDArray[np.intp]:
    """A uniform permutation of the bits: Fisher and Yates's shuffle, without bias."""
    order = list(range(BITS))
    for last in range(BITS - 1, 0, -1):
        choices = last + 1
        # A byte beyond the last whole multiple would favour small numbers.
        drawn = next(byte for byte in stream if byte < 256 - 256 % choices)
        other = drawn % choices
        order[last], order[other] = order[other], order[last]
    return np.array(order, np.intp)


def _read(path: Path) -> bytes | None:
    """The secret in the file, None if there is none. Raises `ConfigurationError`."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"the secret {path} can't be read: {error.strerror}") from error
    if not re.fullmatch(rb"\s*[0-9a-fA-F]{64}\s*", text):
        raise ConfigurationError(
            f"{path} holds no secret: it should be 64 hexadecimal digits; restore it from a backup"
        )
    return bytes.fromhex(text.decode())


def _create(path: Path) -> bytes:
    """Make the file, for this user alone, and sync it; an existing one is never overwritten."""
    root = secrets.token_bytes(SIZE)
    try:
        # Under its own name it appears whole or not at all, whoever else makes one meanwhile.
        handle, temporary = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(root.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigurationError(
            f"the secret {path} can't be made: {error.strerror}; write 64 random hexadecimal "
            "digits into a file that only this user can read, and name it in `secret_file`"
        ) from error
    made = _read(path)
    assert made is not None
    return made


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
