"""The files of models: where they are, that they are the right ones, and how they get here.

What counts is the hash on the card. A file is read once, and what was read is what was hashed: no
one can exchange it in between. A pulled file is written beside its place, and gets its name only
when its hash is right and it is on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import httpcore

from tutela.errors import ConfigurationError, LicenceNotAccepted, ModelDamaged, ModelMissing
from tutela.models.registry import Card

USER_AGENT: Final = "Tutela"
MAX_REDIRECTS: Final = 5
MAX_SECONDS: Final = 1800.0
"""For one download, whatever its pace."""
_TIMEOUTS: Final = {"connect": 15.0, "read": 30.0, "write": 15.0, "pool": 15.0}
_CHUNK: Final = 1 << 20


class State(StrEnum):
    """Whether a model's file is here. Only `verify` looks into it."""

    BUNDLED = "bundled"
    PULLED = "pulled"
    MISSING = "missing"


def place(card: Card, folder: Path | None) -> Path:
    """Where the model's file is, or is to be. `folder` is the folder of models that were pulled.

    Raises `ModelMissing` if its distribution is not installed, or no folder is given.
    """
    if card.distribution:
        try:
            return Path(str(metadata.distribution(card.distribution).locate_file(card.file)))
        except metadata.PackageNotFoundError:
            raise _missing(card) from None
    if folder is None:
        raise _missing(card)
    return folder / card.file


def state(card: Card, folder: Path | None) -> State:
    """Whether the model's file is here."""
    try:
        here = place(card, folder).is_file()
    except ModelMissing:
        here = False
    return State(card.kind) if here else State.MISSING


def read(card: Card, folder: Path | None = None) -> bytes:
    """The model's file, which is the one that its card names.

    Raises `ModelMissing` or `ModelDamaged`.
    """
    path = place(card, folder)
    try:
        with path.open("rb") as file:
            data = file.read(card.bytes + 1)
    except FileNotFoundError:
        raise _missing(card) from None
    except OSError as error:
        raise ModelMissing(f"{path} can't be read: {error.strerror}; check its rights") from error
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise ModelDamaged(
            f"{path} is not the file that the card of {card.name} names; {_cure(card)}"
        )
    return data


def verify(card: Card, folder: Path | None = None) -> Path:
    """Read the model's file and check it. Raises `ModelMissing` or `ModelDamaged`."""
    read(card, folder)
    return place(card, folder)


def pull(
    card: Card,
    folder: Path,
    *,
    accept_licence: str = "",
    source: Path | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> Path:
    """Put the model's file into the folder, unless it is there; gives its path.

    `accept_licence` must be the licence on the card. `source` is the file, or a folder with it,
    instead of the network. `progress` is called with the bytes so far.
    Raises `LicenceNotAccepted`, `ModelMissing` where it can't be had, and `ModelDamaged` for a file
    that is another one: then nothing is left behind.
    """
    if card.distribution:
        return verify(card)
    with contextlib.suppress(ModelMissing, ModelDamaged):
        return verify(card, folder)
    if accept_licence != card.licence:
        raise LicenceNotAccepted(
            f"{card.name} has the licence {card.licence} (copyright {card.copyright}; see "
            f"{card.origin}); accept it with `--accept-licence {card.licence}`"
        )
    target = folder / card.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(_from_disk(card, source) if source else _fetch(card)) as chunks:
            _write(card, target, chunks, progress)
    except OSError as error:
        raise ModelMissing(
            f"{target} can't be written: {error.strerror}; make room, or check the folder's rights"
        ) from error
    return target


def _missing(card: Card) -> ModelMissing:
    return ModelMissing(f"the model {card.name} is not installed; {_cure(card)}")


def _cure(card: Card) -> str:
    if card.distribution:
        return f"install it: pip install --force-reinstall {card.distribution}"
    return f"get it: tutela models pull {card.name}"


def _write(
    card: Card, target: Path, chunks: Iterable[bytes], progress: Callable[[int], object]
) -> None:
    """Write what the chunks hold, if that is the right file. Leaves nothing else."""
    handle, name = tempfile.mkstemp(".part", f".{card.name}-", target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            hashed, size = hashlib.sha256(), 0
            for chunk in chunks:
                size += len(chunk)
                if size > card.bytes:
                    raise _wrong(card, f"more than its {card.bytes} bytes")
                hashed.update(chunk)
                file.write(chunk)
                progress(size)
            if size < card.bytes:
                raise _wrong(card, f"{size} bytes, not its {card.bytes}")
            if hashed.hexdigest() != card.sha256:
                raise _wrong(card, f"another file (SHA-256 {hashed.hexdigest()})")
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's rights are for one user; a model is no secret, and the server may be another.
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _wrong(card: Card, what: str) -> ModelDamaged:
    return ModelDamaged(
        f"what came for {card.name} is {what}; nothing was kept: try again, or get the file "
        f"with SHA-256 {card.sha256} elsewhere and use `--from`"
    )


def _from_disk(card: Card, source: Path) -> Generator[bytes]:
    path = source / card.file if source.is_dir() else source
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise ModelMissing(f"{path} can't be read: {error.strerror}; name another one") from error


def _fetch(card: Card) -> Generator[bytes]:
    """The body at the card's URL, however often it redirects to another https URL."""
    url, end = card.url, time.monotonic() + MAX_SECONDS
    headers: list[tuple[bytes | str, bytes | str]] = [
        ("User-Agent", USER_AGENT),
        ("Accept-Encoding", "identity"),
    ]
    options = {"timeout": _TIMEOUTS}
    try:
        for _ in range(MAX_REDIRECTS + 1):
            if urlsplit(url).scheme != "https":
                raise _unreachable(card, "it redirects to a URL that is not https")
            with (
                _connect(url) as pool,
                pool.stream("GET", url, headers=headers, extensions=options) as response,
            ):
                if response.status in (301, 302, 303, 307, 308):
                    answered = {name.lower(): value for name, value in response.headers}
                    url = urljoin(url, answered.get(b"location", b"").decode("latin-1"))
                    continue
                if response.status != 200:
                    raise _unreachable(card, f"it answers with status {response.status}")
                for chunk in response.iter_stream():
                    if time.monotonic() > end:
                        raise _unreachable(card, f"it took more than {MAX_SECONDS:.0f} s")
                    yield chunk
                return
    except (
        httpcore.NetworkError,
        httpcore.TimeoutException,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
        OSError,
        ValueError,
    ) as error:
        raise _unreachable(card, f"{type(error).__name__}: {error}") from error
    raise _unreachable(card, f"it redirects more than {MAX_REDIRECTS} times")


def _unreachable(card: Card, why: str) -> ModelMissing:
    return ModelMissing(
        f"{card.name} can't be fetched from {card.url}: {why}; try again, or get the file "
        "elsewhere and use `--from`"
    )


def _connect(url: str) -> httpcore.ConnectionPool:
    """Connections for a URL, by the proxy that the environment names for it."""
    # As other tools do: a company's own authority is trusted where the environment names it.
    tls = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
    host = urlsplit(url).hostname or ""
    proxy = "" if proxy_bypass(host) else getproxies().get("https", "")
    if not proxy:
        return httpcore.ConnectionPool(ssl_context=tls)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("the proxy of HTTPS_PROXY is not an http one; set one that is")
    user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return httpcore.HTTPProxy(address, proxy_auth=user, ssl_context=tls)
