"""The guard alone, before an application that answers everything."""

import asyncio
import json

import pytest

from medseg.label.guard import Guard

TOKEN = "a-token-of-enough-letters"


async def _app(scope, receive, send):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def _ask(*, host="127.0.0.1", named="127.0.0.1:8000", token=None, path="/info/", limit=1000, body=(b"",), **headers):
    """Status and body of one request; header names have _ for -."""
    guard = Guard(_app, host=host, token=token, body_limit_bytes=limit)
    parts = [{"type": "http.request", "body": part, "more_body": at + 1 < len(body)} for at, part in enumerate(body)]
    sent = []

    async def receive():
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    sent_headers = {"host": named, **headers}
    scope = {
        "type": "http",
        "path": path,
        "raw_path": path.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in sent_headers.items()],
    }
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é", TOKEN]
)
def test_without_the_token_nobody_comes_in(given):
    headers = {"authorization": given} if given else {}
    status, body = _ask(host="0.0.0.0", token=TOKEN, **headers)
    assert status == 401
    assert "token" in json.loads(body)["detail"]


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer {TOKEN}"])
def test_with_the_token_one_comes_in(given):
    assert _ask(host="0.0.0.0", token=TOKEN, authorization=given)[0] == 200


def test_one_may_ask_whether_a_token_is_needed():
    assert _ask(host="0.0.0.0", token=TOKEN, path="/auth/")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "[", "localhost.evil:1"])
def test_a_foreign_name_for_this_machine_is_refused(host):
    assert _ask(named=host)[0] == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "file://"])
def test_a_page_of_another_server_is_refused(origin):
    assert _ask(origin=origin)[0] == 403


def test_a_page_of_this_server_is_let_in():
    assert _ask(origin="http://127.0.0.1:8000")[0] == 200


@pytest.mark.parametrize("path", ["/../x", "/a/%2e%2e/b", "/a/..%2fb", "/a/..\\b", "/a%00"])
def test_a_path_that_climbs_is_refused(path):
    assert _ask(path=path)[0] == 400


def test_a_body_within_the_limit_arrives_whole():
    assert _ask(body=(b"x" * 400, b"y" * 600), content_type="multipart/form-data; boundary=x") == (200, b"1000")


def test_a_body_beyond_the_limit_is_refused_by_its_told_length_and_by_what_comes():
    form = {"content_type": "multipart/form-data; boundary=x"}
    assert _ask(content_length="1001", **form)[0] == 413
    assert _ask(body=(b"x" * 400, b"y" * 601), **form)[0] == 413
    assert _ask(content_length="-5", **form)[0] == 400


def test_parameters_have_a_smaller_limit_than_scans():
    assert _ask(limit=10**9, content_length="2000000", content_type="application/json")[0] == 413


def test_web_sockets_are_not_answered():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(_app, host="127.0.0.1", token=None, body_limit_bytes=1)({"type": "websocket"}, None, send))
    assert sent == []
