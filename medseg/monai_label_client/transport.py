"""HTTP by Python's own means: a request with its token, an answer in JSON, in parts or as a file."""

import http.client
import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from medseg.atomic import atomic_write
from medseg.errors import ServerError

__all__ = [
    "NotFoundError",
    "OnBytes",
    "Part",
    "Transport",
    "as_mapping",
    "form",
    "parsed",
    "parts_of",
    "safe_name",
    "suffix_of",
]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SAFE_NAME = re.compile(r"[^A-Za-z0-9._-]+")
ANSWER_LIMIT = 64_000_000
"""Bytes of an answer in JSON or text; images are written to files as they come."""

SHOWN_CHARACTERS = 300
CHUNK = 1 << 18
"""Bytes of a file at most between two reports of how far it is."""

OnBytes = Callable[[int, int | None], object]
"""Told how many bytes of how many have come; None where the server does not say. What it raises ends the transfer."""

Part = tuple[str, bytes]
"""A file name, empty where there is none, and what is in the part."""


class NotFoundError(ServerError):
    """The server has no such thing."""


class Transport:
    """One server's address, token and patience.

    Raises:
        ServerError: the address is none of HTTP. Every method raises it when the server cannot be reached, refuses
            (with its own words), or answers with something else.
    """

    def __init__(self, url: str, *, token: str | None, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerError(f"{url!r} is no address of a server: http://HOST:PORT was expected.")
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        handlers: list[urllib.request.BaseHandler] = [_NoRedirection()]
        if parts.hostname in LOOPBACK:  # a proxy of the institution does not know this machine's own servers
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def mapping(self, method: str, path: str, **request: Any) -> Mapping[str, Any]:
        """Named values in JSON; ``request`` as in ``answer``, or ``json_body``."""
        return as_mapping(self.json(method, path, **request), path)

    def json(self, method: str, path: str, **request: Any) -> Any:
        """Any value in JSON."""
        json_body = request.pop("json_body", None)
        if json_body is not None:
            request |= {"body": json.dumps(json_body).encode(), "content_type": "application/json"}
        with self.answer(method, path, **request) as answer:
            return parsed(answer.read(ANSWER_LIMIT))

    def text(self, path: str, *, query: Mapping[str, str]) -> str:
        """Plain text."""
        with self.answer("GET", path, query=query) as answer:
            return str(answer.read(ANSWER_LIMIT).decode("utf-8", "replace"))

    def download(
        self,
        path: str,
        query: Mapping[str, str],
        stem: Path,
        *,
        timeout_s: float,
        on_bytes: OnBytes | None = None,
    ) -> Path:
        """A file, written beside ``stem`` with the suffix that the server gives it; none where the transfer ends early.

        Raises:
            ServerError: as everywhere, or the transfer broke off.
        """
        with self.answer("GET", path, query=query, timeout_s=timeout_s) as answer:
            header = Message()
            header["content-disposition"] = answer.headers.get("content-disposition", "")
            target = stem.with_name(stem.name + suffix_of(header.get_filename() or ""))
            with atomic_write(target, overwrite=True) as temporary, temporary.open("wb") as file:
                self._receive(answer, file, on_bytes)
        return target

    @contextmanager
    def answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Any]:
        """The answer to one request, open to be read."""
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url, data=body, method=method)  # noqa: S310  http(s) only, see __init__
        if content_type:
            request.add_header("Content-Type", content_type)
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=timeout_s or self._timeout_s) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            kind = NotFoundError if error.code == 404 else ServerError
            raise kind(f"{self.url} refused {method} {path} ({error.code}): {_reason(error)}") from error
        except TimeoutError as error:
            raise ServerError(f"{self.url} gave no answer to {method} {path} in time: try again later.") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            raise ServerError(f"{self.url} cannot be reached ({reason}): is the server running there?") from error

    def _receive(self, answer: Any, file: BinaryIO, on_bytes: OnBytes | None) -> None:
        """The whole body into the file; a connection's errors are told here, where they are none of the disk's."""
        length = answer.headers.get("content-length")
        total = int(length) if length else None
        done = 0
        while True:
            try:
                chunk = answer.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise ServerError(f"{self.url} broke the transfer off ({error}): try again.") from error
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            if on_bytes is not None:
                on_bytes(done, total)
        if total is not None and done != total:
            raise ServerError(f"{self.url} broke the transfer off after {done} of {total} bytes: try again.")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """What is sent to a server, scans and a token, goes nowhere else."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:  # noqa: ARG002  urllib's signature
        return None


def form(fields: Mapping[str, str], files: Mapping[str, Part]) -> tuple[bytes, str]:
    """A multipart form and its content type."""
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    for name, value in fields.items():
        lines += [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode(), value.encode()]
        lines.append(b"\r\n")
    for name, (file_name, content) in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{safe_name(file_name)}"\r\n'
        lines += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n"]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def parts_of(content_type: str, body: bytes) -> dict[str, Part]:
    """The parts of a multipart answer by name."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        raise ServerError(f"the server answered with {header.get_content_type()}: labels in parts were expected.")
    parts: dict[str, Part] = {}
    for section in (b"\r\n" + body).split(f"\r\n--{boundary}".encode())[1:-1]:
        head, _, content = section.partition(b"\r\n\r\n")
        described = Message()
        for line in head.decode("utf-8", "replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                described[key.strip()] = value.strip()
        parts[str(described.get_param("name", header="content-disposition"))] = (
            str(described.get_filename() or ""),
            content,
        )
    return parts


def parsed(content: bytes) -> Any:
    """What JSON says.

    Raises:
        ServerError: it is none.
    """
    try:
        return json.loads(content) if content else {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ServerError("the server's answer is no JSON: is it a MONAI Label server?") from error


def as_mapping(value: Any, path: str) -> Mapping[str, Any]:
    """The value, if it is named values.

    Raises:
        ServerError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise ServerError(f"the server's answer to {path} is a {type(value).__name__}: named values were expected.")
    return value


def safe_name(name: str) -> str:
    """A name that is one file's, whatever the server called it."""
    return SAFE_NAME.sub("_", name).lstrip(".") or "image"


def suffix_of(file_name: str) -> str:
    """The suffix of what the server sends, ``.nii.gz`` and ``.seg.nrrd`` as one."""
    name = safe_name(file_name).lower()
    double = next((end for end in (".nii.gz", ".seg.nrrd") if name.endswith(end)), None)
    return double or Path(name).suffix or ".nii.gz"


def _reason(error: urllib.error.HTTPError) -> str:
    text = error.read(ANSWER_LIMIT).decode("utf-8", "replace")
    try:
        detail = json.loads(text).get("detail", text)
    except (json.JSONDecodeError, AttributeError):
        detail = text or error.reason
    return " ".join(str(detail).split())[:SHOWN_CHARACTERS]
