"""Fetching content by URL, for callers who name a file instead of sending it. Off by default.

A URL is an order to connect somewhere, given by a stranger. So: only hosts that the operator lists;
the URL must be written plainly, or it is refused rather than repaired; every address that the
name resolves to must be public; and the connection goes to the address that was checked, so that a
second answer of the name server changes nothing. Each redirect starts again from the first check.
Nothing of the environment (proxies, .netrc, cookies) takes part.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Protocol
from urllib.parse import urljoin

import certifi
import httpcore

from tutela.errors import ConfigurationError, FetchRefused
from tutela.media.types import MiB
from tutela.settings import Settings

Address = IPv4Address | IPv6Address

MAX_URL: Final = 2048
ADDRESSES_TRIED: Final = 3
USER_AGENT: Final = "Tutela"

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII but the backslash
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z.-]+)(?::([1-9][0-9]{0,4}))?", re.IGNORECASE)
_LABEL = re.compile(r"[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")

# Names that never lead to the public internet (RFC 6761, 6762, 7686, 8375, 9476), and those that
# clouds and offices resolve inside.
_INSIDE = """
alt arpa corp home internal intranet invalid lan local localdomain localhost onion private test
"""
_INSIDE_NAMES: Final = frozenset(_INSIDE.split())

# IANA's IPv4 special-purpose registry, multicast and class E; 168.63.129.16 is where one cloud
# serves each machine in it.
_SPECIAL = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12
192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
_SPECIAL_V4: Final = tuple(map(IPv4Network, _SPECIAL.split()))

# Global unicast is 2000::/3: that leaves out loopback, link-local, unique local, multicast, and
# IPv4 in mapped, compatible or NAT64 form. Within it: protocol assignments with Teredo and
# benchmarking, documentation, 6to4, the former 6bone, documentation again, and AS112.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_WITHIN = "2001::/23 2001:db8::/32 2002::/16 3ffe::/16 3fff::/20 2620:4f:8000::/48"
_SPECIAL_V6: Final = tuple(map(IPv6Network, _WITHIN.split()))


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds on one fetch, redirects included. Beyond any of them it is refused."""

    max_bytes: int = 64 * MiB
    max_seconds: float = 10.0
    """Wall-clock time for everything, name resolution included."""
    max_redirects: int = 3


@dataclass(frozen=True, slots=True)
class FetchedContent:
    """What a URL gave."""

    data: bytes
    host: str
    """The host that it came from, after redirects."""
    redirects: int


class Resolver(Protocol):
    """Names to addresses."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of the host, as text. Raises `OSError` if it has none."""


class Connector(Protocol):
    """Opens TCP connections."""

    async def __call__(self, address: Address, port: int) -> httpcore.AsyncNetworkStream:
        """A connection to exactly this address. Raises `httpcore.NetworkError`."""


