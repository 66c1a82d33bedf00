"""Cards of made-up models, a folder for them, and a server that has them."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tls
from tutela import models
from tutela.models import Card


@pytest.fixture
def make_card() -> Callable[..., Card]:
    """Makes a card of a file with these bytes."""
    shipped = models.find("yunet")

    def make(data: bytes, **given: object) -> Card:
        digest = hashlib.sha256(data).hexdigest()
        card = replace(
            shipped, name="tiny", file="tiny.onnx", sha256=digest, bytes=len(data), licence="MIT"
        )
        return replace(card, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of models that were pulled; what was loaded from it is closed again."""
    yield tmp_path / "models"
    models.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    tls.certify(path)
    return path


@pytest.fixture
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tls.Server]:
    """A server that the environment says is to be trusted."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = tls.Server(context)
    yield made
    made.close()
