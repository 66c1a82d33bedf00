"""Fetching by URL: it works from a listed public host, and nothing reaches anywhere else.

The server is a real one on 127.0.0.1. It is reached only because the tests give the fetcher a
connector that leads a public address there; no setting does that.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpcore
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela.errors import ConfigurationError, FetchRefused
from tutela.server import fetch
from tutela.server.fetch import FetchedContent, Fetcher, FetchLimits, is_public

DATA = Path(__file__).parent / "data"
PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"
HOST = "files.example.org"
URL = f"http://{HOST}/a.jpg"

BOMB = gzip.compress(b"x" * 10_000)
TLS = ssl.create_default_context()

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Resolver:
    """Answers from a list, one answer a question, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Connector:
    """Leads every address to one port of 127.0.0.1, and remembers which it was asked for."""

    def __init__(self, port: int = 0, fail: Sequence[str] = ()) -> None:
        self.port = port
        self.fail = fail
        self.asked: list[str] = []

    async def __call__(
        self, address: IPv4Address | IPv6Address, port: int
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append(str(address))
        if not self.port or str(address) in self.fail:
            raise httpcore.ConnectError("connection refused by 10.1.2.3")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port)


def answer(
    body: bytes = b"picture", status: str = "200 OK", *headers: str, length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, f"Location: {location}")


