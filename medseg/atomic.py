"""Writing a file so that it is there completely or not at all.

In: the path a person asked for. Out: a temporary path beside it to write to; when the ``with`` block ends
well the file takes its name, and when it ends in any other way nothing is left behind::

    with atomic_write(path, overwrite=False) as temporary:
        temporary.write_text("…")
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import OutputError

__all__ = ["atomic_write", "check_target", "flush_folder", "make_folder", "without_empty_folders"]

ADVICE = {
    errno.EACCES: "no permission to write there. Choose another folder or change its permissions.",
    errno.EPERM: "no permission to write there. Choose another folder or change its permissions.",
    errno.EROFS: "the file system is read-only. Choose another folder.",
    errno.ENOSPC: "the disk is full. Free some space or choose another disk.",
    errno.EDQUOT: "your disk quota is used up. Free some space or choose another disk.",
    errno.EFBIG: "the file is larger than this disk or account allows. Raise the limit or choose another disk.",
    errno.ENOENT: "its folder does not exist. Create the folder first.",
    errno.ENOTDIR: "a part of the path is a file, not a folder. Choose another path.",
    errno.ENAMETOOLONG: "the name is too long for this disk. Choose a shorter one.",
}


@contextmanager
def atomic_write(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary path in the same folder; it takes the name ``path`` when the block ends well.

    The temporary name is hidden and has no image's suffix: what a killed process leaves is never read as a result.

    The file and its folder are flushed to the disk before the block returns. Without ``overwrite`` a file that
    another process writes meanwhile is not replaced either.

    Raises:
        OutputError: the file exists, or the place cannot be written to; nothing is left behind.
    """
    check_target(path, overwrite=overwrite)
    temporary = path.parent / f".{secrets.token_hex(6)}.partial"
    try:
        yield temporary
        _flush(temporary)
        _take_name(temporary, path, overwrite=overwrite)
        flush_folder(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """A folder for results, and those above it, where they are not there yet.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}): choose another folder.") from error


@contextmanager
def without_empty_folders(folder: Path) -> Iterator[None]:
    """Within, ``folder`` and those above it may be made; of those made, the empty ones are gone after the block.

    For work that makes its folder first and may fail before anything lies in it.
    """
    absent = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    try:
        yield
    finally:
        with suppress(OSError):  # one that is not empty, or is a file, and all above it
            for one in absent:
                one.rmdir()


def check_target(path: Path, *, overwrite: bool) -> None:
    """Nothing, if a file may be written at ``path``; call it before the work whose result is to land there.

    Raises:
        OutputError: the file exists and ``overwrite`` is false, or its folder is missing or not writable.
    """
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder: the path of a file was expected. Add a file name.")
        if os.path.lexists(path) and not overwrite:  # a link that leads nowhere holds the name as well
            raise _exists(path)
        if not path.parent.exists():
            raise _output_error(path, FileNotFoundError(errno.ENOENT, "absent"))
        if not path.parent.is_dir():
            raise _output_error(path, NotADirectoryError(errno.ENOTDIR, "a file"))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise _output_error(path, PermissionError(errno.EACCES, "not writable"))
    except OSError as error:
        raise _output_error(path, error) from error


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and renaming is flushed by the system
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems know no flushing of folders; the file is safe
            raise
    finally:
        os.close(handle)


def _take_name(temporary: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike renaming, this fails when the name was taken meanwhile
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError:  # FAT and some network drives know no links: the check leaves a gap of microseconds
        if path.exists():
            raise _exists(path) from None
        temporary.rename(path)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists already and was not replaced. Use --overwrite, or choose another path.")


def _output_error(path: Path, error: OSError) -> OutputError:
    advice = ADVICE.get(error.errno or 0, f"{error.strerror or error}. Choose another path.")
    return OutputError(f"{path} cannot be written: {advice}")
