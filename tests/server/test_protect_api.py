"""Photos under protection, over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection, select, update
from starlette.testclient import TestClient

from support import encoded, photo
from tutela.screening import Screener
from tutela.server.keys import Scope
from tutela.store.tables import entries, sealed

PHOTO = photo("coins")
BANK = "protected"


def altered() -> bytes:
    picture = PHOTO.copy()
    width, height = picture.size
    picture.paste(photo("cat").resize((width // 2, height // 2)), (width // 4, height // 4))
    return encoded(picture, quality=75)


FAKE = altered()


@pytest.fixture
def entry(client: TestClient, auth: dict[str, str]) -> Iterator[int]:
    """A protected photo, for one test."""
    made = _protect(client, auth, encoded(PHOTO), case="c-1", note="n")
    assert made.status_code == 201
    assert set(made.json()) == {"bank", "entry", "known", "review"}
    yield made.json()["entry"]
    client.delete(f"/v1/banks/{BANK}", headers=auth)


def _protect(client: TestClient, auth: dict[str, str], data: bytes, **fields: str) -> Any:
    return client.post(f"/v1/banks/{BANK}/protect", headers=auth, files={"file": data}, data=fields)


def test_nudity_is_told_in_each_form(client: TestClient, auth: dict[str, str], entry: int) -> None:
    alone = client.post("/v1/screen", headers=auth, files={"file": FAKE}).json()
    assert alone["verdict"]["action"] == "allow"
    assert [found["kind"] for found in alone["findings"]] == ["derivative", "nudity"]
    text = base64.b64encode(FAKE).decode()
    item = {"data": text, "nudity": 0.9}
    raw = {**auth, "Content-Type": "image/jpeg"}
    answers = [
        client.post("/v1/screen", headers=auth, files={"file": FAKE}, data={"nudity": "0.9"}),
        client.post("/v1/screen?nudity=0.9", headers=raw, content=FAKE),
        client.post("/v1/screen", headers=auth, json=item),
    ]
    documents = [answer.json() for answer in answers]
    batch = client.post("/v1/screen/batch", headers=auth, json={"items": [item]})
    for document in [*documents, *batch.json()["results"]]:
        assert "derivative-with-nudity" in document["verdict"]["rules"]
        assert document["findings"][0] == {"kind": "nudity", "source": "caller", "likelihood": 0.9}
        assert document["findings"][1]["entry"] == entry


@pytest.mark.parametrize("given", ["1.5", "-0.1", "nan", "much", ""])
def test_what_is_no_likelihood_is_refused(
    client: TestClient, auth: dict[str, str], given: str
) -> None:
    sent = client.post("/v1/screen", headers=auth, files={"file": FAKE}, data={"nudity": given})
    assert (sent.status_code, sent.json()["error"]["type"]) == (422, "invalid-request")
    raw = {**auth, "Content-Type": "image/jpeg"}
    assert client.post(f"/v1/screen?nudity={given}", headers=raw, content=FAKE).status_code == 422
    body = {"data": "AAAA", "nudity": given}
    assert client.post("/v1/screen", headers=auth, json=body).status_code == 422


def test_another_likelihood_is_another_request(client: TestClient, auth: dict[str, str]) -> None:
    headers = {**auth, "Idempotency-Key": "nude"}
    for nudity, status in (("0.1", 200), ("0.1", 200), ("0.9", 409)):
        sent = client.post(
            "/v1/screen", headers=headers, files={"file": FAKE}, data={"nudity": nudity}
        )
        assert sent.status_code == status


def test_what_can_not_be_protected(client: TestClient, auth: dict[str, str]) -> None:
    flat = encoded(Image.new("RGB", (300, 200), "blue"), "PNG")
    refused = _protect(client, auth, flat)
    assert (refused.status_code, refused.json()["error"]["type"]) == (422, "not-protected")
    assert refused.json()["error"]["message"].startswith("too-flat: ")
    assert _protect(client, auth, b"nothing").status_code == 422
    assert _protect(client, auth, FAKE, typo="x").status_code == 422
    assert _protect(client, auth, FAKE, expires_at="soon").status_code == 422
    twice = [("file", FAKE), ("file", FAKE)]
    sent = client.post(f"/v1/banks/{BANK}/protect", headers=auth, files=twice)
    assert sent.status_code in (400, 422)
    assert client.post(f"/v1/banks/{BANK}/protect", headers=auth).status_code in (400, 422)


def test_an_expiry_counts(client: TestClient, auth: dict[str, str]) -> None:
    made = _protect(client, auth, encoded(PHOTO), expires_at="2020-01-01T00:00:00")
    assert made.status_code == 201
    document = client.post("/v1/screen", headers=auth, files={"file": FAKE}).json()
    assert "derivative" not in {found["kind"] for found in document["findings"]}
    client.delete(f"/v1/banks/{BANK}", headers=auth)


def test_a_reviewer_decides(
    client: TestClient, auth: dict[str, str], make_key: Callable[..., dict[str, str]], entry: int
) -> None:
    screener: Screener = client.app.state.screener  # type: ignore[attr-defined]
    for account in range(screener.protection.widely_shared):
        sent = client.post(
            "/v1/screen",
            headers=auth,
            files={"file": FAKE},
            data={"context": f'{{"account": "a{account}"}}'},
        )
    assert sent.status_code == 200
    (waiting,) = client.get("/v1/aside", headers=auth).json()
    assert (waiting["entry"], waiting["why"], waiting["accounts"]) == (entry, "shared", 25)
    reader = make_key(Scope.BANKS_READ)
    path = f"/v1/aside/{entry}"
    assert client.post(path, headers=reader, json={"decision": "keep"}).status_code == 403
    assert client.post(path, headers=auth, json={"decision": "maybe"}).status_code == 422
    assert client.post(path, headers=auth, json={"decision": "keep"}).json() == {
        "entry": entry,
        "decision": "keep",
    }
    held = client.post("/v1/screen", headers=auth, files={"file": FAKE}).json()
    assert held["verdict"]["rules"] == ["derivative-of-reviewed"]
    assert client.post(path, headers=auth, json={"decision": "drop"}).status_code == 200
    gone = client.post(path, headers=auth, json={"decision": "drop"})
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "unknown-entry")


def test_a_server_that_can_not_search_them_is_not_ready(
    client: TestClient, auth: dict[str, str], entry: int
) -> None:
    screener: Screener = client.app.state.screener  # type: ignore[attr-defined]
    with screener.store.write() as connection:
        body = connection.scalar(select(sealed.c.body).where(sealed.c.entry_id == entry))
        connection.execute(update(sealed).values(body=b"damaged"))
        # As a process sees it that loads the entry now.
        _renumbered(screener, connection, entry)
    screener.matcher.refresh()
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    held = client.post("/v1/screen", headers=auth, files={"file": FAKE}).json()
    assert held["verdict"]["rules"] == ["not-examined"]
    with screener.store.write() as connection:
        connection.execute(update(sealed).values(body=body))
        _renumbered(screener, connection, entry)
    screener.matcher.refresh()
    assert client.get("/health/ready").status_code == 200


def _renumbered(screener: Screener, connection: Connection, entry: int) -> None:
    seq = screener.store.next_seq(connection)
    connection.execute(update(entries).where(entries.c.id == entry).values(seq=seq))


def test_local_fingerprints_are_not_taken(client: TestClient, auth: dict[str, str]) -> None:
    sent = client.post("/v1/screen", headers=auth, json={"signals": {"local": "00"}})
    assert (sent.status_code, sent.json()["error"]["type"]) == (422, "invalid-signal")
