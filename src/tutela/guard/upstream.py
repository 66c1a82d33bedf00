"""Upstream: the model's API that the gateway stands before.

Connections are kept and TLS is verified. Nothing of the environment takes part (proxies, .netrc),
redirects are not followed, and answers come uncompressed or not at all.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import certifi
import httpcore

from tutela.errors import ConfigurationError

CONNECTIONS: Final = 128
CONNECT: Final = 10.0
"""Seconds to connect in."""

_URL = re.compile(
    r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:/[\w.~-]+)*)/?"
)

ASKED: Final = (
    b"authorization",
    b"openai-organization",
    b"openai-project",
    b"openai-beta",
    b"idempotency-key",
    b"x-client-request-id",
)
"""Headers of a request that go on; all others stay here."""
ANSWERED: Final = re.compile(
    rb"x-request-id|openai-(?:version|organization|processing-ms|model)|retry-after(?:-ms)?"
    rb"|x-ratelimit-[a-z-]+|x-should-retry"
)
"""Headers of an answer that go on."""


class UpstreamFailed(Exception):
    """The upstream gave no answer that can be passed on."""

    def __init__(self, note: str, *, late: bool = False) -> None:
        super().__init__(note)
        self.late = late


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream answers. The body is read once."""

    status: int
    headers: dict[str, str]
    """Those that go on."""
    media_type: str
    chunks: AsyncIterator[bytes]


class Upstream:
    """A client for one base URL, such as `https://api.openai.com`. One an event loop.

    `key` replaces whatever key the caller sends. Raises `ConfigurationError` for a URL that is not
    one of http or https.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        seconds: float = 600.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        found = _URL.fullmatch(url)
        if not found:
            raise ConfigurationError(
                "the upstream is not a plain http or https URL; write it as in "
                "https://api.openai.com"
            )
        scheme, host, port, path = found.groups()
        self._origin = (scheme, host.strip("[]"), int(port) if port else None)
        self._host = host + (f":{port}" if port else "")
        self._path = path.removesuffix("/v1")
        self._key = key
        self._timeouts = {"connect": CONNECT, "write": 60.0, "read": seconds, "pool": CONNECT}
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(cafile=certifi.where()),
            max_connections=CONNECTIONS,
            keepalive_expiry=30.0,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[bytes, bytes],
        body: bytes = b"",
        content_type: str = "",
    ) -> AsyncIterator[Answer]:
        """The answer to a request. Raises `UpstreamFailed`, also while it is read."""
        sent = [(b"Host", self._host.encode()), (b"Accept-Encoding", b"identity")]
        sent += [(name, headers[name]) for name in ASKED if name in headers]
        if self._key:
            sent = [one for one in sent if one[0] != b"authorization"]
            sent.append((b"Authorization", b"Bearer " + self._key.encode()))
        if content_type:
            sent.append((b"Content-Type", content_type.encode()))
            sent.append((b"Content-Length", str(len(body)).encode()))
        scheme, host, port = self._origin
        url = httpcore.URL(scheme=scheme, host=host, port=port, target=self._path + path)
        async with AsyncExitStack() as stack:
            with _translated():
                response = await stack.enter_async_context(
                    self._pool.stream(
                        method,
                        url,
                        headers=sent,
                        content=body or None,
                        extensions={"timeout": self._timeouts},
                    )
                )
            yield _answer(response)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise UpstreamFailed(type(error).__name__, late=True) from None
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        OSError,
    ) as error:
        raise UpstreamFailed(type(error).__name__) from None


async def _chunks(response: httpcore.Response) -> AsyncIterator[bytes]:
    with _translated():
        async for chunk in response.aiter_stream():
            yield chunk


def _answer(response: httpcore.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers}
    if response.status < 200 or 300 <= response.status < 400:
        raise UpstreamFailed(f"status {response.status}")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UpstreamFailed("compressed unasked")
    passed = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        if ANSWERED.fullmatch(name)
    }
    media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return Answer(response.status, passed, media, _chunks(response))
