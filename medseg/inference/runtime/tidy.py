"""The cache of compiled networks, tidied when something is added: half a gigabyte each, which nobody else removes."""

import glob
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["UNFINISHED", "tidy"]

UNFINISHED: Final = "unfinished-"
"""How the names of folders begin in which something is being made."""

DEAD_AFTER_S: Final = 24 * 3600
"""Whoever makes something takes minutes: a folder this old was left by a process that was killed."""


def tidy(cache: Path, *, name: str, revision: int) -> None:
    """Remove what killed processes left unfinished, and what earlier revisions kept under a name.

    Args:
        name: of the files, up to the number of the revision.
        revision: the one that is kept. Other versions of a runtime have other names, and their files stay.
    """
    with suppress(OSError):
        for folder in cache.glob(f"{UNFINISHED}*"):
            if time.time() - folder.stat().st_mtime > DEAD_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
        for path in [*cache.glob(f"{glob.escape(name)}*"), *(cache / "compiled").glob(f"{glob.escape(name)}*")]:
            number = path.name.removeprefix(name).partition(".")[0].partition("_")[0]
            if number.isdigit() and int(number) < revision:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