class Served:
    """What a fetch gave, and what the server and the fetcher's hands saw."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.resolver = Resolver([PUBLIC])
        self.connector = Connector()
        self.content: FetchedContent | None = None
        self.refused: FetchRefused | None = None


def serve(
    answers: Sequence[bytes] | Handler,
    url: str = URL,
    *,
    allow: Sequence[str] = ("*",),
    limits: FetchLimits | None = None,
    resolver: Resolver | None = None,
    fail: Sequence[str] = (),
    allow_http: bool = True,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> Served:
    """Fetches a URL from a server on 127.0.0.1 that gives these answers in turn."""
    served = Served()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            served.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if callable(answers):
                await answers(served.requests[-1], writer)
            else:
                writer.write(answers[min(len(served.requests), len(answers)) - 1])
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls[0] if tls else None)
        served.connector = Connector(server.sockets[0].getsockname()[1], fail)
        served.resolver = resolver or served.resolver
        fetcher = Fetcher(
            allow,
            limits,
            allow_http=allow_http,
            resolve=served.resolver,
            connect=served.connector,
            tls=tls[1] if tls else TLS,
        )
        try:
            served.content = await fetcher.fetch(url)
        except FetchRefused as refused:
            served.refused = refused
        finally:
            server.close()
            await asyncio.sleep(0)

    asyncio.run(run())
    return served


# What must be refused before anything is connected.

LOOPBACK_WRITTEN = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7F.0.0.1", "0x7f.1"),
    *("017700000001", "0177.0.0.1", "0177.0.0.01", "127.0.0.01", "127.000.000.001", "00127.0.0.1"),
    *("127.0.0.1.", "127.0.0.1..", "127.0.0.0x1", "0x7f.0x0.0x0.0x1", "127.0.0.256", "1.1.1.1.1"),
    *("0", "0.0.0.0", "0x0", "00", "127.255.255.254", "4294967295", "4294967296", "-1", "1e9"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[::7f00:1]", "[::1%25lo]", "[::1%lo]", "[fe80::1%25eth0]", "[fe80::1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::1]", "[2002:7f00:1::]"),
    *("[2002:a00:1::1]", "[2001:0:7f00:1::]", "[2001::1]", "[100::1]", "[fc00::1]", "[fd00::1]"),
    *("[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[2001:2::1]", "[3fff::1]", "[5f00::1]"),
    *("[fec0::1]", "[3ffe::1]", "[::2]", "[4000::1]", "[1::1]", "[::ffff:93.184.216.34]"),
    *("[::ffff:0:127.0.0.1]", "[2620:4f:8000::1]", "[v1.fe80::a]", "[127.0.0.1]", "[]", "[::1"),
    *("::1", "[::1]x", "[2606:2800:0220:1:248:1893:25c8:1946]", "[2606:2800::0:1]"),
]
FORBIDDEN_V4 = [
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1.254"),
    *("169.254.169.254", "169.254.170.2", "169.254.0.1", "100.64.0.1", "100.100.100.200"),
    *("100.127.255.255", "168.63.129.16", "192.0.0.192", "192.0.0.1", "192.0.0.9", "192.0.2.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "192.88.99.1", "192.31.196.1"),
    *(
        "192.52.193.1",
        "192.175.48.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ),
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3"),
]
FORBIDDEN_V6 = [
    *(
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "fd00:ec2::254",
        "ff02::1",
    ),
    *(
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:93.184.216.34",
        "::127.0.0.1",
        "64:ff9b::a00:1",
    ),
    *("64:ff9b:1::a00:1", "2002:a00:1::", "2001:0:a00:1::", "2001:db8::1", "2001:2::1", "100::1"),
    *("fec0::1", "3fff::1", "5f00::1", "2001:10::1", "2001:20::1", "not an address", "", "0x7f.1"),
]
NAMES = [
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "metadata"),
    *("metadata.google.internal", "METADATA.google.INTERNAL", "metadata.google.internal."),
    *("instance-data.ec2.internal", "printer.local", "router.lan", "wiki.corp", "wiki.intranet"),
    *("nas.home", "nas.home.arpa", "1.0.0.127.in-addr.arpa", "x.onion", "x.test", "x.invalid"),
    *("db.private", "kubernetes.default.svc.cluster.local", "intranet", "a", "x.alt"),
    *(
        "files.example.org.",
        "files..example.org",
        ".example.org",
        "-a.example.org",
        "a-.example.org",
    ),
    *(
        "a_b.example.org",
        "a" * 64 + ".org",
        ("a" * 60 + ".") * 5 + "org",
        "example.1",
        "example.0x1",
    ),
    *(
        "example.org:0",
        "example.org:00443",
        "example.org:99999",
        "example.org:",
        "example.org:4 43",
    ),
    *(
        "example.org:22",
        "example.org:6379",
        "example.org:8080",
        "example.org:443:80",
        "example.org:-1",
    ),
    *("example.org:0x1bb", "example.org:４４３"),
]
TRICKS = [
    *(
        "１２７.０.０.１",
        "127。0。0。1",
        "127．0．0．1",
        "①②⑦.⓪.⓪.①",
        "ｌｏｃａｌｈｏｓｔ",
        "exámple.org",
        "ⓔxample.org",
    ),
    *("127.0.0.1%00.example.org", "%31%32%37.0.0.1", "example.org%2f@127.0.0.1", "example%2eorg"),
    *(
        "example.org%00",
        "127.0.0.1\\@example.org",
        "example.org\\@127.0.0.1",
        "example.org\\.x.org",
    ),
    *(
        "user@example.org",
        "user:pass@example.org",
        ":@example.org",
        "@example.org",
        "a@b@example.org",
    ),
    *(
        "example.org@127.0.0.1",
        "127.0.0.1@example.org",
        "example.org:443@127.0.0.1",
        "",
        ":443",
        " ",
    ),
    *("example.org ", " example.org", "exam\tple.org", "exam\nple.org", "example.org\r\nHost:x"),
    *("example.org\x00", "exam\u00adple.org", "exam\u200bple.org", "example.org\u2024x.org"),
    *(
        "example!.org",
        "example$.org",
        "example,org.org",
        "(example).org",
        "a;b.org",
        "*.example.org",
    ),
    *(
        "{example}.org",
        "example.org|x",
        "example.org^x",
        "<example.org>",
        '"example.org"',
        "~a.org",
    ),
]
WHOLE = [
    "",
    " ",
    "files.example.org/a.jpg",
    "//files.example.org/a.jpg",
    "/a.jpg",
    "https:/files.example.org/a.jpg",
    "https:files.example.org/a.jpg",
    "https:///files.example.org/a.jpg",
    "https:\\\\files.example.org\\a.jpg",
    " https://files.example.org/a.jpg",
    "https://files.example.org/a.jpg ",
    "https://files.example.org/a b.jpg",
    "https://files.example.org/a\\b.jpg",
    "https://files.example.org/é.jpg",
    "https://files.example.org/a\r\nX: y",
    "https://files.example.org/a\x00.jpg",
    "https://files.example.org\\/a.jpg",
    "https://files.example.org/" + "a" * 2048,
    "file:///etc/passwd",
    "ftp://files.example.org/a.jpg",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "ldap://files.example.org/",
    "ws://files.example.org/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "jar:https://files.example.org!/a",
    "view-source:https://files.example.org/",
    "httpss://files.example.org/",
    "https ://files.example.org/",
    "ｈｔｔｐｓ://files.example.org/",
    "https：//files.example.org/",
    "https://",
    "https://?x=files.example.org",
    "https://#files.example.org",
    "https://127.0.0.1#files.example.org/",
    "https://127.0.0.1?files.example.org/",
    "https://127.0.0.1#@files.example.org/",
]

WRITTEN = [
    *(f"https://{host}/a.jpg" for host in [*LOOPBACK_WRITTEN, *FORBIDDEN_V4, *NAMES, *TRICKS]),
    *(f"https://[{host}]/a.jpg" for host in FORBIDDEN_V6),
    *WHOLE,
]
RESOLVED = [
    *([address] for address in [*FORBIDDEN_V4, *FORBIDDEN_V6]),
    *([PUBLIC, address] for address in [*FORBIDDEN_V4, *FORBIDDEN_V6]),
    *([PUBLIC_6, PUBLIC, address] for address in ["10.0.0.1", "::1"]),
    [],
]


def attempt(url: str, answer: Sequence[str]) -> tuple[Resolver, Connector, FetchRefused]:
    """A fetch that must be refused, by a fetcher that lists every host and allows http."""
    resolver, connector = Resolver(answer), Connector()
    fetcher = Fetcher(["*"], allow_http=True, resolve=resolver, connect=connector, tls=TLS)
    with pytest.raises(FetchRefused) as caught:
        asyncio.run(fetcher.fetch(url))
    return resolver, connector, caught.value


def test_nothing_written_oddly_or_privately_is_connected_to() -> None:
    assert len(set(WRITTEN)) >= 200
    for url in WRITTEN:
        resolver, connector, refused = attempt(url, [PUBLIC])
        assert connector.asked == [], url
        assert resolver.asked == [], url
        assert "send the content" in str(refused) or ";" in str(refused), url


def test_nothing_that_resolves_inside_is_connected_to() -> None:
    assert len(RESOLVED) >= 100
    messages = set()
    for addresses in RESOLVED:
        resolver, connector, refused = attempt("https://files.example.org/a.jpg", addresses)
        assert connector.asked == [], addresses
        assert resolver.asked == [(HOST, 443)]
        messages.add(str(refused))
    assert len(messages) == 1, "a requester could tell what a name resolves to"


@pytest.mark.parametrize(
    ("url", "answer", "asked"),
    [
        ("https://files.example.org/a.jpg", [PUBLIC], PUBLIC),
        ("HTTPS://Files.Example.ORG:443/a.jpg?b=c#d", [PUBLIC_6], PUBLIC_6),
        ("http://xn--exmple-cua.org", [PUBLIC], PUBLIC),
        (f"https://{PUBLIC}/", ["10.0.0.1"], PUBLIC),
        (f"https://[{PUBLIC_6}]/", ["10.0.0.1"], PUBLIC_6),
    ],
)
def test_the_same_hands_do_connect_to_public_hosts(url: str, answer: list[str], asked: str) -> None:
    """The control: the vectors above are refused, not merely out of reach."""
    _, connector, refused = attempt(url, answer)
    assert connector.asked == [asked]
    assert "can't be reached" in str(refused)
    assert "10.1.2.3" not in str(refused)
    assert any("10.1.2.3" in note for note in refused.__notes__)


def test_what_is_unreachable_reads_as_what_is_private() -> None:
    _, _, private = attempt("https://files.example.org/", ["10.0.0.1"])
    _, _, unreachable = attempt("https://files.example.org/", [PUBLIC])
    assert str(private) == str(unreachable)
    assert "10.0.0.1" not in str(private)
    assert any("10.0.0.1" in note for note in private.__notes__)


def test_redirects_are_checked_from_the_start() -> None:
    targets = [
        url
        for url in [*WRITTEN, "https://user@files.example.org/", "//127.0.0.1/", "//localhost/"]
        if url
        and url == url.strip()
        and not url.startswith("/a")
        and "\n" not in url
        and "\x00" not in url
        if url.isascii() and "://" in url
    ]
    assert len(targets) >= 150
    for url in targets:
        served = serve([redirect(url)])
        assert served.refused is not None, url
        assert served.connector.asked == [PUBLIC], url
        assert len(served.requests) == 1


def test_a_redirect_into_the_inside_is_not_followed() -> None:
    resolver = Resolver([PUBLIC], ["10.0.0.1"])
    served = serve([redirect("http://other.example.org/x")], resolver=resolver)
    assert served.refused is not None
    assert resolver.asked == [(HOST, 80), ("other.example.org", 80)]
    assert served.connector.asked == [PUBLIC]


# What works.


def test_it_fetches() -> None:
    served = serve([answer(b"\xff\xd8 picture")])
    assert served.content == FetchedContent(b"\xff\xd8 picture", HOST, 0)
    assert served.connector.asked == [PUBLIC]
    lines = served.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a.jpg HTTP/1.1"
    assert sorted(lines[1:-2]) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        "Connection: close",
        f"Host: {HOST}",
        "User-Agent: Tutela",
    ]


def test_it_fetches_chunks() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    served = serve([head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"])
    assert served.content is not None
    assert served.content.data == b"abcde"


@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
def test_it_follows_redirects(status: str) -> None:
    steps = [redirect("/b?c=d", status), redirect("http://cdn.example.org/e", status), answer()]
    served = serve(steps, allow=["files.example.org", ".example.org"])
    assert served.content == FetchedContent(b"picture", "cdn.example.org", 2)
    assert [request.split()[1] for request in served.requests] == [b"/a.jpg", b"/b?c=d", b"/e"]
    assert served.resolver.asked == [(HOST, 80), (HOST, 80), ("cdn.example.org", 80)]
    assert b"Host: cdn.example.org\r\n" in served.requests[2]


def test_it_sends_no_cookie_or_credential_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    set_cookie = answer(b"", "302 Found", "Location: /b", "Set-Cookie: a=b; Path=/")
    served = serve([set_cookie, answer()])
    assert served.content is not None
    for request in served.requests:
        assert b"cookie" not in request.lower()
        assert b"authorization" not in request.lower()


def test_it_tries_the_next_checked_address() -> None:
    served = serve([answer()], resolver=Resolver([PUBLIC_6, PUBLIC]), fail=[PUBLIC_6])
    assert served.content is not None
    assert served.connector.asked == [PUBLIC_6, PUBLIC]


def test_a_second_answer_of_the_name_server_changes_nothing() -> None:
    """DNS rebinding: the checked address is the one connected to, and it is asked for once."""
    resolver = Resolver([PUBLIC], ["127.0.0.1"])
    served = serve([answer()], resolver=resolver)
    assert served.content is not None
    assert resolver.asked == [(HOST, 80)]
    assert served.connector.asked == [PUBLIC]
    assert resolver.answers == [["127.0.0.1"]]


def test_rebinding_between_redirects_is_seen() -> None:
    resolver = Resolver([PUBLIC], ["127.0.0.1"])
    served = serve([redirect("/b"), answer()], resolver=resolver)
    assert served.refused is not None
    assert served.connector.asked == [PUBLIC]


def _tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(DATA / "fetch-test.pem", DATA / "fetch-test.key")
    return server, ssl.create_default_context(cafile=str(DATA / "fetch-test.pem"))


def test_tls_is_checked_against_the_name_not_the_address() -> None:
    names: list[str | None] = []
    server, client = _tls()
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    served = serve([answer()], f"https://{HOST}/", allow_http=False, tls=(server, client))
    assert served.content == FetchedContent(b"picture", HOST, 0)
    assert names == [HOST]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("url", ["https://other.example.org/", f"https://{PUBLIC}/"])
def test_tls_for_another_name_is_refused(url: str) -> None:
    served = serve([answer()], url, tls=_tls())
    assert served.refused is not None
    assert served.connector.asked == [PUBLIC]
    assert served.requests == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tls_of_unknown_issuers_is_refused() -> None:
    served = serve([answer()], f"https://{HOST}/", tls=(_tls()[0], ssl.create_default_context()))
    assert served.refused is not None
    assert served.requests == []


# Bounds.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer(b"x" * 101), "more than 100 bytes"),
        (answer(b"", length=10**15), "more than 100 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, "more than 100 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"32\r\n" + b"x" * 50
            + b"\r\n33\r\n" + b"x" * 51 + b"\r\n0\r\n\r\n",
            "more than 100 bytes",
        ),
        (answer(BOMB, "200 OK", "Content-Encoding: gzip"), "compressed"),
        (answer(b"x", "200 OK", "Content-Encoding: br"), "compressed"),
        (answer(b"x", length=50), "no valid HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "no valid HTTP"),
        (b"", "no valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "no valid HTTP"),
        (answer(b"", "204 No Content"), "status 204"),
        (answer(b"no", "404 Not Found"), "status 404"),
        (answer(b"", "302 Found"), "status 302"),
        (answer(b"x", "206 Partial Content"), "status 206"),
        (answer(b"x", "401 Unauthorized", "WWW-Authenticate: Basic"), "status 401"),
    ],
)  # fmt: skip
def test_answers_that_are_refused(given: bytes, message: str) -> None:
    served = serve([given], limits=FetchLimits(max_bytes=100))
    assert served.refused is not None
    assert message in str(served.refused)
    assert served.connector.asked == [PUBLIC]


def test_a_hundred_bytes_are_not_too_many() -> None:
    served = serve([answer(b"x" * 100)], limits=FetchLimits(max_bytes=100))
    assert served.content is not None


def test_endless_bodies_are_cut_off() -> None:
    sent = 0

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 1 << 30:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    served = serve(endless, limits=FetchLimits(max_bytes=1 << 20))
    assert served.refused is not None
    assert "more than" in str(served.refused)
    assert 1 << 20 < sent < 1 << 26


@pytest.mark.parametrize("where", ["head", "body", "nothing"])
def test_dripping_servers_run_out_of_time(where: str) -> None:
    dripped = 0

    async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal dripped
        if where != "nothing":
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if where == "body" else b"X: "))
        for _second in range(1000):
            if where != "nothing":
                writer.write(b"x")
                dripped += 1
            await writer.drain()
            await asyncio.sleep(0.01)

    served = serve(drip, limits=FetchLimits(max_seconds=0.3))
    assert served.refused is not None
    assert "longer than 0.3 s" in str(served.refused)
    assert served.connector.asked == [PUBLIC]
    assert where == "nothing" or dripped > 3


def test_a_slow_name_server_runs_out_of_time() -> None:
    class Slow(Resolver):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            self.asked.append((host, port))
            await asyncio.sleep(30)
            return [PUBLIC]

    served = serve([answer()], resolver=Slow(), limits=FetchLimits(max_seconds=0.1))
    assert served.refused is not None
    assert served.resolver.asked == [(HOST, 80)]
    assert served.connector.asked == []


def test_redirects_are_counted() -> None:
    served = serve([redirect("/again")], limits=FetchLimits(max_redirects=2))
    assert served.refused is not None
    assert "more than 2 times" in str(served.refused)
    assert len(served.requests) == 3


def test_a_redirect_never_leaves_tls() -> None:
    served = serve([redirect(f"http://{HOST}/b"), answer()], f"https://{HOST}/", tls=_tls())
    assert served.refused is not None
    assert "from https to http" in str(served.refused)
    assert len(served.requests) == 1


# What the operator lists.


@pytest.mark.parametrize(
    ("allow", "host", "listed"),
    [
        ([], "files.example.org", False),
        (["files.example.org"], "files.example.org", True),
        (["Files.Example.ORG"], "files.example.org", True),
        (["files.example.org"], "a.files.example.org", False),
        (["example.org"], "files.example.org", False),
        ([".example.org"], "files.example.org", True),
        ([".example.org"], "a.b.example.org", True),
        ([".example.org"], "example.org", False),
        ([".example.org"], "evilexample.org", False),
        ([".example.org"], "example.org.evil.com", False),
        ([PUBLIC], PUBLIC, True),
        ([".example.org"], PUBLIC, False),
        ([f"[{PUBLIC_6}]"], f"[{PUBLIC_6}]", True),
        (["*"], "anything.example.com", True),
    ],
)
def test_only_listed_hosts(allow: list[str], host: str, listed: bool) -> None:
    served = serve([answer()], f"http://{host}/", allow=allow)
    assert (served.content is not None) == listed
    assert bool(served.connector.asked) == listed
    assert listed or "`fetch_hosts`" in str(served.refused)


@pytest.mark.parametrize(
    "entry",
    [
        *("", ".", "..", ".org", "*.example.org", "https://example.org", "example.org/", "a b.org"),
        *(
            "example.org:443",
            "localhost",
            ".internal",
            "exámple.org",
            "127.1",
            "**",
            "example.org.",
        ),
    ],
)
def test_the_list_is_checked(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="fetch_hosts"):
        Fetcher([entry])


def test_http_must_be_allowed() -> None:
    served = serve([answer()], allow_http=False)
    assert "`fetch_http`" in str(served.refused)
    assert served.resolver.asked == []


V4 = st.ip_addresses(v=4) | st.sampled_from(FORBIDDEN_V4).map(IPv4Address)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(V4)
def test_no_embedding_of_an_address_is_public(address: IPv4Address) -> None:
    """Whatever IPv4 address hides in an IPv6 one, that one is not fetched from."""
    number = int(address)
    for embedded in (
        number,
        0xFFFF << 32 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80,
        0x20010000 << 96 | number << 64,
        0x20010000 << 96 | (number ^ 0xFFFFFFFF),
    ):
        assert not is_public(IPv6Address(embedded))
    if is_public(address):
        assert address.is_global
        assert not any((address.is_private, address.is_multicast, address.is_reserved))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", PUBLIC, PUBLIC_6, "2001:4860:4860::8888"])
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_the_pinned_connection_goes_nowhere_else() -> None:
    """Even if the HTTP library asked for another host, port or socket."""
    target = fetch._parse("https://files.example.org/")
    connector = Connector()
    pinned = fetch._Pinned(target, [IPv4Address(PUBLIC)], connector)

    async def run() -> None:
        for host, port in (("127.0.0.1", 443), (HOST, 80), (PUBLIC, 443)):
            with pytest.raises(httpcore.ConnectError):
                await pinned.connect_tcp(host, port)
        with pytest.raises(httpcore.ConnectError):
            await pinned.connect_unix_socket("/run/docker.sock")
        await pinned.sleep(0)

    asyncio.run(run())
    assert connector.asked == []


def test_the_usual_hands() -> None:
    """The resolver and the connector that are used when no test gives its own."""

    async def run() -> bytes:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = [ip_address(text) for text in await fetch._resolve("localhost", port)]
        assert found
        assert not any(is_public(address) for address in found)
        stream = await fetch._connect(IPv4Address("127.0.0.1"), port)
        greeting = await stream.read(5)
        await stream.aclose()
        server.close()
        return greeting

    assert asyncio.run(run()) == b"hello"
    assert Fetcher(["*"])._tls.check_hostname


def test_a_host_without_addresses() -> None:
    class Nowhere(Resolver):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            raise OSError("Name or service not known")

    served = serve([answer()], resolver=Nowhere())
    assert "can't be reached" in str(served.refused)
    assert served.connector.asked == []


PIECES = """
https:// http:// // / \\ ? # @ : . .. % %2f %40 %5c ; & = [ ] :: ::1 127.0.0.1 0x7f 1 443
files.example.org example.org localhost xn-- - _ ~ ! a A
"""


def _some(most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES.split()), max_size=most).map("".join)


def test_what_is_accepted_reads_the_same_to_other_parsers() -> None:
    accepted = 0

    @settings(max_examples=1500, derandomize=True, deadline=None)
    @given(
        st.sampled_from(["https://", "http://", ""]),
        _some(2),
        st.sampled_from([HOST, "EXAMPLE.org", PUBLIC, f"[{PUBLIC_6}]", ""]),
        _some(4),
    )
    def agree(scheme: str, before: str, host: str, after: str) -> None:
        nonlocal accepted
        url = scheme + before + host + after
        try:
            target = fetch._parse(url)
        except FetchRefused:
            return
        accepted += 1
        assert urlsplit(url).hostname == target.host
        assert (urlsplit(url).port or target.usual_port) == target.port
        assert httpx.URL(url).raw_host.decode().strip("[]") == target.host
        assert httpx.URL(url).userinfo == b""

    agree()
    assert accepted >= 100
