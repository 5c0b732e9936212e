"""Weights that a bundle does not carry but names: ``large_files.yml``, as MONAI's model zoo writes it."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import Field

from medseg.data import OnBytes, fetch_file
from medseg.errors import BundleError
from medseg.settings import Settings

__all__ = ["LARGE_FILES", "LargeFile", "download_large_files", "large_files"]

LARGE_FILES = "large_files.yml"


class LargeFile(Settings):
    """One file that is fetched: where it belongs in the bundle, its address, its checksum, its licence."""

    path: str
    url: str
    hash_val: str = Field(min_length=32, pattern="^[0-9a-fA-F]*$")
    hash_type: Literal["md5", "sha256"]
    licence: str = ""


def large_files(folder: Path) -> tuple[LargeFile, ...]:
    """What a bundle names in ``large_files.yml``; nothing where it has no such file.

    Raises:
        BundleError: the file cannot be read, or a place in it lies outside the bundle.
        SettingsError: an entry lacks its checksum, or has a value that makes no sense.
    """
    path = folder / LARGE_FILES
    if not path.is_file():
        return ()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{LARGE_FILES} of {folder.name} cannot be read: {' '.join(str(error).split())}") from error
    entries = content.get("large_files") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise BundleError(f"{LARGE_FILES} of {folder.name} holds no list large_files: correct it.")
    found = tuple(_large_file(entry, folder) for entry in entries)
    for file in found:
        place = PurePosixPath(file.path)
        is_elsewhere = not (folder / place).parent.resolve().is_relative_to(folder.resolve())  # through a link
        if place.is_absolute() or ".." in place.parts or is_elsewhere:
            raise BundleError(f"{LARGE_FILES} of {folder.name} names {file.path}, which lies outside the bundle.")
    return found


def download_large_files(folder: Path, *, on_bytes: OnBytes = lambda done, total: None) -> tuple[Path, ...]:
    """Fetch what is not there yet, checked; a transfer that broke off is gone on with.

    Raises:
        BundleError: the bundle names nothing to fetch.
        DownloadError: an address cannot be reached, or a checksum is wrong.
        OutputError: the bundle's folder cannot be written to.
    """
    files = large_files(folder)
    if not files:
        raise BundleError(f"bundle {folder.name} names no files to fetch: it has no {LARGE_FILES}.")
    for file in files:
        fetch_file(file.url, folder / file.path, digest=file.hash_val, algorithm=file.hash_type, on_bytes=on_bytes)
    return tuple(folder / file.path for file in files)


def _large_file(entry: Any, folder: Path) -> LargeFile:
    if not isinstance(entry, Mapping):
        raise BundleError(f"{LARGE_FILES} of {folder.name} holds {entry!r}: path, url and checksum were expected.")
    if not entry.get("hash_val"):
        raise BundleError(
            f"{LARGE_FILES} of {folder.name} gives no checksum for {entry.get('path')}: it is not fetched without one."
        )
    return LargeFile.from_mapping(dict(entry), source=f"{folder.name}: {LARGE_FILES}")
