"""One published file, fetched with a checksum; what a broken connection left is gone on with.

In: an address and the checksum its publisher states. Out: the whole file under its name, or no file of that name:
until the checksum has been seen to be right, what has come lies beside it under a name of its own.
"""

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Literal

from filelock import FileLock, Timeout

from medseg.errors import DownloadError, OutputError

__all__ = ["Algorithm", "OnBytes", "fetch_file", "has_digest"]

Algorithm = Literal["md5", "sha256"]
OnBytes = Callable[[int, int], None]
"""Called with the bytes that are there and, where the server says so, how many there will be (else 0)."""

ALLOWED = ("https://", "http://")
CHUNK_BYTES = 2**20
TIMEOUT_S = 30
RANGE_REFUSED = 416

SPARE_BYTES = 2**30
"""What stays free of the disk while a file comes whose length the server does not state: it may never end."""


GIGABYTES_FROM = 10**8


def fetch_file(
    url: str, target: Path, *, digest: str, algorithm: Algorithm, on_bytes: OnBytes = lambda done, total: None
) -> None:
    """The file behind ``url`` at ``target``; one that is there with the right checksum is not fetched again.

    Raises:
        DownloadError: the address is not http(s) or cannot be reached (a part is kept, to go on with), the
            checksum is wrong (nothing is kept), or another process is fetching the file.
        OutputError: the folder of ``target`` cannot be written to, or the disk is full or would be.
    """
    if not url.startswith(ALLOWED):
        raise DownloadError(f"{url} is no http or https address: correct it where it is written.")
    if has_digest(target, digest, algorithm):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be made ({error.strerror}): choose another folder.") from error
    part = target.with_name(f".{target.name}.{digest[:12]}.part")
    try:
        with FileLock(_lock_of(part), timeout=0):
            if not has_digest(target, digest, algorithm):  # another process may have brought it by now
                _fetch(url, part, digest=digest, algorithm=algorithm, on_bytes=on_bytes)
                part.replace(target)
    except Timeout as error:
        raise DownloadError(f"{target.name} is being fetched by another process: wait until that one ends.") from error
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url} cannot be fetched: {_said(error)}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise DownloadError(
            f"{url} cannot be fetched ({reason}): check the connection and try again, it goes on where it stopped."
        ) from error
    except OSError as error:
        raise OutputError(
            f"{target.name} cannot be written ({error.strerror}): free space or choose another place."
        ) from error


def _said(error: urllib.error.HTTPError) -> str:
    """What a server answered in the place of the file, and what to do."""
    answer = f"the server answers {error.code} {' '.join(str(error.reason).split())}"
    if error.code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        return f"{answer}: it wants a login, so fetch the file by other means and put it in its place."
    if error.code in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
        return f"{answer}: the file is no longer there, so correct the address where it is written."
    return f"{answer}: try again later, it goes on where it stopped."


def _fetch(url: str, part: Path, *, digest: str, algorithm: Algorithm, on_bytes: OnBytes) -> None:
    """All of the file, with the right checksum, as ``part``."""
    _forget_unless_ours(part)
    goes_on = _transfer(url, part, on_bytes)
    found = _digest(part, algorithm)
    if found != digest.lower() and goes_on:  # the beginning was another file's, or the server sent another piece
        part.unlink()
        _transfer(url, part, on_bytes)
        found = _digest(part, algorithm)
    if found != digest.lower():
        part.unlink()
        raise DownloadError(
            f"{url} has {algorithm.upper()} {found}, {digest} was expected: the file is damaged or was changed."
        )


def _lock_of(part: Path) -> Path:
    """What one process at a time holds: two would write into one part. It lies where nobody takes it for a result."""
    name = hashlib.sha256(str(part.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"medseg-{getattr(os, 'getuid', int)()}-{name}.lock"


def has_digest(path: Path, digest: str, algorithm: Algorithm) -> bool:
    """Whether a file is there and has this checksum."""
    return path.is_file() and _digest(path, algorithm) == digest.lower()


def _digest(path: Path, algorithm: Algorithm) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()  # MD5 guards against damage only


def _forget_unless_ours(part: Path) -> None:
    """Remove a link in the place of the part: who made the folder would have another file written through it."""
    if part.is_symlink() or (part.is_file() and part.stat().st_nlink > 1):
        part.unlink()


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise OutputError(
            f"{part.parent} has {_size(free)} free, and {_size(needed)} are needed: free space or choose another place."
        )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= GIGABYTES_FROM else f"{n_bytes / 1e6:.1f} MB"


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to anything but http and https: urllib would go on by FTP."""

    def redirect_request(  # noqa: PLR0917  as urllib calls it
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith(ALLOWED):
            raise urllib.error.URLError(f"it leads to {newurl}, which is no http or https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _transfer(url: str, part: Path, on_bytes: OnBytes) -> bool:
    """Append to ``part`` what is missing of the file; a server that cannot do so sends all of it anew.

    Returns whether what was there already was kept.
    """
    begun = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "medseg"} | ({"Range": f"bytes={begun}-"} if begun else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  http(s) was checked
    try:
        response = urllib.request.build_opener(_OnlyHttp).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_REFUSED or not begun:
            raise
        part.unlink()  # all of it was there already, or it is longer than the file: begin anew
        return _transfer(url, part, on_bytes)
    with response:
        goes_on: bool = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = begun if goes_on else 0
        length = int(response.headers.get("Content-Length") or 0)
        total = done + length if length else 0
        _check_room(part, length)
        with part.open("ab" if goes_on else "wb") as stream:
            while chunk := _received(response, at_most=total - done if total else CHUNK_BYTES):
                stream.write(chunk)
                done += len(chunk)
                on_bytes(done, total)
                if not total and shutil.disk_usage(part.parent).free < SPARE_BYTES:
                    part.unlink()
                    raise OutputError(
                        f"{url} states no length, and after {done / 1e9:.1f} GB the disk has less than "
                        f"{SPARE_BYTES / 1e9:.0f} GB free: nothing was kept. Free space, or fetch it by other means."
                    )
        if total and done < total:
            raise ConnectionError(f"the connection ended after {done} of {total} bytes")
    return goes_on


def _received(response: http.client.HTTPResponse, *, at_most: int) -> bytes:
    """What has come by now, so that a connection that stalls or breaks loses nothing that it brought."""
    try:
        return response.read1(min(CHUNK_BYTES, at_most))
    except TimeoutError:
        raise
    except OSError as error:  # a connection can fail in more ways than a ConnectionError: a route, TLS
        raise ConnectionError(str(error)) from error
