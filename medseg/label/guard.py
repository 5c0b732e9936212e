"""The door of the server: who comes in, from where, with how much.

MONAI Label answers everybody, whatever web page sent them. This layer stands before it::

    a name of this server in Host      else 400: a page elsewhere may have pointed its own name here
    no Origin but the server's own     else 403: pages of other servers are not let in, nor their forms
    the token, where there is one      else 401
    a body within the limit            else 413
    a path without ..                  else 400
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from medseg.label.launch import is_loopback

__all__ = ["Guard"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON_LIMIT_BYTES = 1_000_000
"""Of a body in JSON: parameters, no images."""

READ_AWAY_BYTES = 16_000_000
READ_AWAY_S = 2.0
"""Of a refused body, as much as is read, and as long as is waited for more of it."""

OPEN_PATHS = ("/auth/", "/auth/token")
"""Where clients ask whether a token is needed, and exchange a password for it."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class _TooLargeError(Exception):
    """More was sent than is taken."""


@dataclass(frozen=True)
class _Refusal:
    status: int
    detail: str


class Guard:
    """An ASGI application that lets through to another only what may come in.

    Args:
        host: the address listened at; where only this machine reaches it, other names of the server are refused.
        token: what ``Authorization: Bearer`` must hold; None lets everybody in who reaches the address.
    """

    def __init__(self, app: App, *, host: str, token: str | None, body_limit_bytes: int) -> None:
        self._app = app
        self._host = host
        self._token = token.encode() if token is not None else None
        self._body_limit = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets
        refusal = self._refusal(scope)
        if refusal is not None:
            await _read_away(receive)
            await _answer(send, refusal)
            return
        has_begun = False

        async def sent(message: MutableMapping[str, Any]) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, _bounded(receive, self._limit_of(scope)), sent)
        except _TooLargeError:
            if not has_begun:
                await _answer(send, _too_large(self._limit_of(scope)))

    def _refusal(self, scope: Scope) -> _Refusal | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin-1")
        name = _host_name(host)
        if is_loopback(self._host) and name not in (*LOCAL_NAMES, self._host):
            return _Refusal(400, "this server goes by the names 127.0.0.1 and localhost only.")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc.casefold() != host.casefold():
            return _Refusal(403, "pages of other servers may not use this one.")
        path = unquote(scope.get("raw_path", b"").decode("latin-1") or scope["path"])
        if ".." in path.replace("\\", "/").split("/") or "\0" in path:
            return _Refusal(400, "a path without .. was expected.")
        if self._token is not None and scope["path"] not in OPEN_PATHS and not self._is_known(headers):
            return _Refusal(401, "a token is needed: send it as Authorization: Bearer TOKEN.")
        length = headers.get(b"content-length", b"0").decode("latin-1")
        if not length.isdigit():
            return _Refusal(400, "Content-Length must be a number.")
        limit = self._limit_of(scope)
        return _too_large(limit) if int(length) > limit else None

    def _is_known(self, headers: MutableMapping[bytes, bytes]) -> bool:
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        is_same = hmac.compare_digest(given.strip(), self._token or b"")
        return is_same and kind.lower() == b"bearer"

    def _limit_of(self, scope: Scope) -> int:
        headers = {name.lower(): value for name, value in scope["headers"]}
        is_form = headers.get(b"content-type", b"").lower().startswith(b"multipart/")
        is_dicom = scope["path"].startswith("/proxy/dicom")
        return self._body_limit if is_form or is_dicom else JSON_LIMIT_BYTES


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, f"more than {limit} bytes were sent: send less.")


async def _read_away(receive: Receive) -> None:
    """Read what is being sent, up to a limit: clients listen to an answer only when they have said what they wanted."""
    so_far, more = 0, True
    while more and so_far < READ_AWAY_BYTES:
        try:
            message = await asyncio.wait_for(receive(), READ_AWAY_S)
        except TimeoutError:
            return
        so_far += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def _bounded(receive: Receive, limit: int) -> Receive:
    """The same messages, as long as the body stays within the limit: its length may not have been told."""
    so_far = 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal so_far
        message = await receive()
        so_far += len(message.get("body", b""))
        if so_far > limit:
            raise _TooLargeError
        return message

    return bounded


async def _answer(send: Send, refusal: _Refusal) -> None:
    body = json.dumps({"detail": refusal.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers.append((b"connection", b"close"))  # what is left of the body is not waited for
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