class Fetcher:
    """Fetches from listed hosts. One may be shared by every request of an event loop.

    `allow` holds host names, `.example.org` for every host below example.org, or `*` for any
    public host. `resolve` and `connect` are for tests and for networks of their own kind.
    """

    def __init__(
        self,
        allow: Iterable[str],
        limits: FetchLimits | None = None,
        *,
        allow_http: bool = False,
        ports: Collection[int] | None = None,
        resolve: Resolver | None = None,
        connect: Connector | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.allow = tuple(_entry(entry) for entry in allow)
        self.limits = limits or FetchLimits()
        self.allow_http = allow_http
        self.ports = frozenset(ports or ((443, 80) if allow_http else (443,)))
        self._resolve = resolve or _resolve
        self._connect = connect or _connect
        self._tls = tls or ssl.create_default_context(cafile=certifi.where())

    async def fetch(self, url: str) -> FetchedContent:
        """The content at this URL. Raises `FetchRefused`, whose message is safe to show anyone.

        What an operator needs beyond that is in the error's notes.
        """
        try:
            async with asyncio.timeout(self.limits.max_seconds):
                return await self._follow(url)
        except TimeoutError:
            raise FetchRefused(
                f"the URL took longer than {self.limits.max_seconds:g} s; send the content itself"
            ) from None

    async def _follow(self, url: str) -> FetchedContent:
        target = self._parse(url)
        for redirects in range(self.limits.max_redirects + 1):
            found = await self._get(target)
            if isinstance(found, bytes):
                return FetchedContent(found, target.host, redirects)
            following = self._parse(_joined(target, found))
            if target.scheme == "https" and following.scheme != "https":
                raise FetchRefused("the URL redirects from https to http; use an https URL")
            target = following
        raise FetchRefused(
            f"the URL redirects more than {self.limits.max_redirects} times; "
            "use the URL that it ends at"
        )

    def _parse(self, url: str) -> _Target:
        target = _parse(url)
        if target.scheme == "http" and not self.allow_http:
            raise FetchRefused("the URL is not https; use https, or set `fetch_http`")
        if target.port not in self.ports:
            raise FetchRefused("the URL's port is not one that is fetched from; use the usual one")
        if not any(_allows(entry, target.host) for entry in self.allow):
            raise FetchRefused(
                "the URL's host is not listed; the operator can add it to `fetch_hosts`"
            )
        return target

    async def _get(self, target: _Target) -> bytes | str:
        """The body at the target, or where it redirects to."""
        pinned = _Pinned(target, await self._addresses(target), self._connect)
        port = "" if target.port == target.usual_port else f":{target.port}"
        headers: dict[bytes | str, bytes | str] = {
            "Host": target.written_host + port,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=pinned,
        )
        try:
            async with pool, pool.stream("GET", url, headers=headers) as response:
                return await self._read(response)
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
            raise _unreachable(f"connection: {type(error).__name__}: {error}") from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            refused = FetchRefused("the URL's host answers no valid HTTP; send the content itself")
            refused.add_note(f"{type(error).__name__}: {error}")
            raise refused from None

    async def _read(self, response: httpcore.Response) -> bytes | str:
        headers = {name.lower(): value for name, value in response.headers}
        if response.status in (301, 302, 303, 307, 308) and b"location" in headers:
            return headers[b"location"].decode("latin-1")
        if response.status != 200:
            raise FetchRefused(
                f"the URL answers with status {response.status}; use one that gives the content"
            )
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise FetchRefused("the URL gives compressed content unasked; send the content itself")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self.limits.max_bytes:
            raise self._too_large()
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > self.limits.max_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> FetchRefused:
        return FetchRefused(f"the URL gives more than {self.limits.max_bytes} bytes")

    async def _addresses(self, target: _Target) -> list[Address]:
        """The target's addresses, all of them public."""
        literal = _address(target.host)
        try:
            written = [target.host] if literal else await self._resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise _unreachable(f"name resolution: {error}") from None
        addresses: list[Address] = []
        for text in dict.fromkeys(written):
            address = _address(text)
            if address is None or not is_public(address):
                raise _unreachable(f"name resolution: {text} is not a public address")
            addresses.append(address)
        if not addresses:
            raise _unreachable("name resolution: no address")
        return addresses


def fetcher(settings: Settings) -> Fetcher | None:
    """The fetcher that the settings ask for; none if they list no host.

    Raises `ConfigurationError` for a list that can't be used.
    """
    if not settings.fetch_hosts:
        return None
    limits = FetchLimits(max_bytes=settings.max_bytes)
    return Fetcher(settings.fetch_hosts, limits, allow_http=settings.fetch_http)


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: nothing private, special or embedded."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _SPECIAL_V4)
    return (
        address.scope_id is None
        and address in _GLOBAL_V6
        and address.is_global
        and not any(address in network for network in _SPECIAL_V6)
    )


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that was written plainly."""

    scheme: str
    host: str
    """A lower-case name, or an address in canonical form, without brackets."""
    port: int
    path: str
    """With the query; it starts with `/`."""

    @property
    def usual_port(self) -> int:
        return 443 if self.scheme == "https" else 80

    @property
    def written_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def _parse(url: str) -> _Target:
    """Splits a URL. Anything that two parsers could read in two ways is refused."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL and _PLAIN.fullmatch(url) else None
    if found is None:
        raise FetchRefused(
            f"the URL is not one of https in plain ASCII of at most {MAX_URL} characters; "
            "percent-encode its path and write its host as xn--…"
        )
    if "@" in found[2]:
        raise FetchRefused("the URL holds credentials; leave them out")
    authority = _AUTHORITY.fullmatch(found[2])
    host = _host(authority[1].lower()) if authority else ""
    if not authority or not host:
        raise FetchRefused(
            "the URL's host is not a public name or a plainly written address; "
            "write it as in `https://files.example.org/a.jpg`"
        )
    scheme = found[1].lower()
    port = int(authority[2]) if authority[2] else 443 if scheme == "https" else 80
    path = found[3] if found[3].startswith("/") else "/" + found[3]
    return _Target(scheme, host, port, path)


def _host(text: str) -> str:
    """The host if it is a name of the public DNS or an address in canonical form, else `""`."""
    if text.startswith("["):
        address = _address(text[1:-1])
        return str(address) if isinstance(address, IPv6Address) else ""
    labels = text.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        address = _address(text)
        return str(address) if isinstance(address, IPv4Address) else ""
    name = (
        len(text) <= 253
        and len(labels) > 1
        and labels[-1] not in _INSIDE_NAMES
        and all(_LABEL.fullmatch(label) for label in labels)
    )
    return text if name else ""


def _address(text: str) -> Address | None:
    """The address, if the text is its canonical form."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if str(address) == text.lower() else None


def _joined(target: _Target, location: str) -> str:
    """Where a redirect leads; it is parsed afterwards as any other URL."""
    here = f"{target.scheme}://{target.written_host}:{target.port}{target.path}"
    try:
        if _PLAIN.fullmatch(location):
            return urljoin(here, location)
    except ValueError:  # a host in brackets that is no address
        pass
    raise FetchRefused("the URL redirects to one that is badly written; use the one it ends at")


def _entry(entry: str) -> str:
    """An entry of the list, checked. Raises `ConfigurationError`."""
    text = entry.lower()
    below = "." if text.startswith(".") else ""
    host = text if text == "*" else _host(text.removeprefix("."))
    if host:
        return below + host
    raise ConfigurationError(
        f"fetch_hosts has {entry!r}; write a host (files.example.org), every host below one "
        "(.example.org), or * for any public host"
    )


def _allows(entry: str, host: str) -> bool:
    return entry in ("*", host) or (entry.startswith(".") and host.endswith(entry))


def _unreachable(note: str) -> FetchRefused:
    """One message for whatever keeps a host from being reached: no map of what lies inside."""
    refused = FetchRefused(
        "the URL's host can't be reached at a public address; send the content itself"
    )
    refused.add_note(note)
    return refused


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the checked addresses of one target, whatever host it is asked for."""

    def __init__(self, target: _Target, addresses: Sequence[Address], connect: Connector) -> None:
        self._target = target
        self._addresses = addresses[:ADDRESSES_TRIED]
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        if (host, port) != (self._target.host, self._target.port):
            raise httpcore.ConnectError("asked for another host than the one that was checked")
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                return await self._connect(address, port)
            except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no local sockets")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _connect(address: Address, port: int) -> httpcore.AsyncNetworkStream:
    return await httpcore.AnyIOBackend().connect_tcp(str(address), port)
