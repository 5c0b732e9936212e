"""Fetching published data sets: one archive, checked against its publisher's checksum, and single files out of it."""

import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medseg.atomic import atomic_write
from medseg.data.manifest import DataManifest
from medseg.errors import DataError, DownloadError, OutputError

__all__ = ["fetch_archive", "fetch_case"]

CHUNK_BYTES = 2**20
TIMEOUT_S = 30

OnBytes = Callable[[int, int], None]


def fetch_case(
    manifest: DataManifest, case_id: str, folder: Path, *, on_bytes: OnBytes = lambda done, total: None
) -> tuple[Path, Path]:
    """Image and reference labels of one case below ``folder``, fetched unless they are there with the right hash.

    Raises:
        DataError: the manifest has no such case or no public archive.
        DownloadError: the address cannot be reached, or a checksum is wrong.
        OutputError: the folder cannot be written to.
    """
    if manifest.archive is None or case_id not in manifest.cases:
        raise DataError(f"{manifest.name} has no public archive, or no case {case_id!r}: choose another data set.")
    hashes = manifest.cases[case_id]
    wanted = {
        manifest.image.format(case_id=case_id, channel=manifest.channels[0].name): hashes.image_sha256,
        manifest.label.format(case_id=case_id): hashes.label_sha256,
    }
    targets = {name: folder / manifest.folder / name for name in wanted}
    if not all(_has_hash(targets[name], sha256) for name, sha256 in wanted.items()):
        archive = folder / PurePosixPath(manifest.archive.url).name
        fetch_archive(manifest.archive.url, archive, md5=manifest.archive.md5, on_bytes=on_bytes)
        for name, sha256 in wanted.items():
            _extract(archive, f"{manifest.folder}/{name}", targets[name], sha256=sha256)
    image, label = targets.values()
    return image, label


def fetch_archive(url: str, target: Path, *, md5: str, on_bytes: OnBytes = lambda done, total: None) -> None:
    """The file behind ``url`` at ``target``; one that is there with the right checksum is not fetched again.

    MD5 guards against damage and is what the publisher states; single cases are checked by SHA-256 besides.

    Raises:
        DownloadError: the address is not http(s) or cannot be reached, or the checksum is wrong; nothing is kept.
        OutputError: the folder of ``target`` cannot be written to.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url} is no http or https address: correct it in the manifest.")
    if target.is_file() and _md5(target) == md5:
        return
    _make_folder(target.parent)
    with atomic_write(target, overwrite=True) as temporary:
        try:
            _transfer(url, temporary, on_bytes)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise DownloadError(f"{url} cannot be fetched ({reason}): check the connection and try again.") from error
        found = _md5(temporary)
        if found != md5:
            raise DownloadError(f"{url} has MD5 {found}, {md5} was expected: the file is damaged or was changed.")


def _transfer(url: str, target: Path, on_bytes: OnBytes) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "medseg"})  # noqa: S310  http(s) was checked
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, target.open("wb") as stream:  # noqa: S310
        total = int(response.headers.get("Content-Length") or 0)
        done = 0
        while chunk := response.read(CHUNK_BYTES):
            stream.write(chunk)
            done += len(chunk)
            on_bytes(done, total)


def _extract(archive: Path, member: str, target: Path, *, sha256: str) -> None:
    """One member of a tar by its exact name: no path out of the archive is ever used."""
    _make_folder(target.parent)
    try:
        with tarfile.open(archive) as tar:
            source = tar.extractfile(member)
            if source is None:
                raise KeyError(member)
            with atomic_write(target, overwrite=True) as temporary:
                with temporary.open("wb") as stream:
                    shutil.copyfileobj(source, stream)
                if not _has_hash(temporary, sha256):
                    raise DownloadError(
                        f"{member} in {archive.name} is not the file the manifest describes: fetch it again."
                    )
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise DownloadError(f"{archive.name} has no readable {member}: delete it and fetch it again.") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}): choose another folder.") from error


def _has_hash(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
