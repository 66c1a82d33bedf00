"""What the API answers, to whom, in which shape."""

from __future__ import annotations

import base64
import inspect
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from support import encoded, photo
from tutela import errors as tree
from tutela.screening import Screener
from tutela.server import errors
from tutela.server.fetch import fetcher as from_settings
from tutela.server.guard import PUBLIC
from tutela.server.keys import Keys, Scope
from tutela.store.verdicts import get

COFFEE = encoded(photo("coffee"), quality=70)
ROCKET = encoded(photo("rocket"), quality=70)


def _screener(client: TestClient) -> Screener:
    found: Screener = client.app.state.screener  # type: ignore[attr-defined]
    return found


def _routes(client: TestClient) -> Iterator[tuple[str, str, Scope | None]]:
    """(method, path that fits, scope) of every route there is."""

    def walk(routes: Any) -> Iterator[APIRoute]:
        for route in routes:
            if isinstance(route, APIRoute):
                yield route
            elif hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)

    for route in walk(client.app.routes):  # type: ignore[attr-defined]
        scopes = [
            found.dependency.scope for found in route.dependencies if hasattr(found, "dependency")
        ]
        for method in route.methods:
            yield method, re.sub(r"{\w+}", "1", route.path), scopes[0] if scopes else None


@pytest.fixture
def bank(client: TestClient, auth: dict[str, str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A reviewed bank that holds the coffee photograph while the test runs."""
    name = re.sub(r"\W", "-", request.node.name)[:60]
    made = client.post("/v1/banks", json={"name": name, "tier": "reviewed"}, headers=auth)
    assert made.status_code == 201
    done = client.post(f"/v1/banks/{name}/pictures", content=COFFEE, headers=auth)
    assert done.status_code == 201
    assert len(done.json()["added"]) == 3
    yield name
    client.delete(f"/v1/banks/{name}", headers=auth)


def _is_shaped(answer: Any) -> bool:
    body = answer.json()
    return body.keys() == {"error"} and body["error"].keys() == {"type", "message", "id"}


def test_every_route_but_the_public_ones_is_closed(client: TestClient) -> None:
    found = list(_routes(client))
    assert len(found) >= 20
    for method, path, scope in found:
        if path in PUBLIC:
            assert scope is None
            assert client.request(method, path).status_code == 200
        else:
            assert scope is not None, path
    for method, path in [*((m, p) for m, p, _ in found), ("GET", "/openapi.json"), ("GET", "/no")]:
        if path in PUBLIC:
            continue
        for headers in ({}, {"Authorization": "Bearer tutela_wrong"}, {"Authorization": "Basic x"}):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert _is_shaped(answer)


def test_a_key_opens_only_what_its_scope_says(client: TestClient, make_key: Any) -> None:
    keys = {scope: make_key(scope) for scope in Scope}
    for method, path, needed in _routes(client):
        for scope, headers in keys.items():
            if needed is None or scope is needed:
                continue
            answer = client.request(method, path, headers=headers, json={})
            assert answer.status_code == 403, (method, path, scope)
            assert answer.json()["error"]["type"] == "not-in-scope"


@pytest.mark.parametrize("how", ["multipart", "json", "raw"])
def test_content_is_taken_in_each_form(
    client: TestClient, auth: dict[str, str], bank: str, how: str
) -> None:
    def send(data: bytes) -> Any:
        if how == "multipart":
            return client.post("/v1/screen", files={"file": ("x.jpg", data)}, headers=auth)
        if how == "json":
            body = {"data": base64.b64encode(data).decode()}
            return client.post("/v1/screen", json=body, headers=auth)
        kind = {"Content-Type": "image/jpeg"}
        return client.post("/v1/screen", content=data, headers={**auth, **kind})

    blocked = send(encoded(photo("coffee").resize((300, 200))))
    assert blocked.status_code == 200
    document = blocked.json()
    assert document["verdict"]["action"] == "block"
    assert bank in {finding.get("bank") for finding in document["findings"]}
    assert send(ROCKET).json()["verdict"]["action"] == "allow"
    held = send(COFFEE[:4000])
    assert held.status_code == 200
    assert held.json()["verdict"]["action"] == "hold"
    assert held.json()["error"]["type"] == "truncated"


def test_a_verdict_is_recorded_before_it_is_answered(
    client: TestClient, auth: dict[str, str]
) -> None:
    context = '{"surface": "feed", "account": "a7"}'
    answer = client.post(
        "/v1/screen", files={"file": ROCKET}, data={"context": context}, headers=auth
    )
    document = answer.json()
    assert document["context"]["surface"] == "feed"
    assert get(_screener(client).store, document["id"]) == document
    again = client.get(f"/v1/verdicts/{document['id']}", headers=auth)
    assert again.json() == document
    absent = client.get("/v1/verdicts/none", headers=auth)
    assert (absent.status_code, absent.json()["error"]["type"]) == (404, "unknown-verdict")


def test_fingerprints_are_screened_without_the_picture(
    client: TestClient, auth: dict[str, str], bank: str
) -> None:
    shown = client.post("/v1/screen", content=COFFEE, headers={**auth, "content-type": "image/x"})
    signals = shown.json()["signals"]
    for given in ({"pdq": signals["pdq"]["hex"]}, {"md5": signals["md5"]}):
        answer = client.post("/v1/screen", json={"signals": given}, headers=auth)
        assert answer.json()["verdict"]["action"] == "block"
        assert bank in {finding["bank"] for finding in answer.json()["findings"]}


def test_a_batch_is_answered_in_order(client: TestClient, auth: dict[str, str], bank: str) -> None:
    datas = [ROCKET, COFFEE, b"nothing", ROCKET]
    items = [{"data": base64.b64encode(data).decode()} for data in datas]
    answer = client.post("/v1/screen/batch", json={"items": items}, headers=auth)
    actions = [result["verdict"]["action"] for result in answer.json()["results"]]
    assert actions == ["allow", "block", "hold", "allow"]
    files = [("file", data) for data in datas]
    again = client.post("/v1/screen/batch", files=files, headers=auth)
    assert [result["verdict"]["action"] for result in again.json()["results"]] == actions
    for result in again.json()["results"]:
        assert get(_screener(client).store, result["id"]) == result


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        ({"json": {}}, 422, "invalid-request"),
        ({"json": {"data": "QQ==", "text": "x"}}, 422, "invalid-request"),
        ({"json": {"data": "!!!"}}, 422, "invalid-request"),
        ({"json": {"data": "QQ==", "surplus": 1}}, 422, "invalid-request"),
        ({"json": {"signals": {"pdq": "zz"}}}, 422, "invalid-signal"),
        ({"json": {"signals": {"photodna": "00"}}}, 422, "invalid-signal"),
        ({"json": {"url": "https://example.org/x.jpg"}}, 422, "fetch-refused"),
        (
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            422,
            "invalid-request",
        ),
        (
            {"content": b"x", "headers": {"Content-Type": "text/html"}},
            415,
            "unsupported-media-type",
        ),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad-request"),
        ({"files": {"picture": b"x"}}, 422, "invalid-request"),
        ({"files": [("file", b"x"), ("file", b"y")]}, 400, "bad-request"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    client: TestClient, auth: dict[str, str], request_: dict[str, Any], status: int, kind: str
) -> None:
    headers = {**auth, **request_.pop("headers", {})}
    answer = client.post("/v1/screen", **request_, headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert _is_shaped(answer)


def test_unknown_paths_and_methods_keep_the_shape(client: TestClient, auth: dict[str, str]) -> None:
    for method, path, status in (("GET", "/no/such", 404), ("DELETE", "/v1/screen", 405)):
        answer = client.request(method, path, headers=auth)
        assert answer.status_code == status
        assert _is_shaped(answer)


def test_a_repeat_with_its_key_gets_the_first_answer(
    client: TestClient, auth: dict[str, str], make_key: Any
) -> None:
    headers = {**auth, "Idempotency-Key": "upload-1", "Content-Type": "image/jpeg"}
    first = client.post("/v1/screen", content=ROCKET, headers=headers)
    again = client.post("/v1/screen", content=ROCKET, headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    assert "idempotent-replay" not in first.headers
    other = client.post("/v1/screen", content=COFFEE, headers=headers)
    assert (other.status_code, other.json()["error"]["type"]) == (409, "idempotency-conflict")
    stranger = {**headers, **make_key(Scope.SCREEN)}
    assert client.post("/v1/screen", content=COFFEE, headers=stranger).status_code == 200
    long = {**headers, "Idempotency-Key": "x" * 129}
    assert client.post("/v1/screen", content=ROCKET, headers=long).status_code == 400


def test_twins_at_the_same_time_get_one_verdict(client: TestClient, auth: dict[str, str]) -> None:
    headers = {**auth, "Idempotency-Key": "twins", "Content-Type": "image/jpeg"}
    found: list[str] = []

    def send() -> None:
        found.append(client.post("/v1/screen", content=ROCKET, headers=headers).json()["id"])

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_a_key_has_its_size_and_its_rate(client: TestClient, make_key: Any) -> None:
    small = make_key(Scope.SCREEN, max_bytes=1000)
    for content in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
        answer = client.post(
            "/v1/screen", content=content, headers={**small, "Content-Type": "image/jpeg"}
        )
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "too-large")
    slow = make_key(Scope.METRICS, per_minute=3)
    codes = [client.get("/v1/index", headers=slow).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    refused = client.get("/v1/index", headers=slow)
    assert 1 <= int(refused.headers["retry-after"]) <= 21


def test_a_revoked_key_opens_nothing(client: TestClient, make_key: Any) -> None:
    keys = Keys(_screener(client).store)
    headers = make_key(Scope.METRICS)
    assert client.get("/v1/index", headers=headers).status_code == 200
    keys.revoke(keys.list()[-1].name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tutela.server.guard.KNOWN_FOR", 0.0)
        assert client.get("/v1/index", headers=headers).status_code == 401


def test_a_failure_of_ours_shows_only_an_id(
    client: TestClient, auth: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("the secret 12345 of the content")

    monkeypatch.setattr(_screener(client), "judge", fail)
    answer = client.post(
        "/v1/screen", content=ROCKET, headers={**auth, "Content-Type": "image/jpeg"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal")
    assert "12345" not in answer.text
    assert "ZeroDivision" not in answer.text


def test_a_store_that_fails_is_no_verdict(
    client: TestClient, auth: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise tree.StoreError("disk full at /secret/place")

    monkeypatch.setattr(_screener(client).recorder, "record", fail)
    answer = client.post(
        "/v1/screen", content=ROCKET, headers={**auth, "Content-Type": "image/jpeg"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "unavailable")
    assert "secret" not in answer.text


def test_every_error_of_ours_has_a_status() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(tree, inspect.isclass)
        if issubclass(kind, tree.TutelaError)
    ]
    assert set(kinds) == set(errors.STATUS)


def test_uploads_never_touch_the_disk(
    client: TestClient, auth: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled = []
    original = tempfile.SpooledTemporaryFile.rollover
    monkeypatch.setattr(
        tempfile.SpooledTemporaryFile,
        "rollover",
        lambda self: (rolled.append(1), original(self))[1],
    )
    large = ROCKET + b"\0" * (3 << 20)
    answer = client.post("/v1/screen", files={"file": large}, headers=auth)
    assert answer.status_code == 200
    assert rolled == []


def test_answers_are_not_kept_or_guessed_at_by_browsers(client: TestClient) -> None:
    headers = client.get("/health/live").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_banks_are_kept_over_the_api(client: TestClient, auth: dict[str, str]) -> None:
    made = {"name": "api", "tier": "reported", "owner": "ops", "purpose": "p"}
    assert client.post("/v1/banks", json=made, headers=auth).status_code == 201
    assert client.post("/v1/banks", json=made, headers=auth).status_code == 409
    bad = client.post("/v1/banks", json={"name": "a b", "tier": "reviewed"}, headers=auth)
    assert (bad.status_code, bad.json()["error"]["type"]) == (422, "bank-error")
    added = client.post(
        "/v1/banks/api/entries",
        json={"signals": [f"md5:{'1' * 32}", f"pdq:{'12' * 32}"], "note": "n", "tags": ["t"]},
        headers=auth,
    )
    first, second = added.json()["added"]
    shown = client.get("/v1/banks/api/entries", headers=auth).json()
    assert [entry["fingerprint"] for entry in shown] == [f"md5:{'1' * 32}", f"pdq:{'12' * 32}"]
    assert shown[0]["note"] == "n"
    page = client.get(f"/v1/banks/api/entries?after={first}&limit=1", headers=auth).json()
    assert [entry["id"] for entry in page] == [second]
    changed = client.patch(
        f"/v1/banks/api/entries/{first}", json={"expires_at": "2031-01-01T00:00:00"}, headers=auth
    )
    assert changed.json()["expires_at"].startswith("2031-01-01")
    assert client.delete(f"/v1/banks/api/entries/{first}", headers=auth).status_code == 200
    assert client.delete(f"/v1/banks/api/entries/{first}", headers=auth).status_code == 404
    off = client.patch("/v1/banks/api", json={"enabled": False}, headers=auth)
    assert off.json()["enabled"] is False
    assert client.get("/v1/banks/api", headers=auth).json()["entries"] == 1
    assert "api" in {found["name"] for found in client.get("/v1/banks", headers=auth).json()}
    broken = client.post("/v1/banks/api/pictures", content=b"nothing", headers=auth)
    assert (broken.status_code, broken.json()["error"]["type"]) == (422, "unusable-content")
    assert client.delete("/v1/banks/api", headers=auth).json()["removed"] == 1
    assert client.get("/v1/banks/api", headers=auth).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/banks/odd", {"owner": None}),
        ("/v1/banks/odd", {"enabled": None}),
        ("/v1/banks/odd", {"purpose": "a\0b"}),
        ("/v1/banks/odd/entries/1", {"note": None}),
        ("/v1/banks/odd/entries/99999999999999999999", {"note": "x"}),
    ],
)
def test_a_client_s_mistake_is_never_called_ours(
    client: TestClient, auth: dict[str, str], path: str, body: dict[str, Any]
) -> None:
    client.post("/v1/banks", json={"name": "odd", "tier": "reviewed"}, headers=auth)
    answer = client.patch(path, json=body, headers=auth)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "invalid-request")
    cleared = {"category": None, "disabled_until": None}
    assert client.patch("/v1/banks/odd", json=cleared, headers=auth).status_code == 200
    for strange in ("/v1/verdicts/a%00b", "/v1/banks/a%00b"):
        assert client.get(strange, headers=auth).status_code == 404


def test_lists_are_imported_over_the_api(client: TestClient, auth: dict[str, str]) -> None:
    client.post("/v1/banks", json={"name": "lists", "tier": "reviewed"}, headers=auth)
    text = f"signal,value\nmd5,{'1' * 32}\nmd5,zz\n"
    tried = client.post("/v1/banks/lists/imports?dry_run=true", content=text, headers=auth).json()
    assert (tried["status"], tried["added"], tried["errors"]) == ("dry-run", 1, 1)
    done = client.post("/v1/banks/lists/imports", content=text, headers=auth).json()
    assert done["error_rows"] == [
        {"line": 3, "message": "a md5 fingerprint is 32 hexadecimal digits"}
    ]
    back = client.post(f"/v1/imports/{done['id']}/rollback", headers=auth)
    assert back.json()["status"] == "rolled-back"
    twice = client.post(f"/v1/imports/{done['id']}/rollback", headers=auth)
    assert (twice.status_code, twice.json()["error"]["type"]) == (409, "import-refused")
    bad = "signal,value\nmd5,d41d8cd98f00b204e9800998ecf8427e\n"
    held = client.post("/v1/banks/lists/imports", content=bad, headers=auth).json()
    assert (held["status"], held["canary_hits"][0]["canary"]) == ("quarantined", "nothing at all")
    released = client.post(f"/v1/imports/{held['id']}/release", headers=auth).json()
    assert released["status"] == "released"
    assert len(client.get("/v1/imports", headers=auth).json()) == 2
    binary = client.post("/v1/banks/lists/imports", content=b"\xff\xfe\x00", headers=auth)
    assert binary.status_code == 422


def test_an_added_entry_matches_on_the_next_request(
    client: TestClient, auth: dict[str, str]
) -> None:
    client.post("/v1/banks", json={"name": "live", "tier": "confirmed"}, headers=auth)
    value = "3c" * 32
    client.post("/v1/banks/live/entries", json={"signals": [f"pdq:{value}"]}, headers=auth)
    answer = client.post("/v1/screen", json={"signals": {"pdq": value}}, headers=auth)
    assert answer.json()["verdict"]["action"] == "block"
    client.delete("/v1/banks/live", headers=auth)
    answer = client.post("/v1/screen", json={"signals": {"pdq": value}}, headers=auth)
    assert answer.json()["verdict"]["action"] == "allow"


def test_health_and_metrics_tell_what_they_should(
    client: TestClient, auth: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}
    index = client.get("/v1/index", headers=auth).json()
    assert index["age_seconds"] < 60
    assert index["signals"]["pdq"]["entries"] >= 0
    client.post("/v1/screen", content=b"x", headers={**auth, "Content-Type": "image/jpeg"})
    text = client.get("/metrics", headers=auth).text
    assert 'tutela_verdicts_total{action="hold"}' in text
    assert 'tutela_rejected_total{reason="unknown-type"}' in text
    assert 'route="/v1/screen"' in text

    def fail(*_: object) -> None:
        raise tree.StoreError("gone")

    monkeypatch.setattr(_screener(client).matcher, "refresh", fail)
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200


def test_the_description_has_every_route_and_examples(
    client: TestClient, auth: dict[str, str]
) -> None:
    described = client.get("/openapi.json", headers=auth).json()
    for method, path, _ in _routes(client):
        shown = next(known for known in described["paths"] if re.sub(r"{\w+}", "1", known) == path)
        assert method.lower() in described["paths"][shown]
    screen = described["paths"]["/v1/screen"]["post"]
    assert screen["responses"]["200"]["content"]["application/json"]["example"]["verdict"]
    assert screen["requestBody"]["content"]["application/json"]["examples"]


def test_too_many_bytes_at_once_are_turned_away(
    client: TestClient, auth: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = client.app.middleware_stack  # type: ignore[attr-defined]
    while not hasattr(guard, "_in_flight"):
        guard = guard.app
    monkeypatch.setattr(guard, "_in_flight", 512 << 20)
    answer = client.post(
        "/v1/screen", content=ROCKET, headers={**auth, "Content-Type": "image/jpeg"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded")


def test_a_url_is_fetched_only_from_listed_hosts(client: TestClient) -> None:
    from tutela.settings import load

    fetcher = from_settings(load("x", fetch_hosts=("cdn.example.org",)))
    assert fetcher is not None
    assert fetcher.allow == ("cdn.example.org",)
    assert fetcher.ports == frozenset({443})
    assert from_settings(load("x")) is None
