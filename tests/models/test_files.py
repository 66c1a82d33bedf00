"""Files of models: pulled over TLS from 127.0.0.1 or from a folder, and always the right ones."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tls import Server
from tutela import models
from tutela.errors import ConfigurationError, LicenceNotAccepted, ModelDamaged, ModelMissing
from tutela.models import Card, files

MakeCard = Callable[..., Card]

DATA = bytes(range(256)) * 1000


def answer(body: bytes, *headers: str, length: int | None = None, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


def test_pulled_over_tls_and_checked(server: Server, folder: Path, make_card: MakeCard) -> None:
    card = make_card(DATA, url=server.url)
    server.answers = [answer(DATA)]
    seen: list[int] = []
    assert models.state(card, folder) == "missing"
    path = models.pull(card, folder, accept_licence="MIT", progress=seen.append)
    assert path.read_bytes() == DATA
    assert models.state(card, folder) == "pulled"
    assert models.verify(card, folder) == path
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    assert list(folder.iterdir()) == [path]
    # It is there: nothing is fetched again, and no licence is asked for again.
    assert models.pull(card, folder) == path
    assert len(server.requests) == 1


def test_redirects_are_followed(server: Server, folder: Path, make_card: MakeCard) -> None:
    card = make_card(DATA, url=server.url)
    server.answers = [answer(b"", "Location: /elsewhere", status="302 Found"), answer(DATA)]
    assert models.pull(card, folder, accept_licence="MIT").read_bytes() == DATA
    assert [request.split()[1] for request in server.requests] == [b"/tiny.onnx", b"/elsewhere"]


def test_the_proxy_of_the_environment(
    server: Server, folder: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{server.port}")
    card = make_card(DATA, url="https://models.example.org/tiny.onnx")
    server.answers = [answer(DATA)]
    assert models.pull(card, folder, accept_licence="MIT").read_bytes() == DATA
    connect, get = server.requests
    assert connect.startswith(b"CONNECT models.example.org:443")
    assert b"basic bWU6cEBzcw==" in connect.replace(b"Basic", b"basic")
    assert get.startswith(b"GET /tiny.onnx")
    assert b"authorization" not in get.lower()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (answer(DATA[:-1] + b"x"), ModelDamaged),
        (answer(DATA[:-1]), ModelDamaged),
        (answer(DATA + b"x"), ModelDamaged),
        (answer(DATA[:-1], length=len(DATA)), ModelMissing),  # cut off on the way
        (answer(b"", status="404 Not Found"), ModelMissing),
        (answer(b"", "Location: http://localhost/a", status="301 Moved"), ModelMissing),
        (answer(b"", "Location: https://[", status="301 Moved"), ModelMissing),
        (answer(b"", "Location: ", status="301 Moved"), ModelMissing),
        (b"nonsense\r\n\r\n", ModelMissing),
        (b"", ModelMissing),
    ],
)
def test_nothing_is_left_of_what_is_wrong(
    server: Server, folder: Path, make_card: MakeCard, given: bytes, error: type[Exception]
) -> None:
    card = make_card(DATA, url=server.url)
    server.answers = [given] * 10
    with pytest.raises(error, match="`--from`"):
        models.pull(card, folder, accept_licence="MIT")
    assert server.requests
    assert not list(folder.iterdir())


def test_no_more_is_read_than_the_card_says(
    server: Server, folder: Path, make_card: MakeCard
) -> None:
    card = make_card(DATA, url=server.url)
    server.answers = [answer(DATA * 200)]
    with pytest.raises(ModelDamaged, match="more than its 256000 bytes"):
        models.pull(card, folder, accept_licence="MIT")
    server.close()
    assert server.sent < len(DATA) * 100
    assert not list(folder.iterdir())


def test_endless_redirects(server: Server, folder: Path, make_card: MakeCard) -> None:
    card = make_card(DATA, url=server.url)
    server.answers = [answer(b"", f"Location: {server.url}", status="307 Again")] * 20
    with pytest.raises(ModelMissing, match="redirects more than 5 times"):
        models.pull(card, folder, accept_licence="MIT")
    assert len(server.requests) == 6


def test_a_server_that_nobody_trusts(
    server: Server, folder: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    card = make_card(DATA, url=server.url)
    server.answers = [answer(DATA)]
    with pytest.raises(ModelMissing, match="certificate"):
        models.pull(card, folder, accept_licence="MIT")
    assert not server.requests
    assert not list(folder.iterdir())


def test_a_download_that_takes_too_long(
    server: Server, folder: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_SECONDS", 0.0)
    card = make_card(DATA, url=server.url)
    server.answers = [answer(DATA)]
    with pytest.raises(ModelMissing, match="took more than"):
        models.pull(card, folder, accept_licence="MIT")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://"])
def test_a_proxy_that_is_not_usable(
    server: Server, folder: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        models.pull(make_card(DATA, url=server.url), folder, accept_licence="MIT")


@pytest.mark.parametrize("accepted", ["", "mit", "Apache-2.0"])
def test_a_licence_that_is_not_accepted(
    server: Server, folder: Path, make_card: MakeCard, accepted: str
) -> None:
    card = make_card(DATA, url=server.url)
    with pytest.raises(LicenceNotAccepted, match="has the licence MIT"):
        models.pull(card, folder, accept_licence=accepted)
    assert not server.requests
    assert not folder.exists()


def test_a_machine_without_a_network(folder: Path, tmp_path: Path, make_card: MakeCard) -> None:
    card = make_card(DATA)
    carried = tmp_path / "stick"
    carried.mkdir()
    with pytest.raises(ModelMissing, match=r"tiny\.onnx can't be read"):
        models.pull(card, folder, accept_licence="MIT", source=carried)
    (carried / card.file).write_bytes(DATA[::-1])
    with pytest.raises(ModelDamaged, match="another file"):
        models.pull(card, folder, accept_licence="MIT", source=carried)
    assert not list(folder.iterdir())
    (carried / card.file).write_bytes(DATA)
    with pytest.raises(LicenceNotAccepted):
        models.pull(card, folder, source=carried)
    for source in (carried, carried / card.file):
        path = models.pull(card, folder, accept_licence="MIT", source=source)
        assert path.read_bytes() == DATA
        path.unlink()


def test_a_file_that_was_changed_is_refused_and_can_be_got_again(
    folder: Path, tmp_path: Path, make_card: MakeCard
) -> None:
    card = make_card(DATA)
    good = tmp_path / "good"
    good.write_bytes(DATA)
    path = models.pull(card, folder, accept_licence="MIT", source=good)
    for changed in (DATA[:-1], DATA + b"\0", DATA[:50] + b"x" + DATA[51:], b""):
        path.write_bytes(changed)
        for check in (models.verify, models.read, models.load):
            with pytest.raises(ModelDamaged, match="tutela models pull tiny"):
                check(card, folder)  # type: ignore[operator]
        assert models.state(card, folder) == "pulled"
    models.pull(card, folder, accept_licence="MIT", source=good)
    assert models.read(card, folder) == DATA


def test_what_is_not_there_says_how_to_get_it(folder: Path, make_card: MakeCard) -> None:
    for where in (None, folder):
        with pytest.raises(ModelMissing, match="tutela models pull tiny"):
            models.load(make_card(DATA), where)
    bundled = make_card(DATA, url="", distribution="none-such-at-all")
    assert models.state(bundled, folder) == "missing"
    with pytest.raises(ModelMissing, match=r"pip install .*none-such-at-all"):
        models.pull(bundled, folder)


def test_the_disk_is_full(
    folder: Path, tmp_path: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired = []

    def full(_: int) -> None:
        fired.append(True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    good = tmp_path / "good"
    good.write_bytes(DATA)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelMissing, match="No space left"):
        models.pull(make_card(DATA), folder, accept_licence="MIT", source=good)
    assert fired
    assert not list(folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="a name in use can't be taken there")
def test_several_pull_at_once(folder: Path, tmp_path: Path, make_card: MakeCard) -> None:
    card = make_card(DATA)
    good = tmp_path / "good"
    good.write_bytes(DATA)

    def pull(_: int) -> Path:
        return models.pull(card, folder, accept_licence="MIT", source=good)

    with ThreadPoolExecutor(8) as pool:
        (path,) = set(pool.map(pull, range(16)))
    assert list(folder.iterdir()) == [path]
    assert models.read(card, folder) == DATA


def test_an_interrupted_pull_leaves_nothing(
    folder: Path, tmp_path: Path, make_card: MakeCard
) -> None:
    def interrupt(_: int) -> None:
        assert [path.suffix for path in folder.iterdir()] == [".part"]
        raise KeyboardInterrupt

    good = tmp_path / "good"
    good.write_bytes(DATA)
    with pytest.raises(KeyboardInterrupt):
        models.pull(make_card(DATA), folder, accept_licence="MIT", source=good, progress=interrupt)
    assert not list(folder.iterdir())


def test_the_bundled_model_is_the_one_on_its_card(folder: Path) -> None:
    card = models.find("open_nsfw")
    assert models.state(card, None) == "bundled"
    assert hashlib.sha256(models.read(card)).hexdigest() == card.sha256
    assert models.pull(card, folder) == models.verify(card)
    assert not folder.exists()
