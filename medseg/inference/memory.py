"""Memory that is kept between layers and windows instead of being returned to the system.

A network asks for the same large activations again and again. glibc hands each one back to the kernel when it
is freed, and the kernel clears every page before lending it again: half of the time of a 3D network on a CPU.
"""

import ctypes
import sys
from collections.abc import Callable

__all__ = ["keep_freed_memory", "keep_memory_of_windows", "keep_only_for_torch"]

# Parameter numbers of mallopt(3), in <malloc.h>.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8

LARGEST_INT = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20
RETURNED_BYTES = 8 * 2**20
"""Blocks from this size on go back to the system at once where that is wanted: volumes and windows."""


_asked: list[bool] = []
"""Whether the process asked for its setting, and got it."""


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed blocks of any size; True where it agreed, False on other C libraries.

    A setting of the whole process, for training; the library does not call it unasked.
    """
    _asked[:] = [_keep()]
    return _asked[0]


def keep_memory_of_windows() -> bool:
    """The same while torch computes windows, and not while scans are read, prepared and shown; for the command line.

    All threads share one place to take memory from: what one frees another can use, and all of it can be given back.
    """
    _asked[:] = [_give_back() and _share_among_threads()]
    return _asked[0]


def keep_only_for_torch(*, computes: bool) -> None:
    """In a process that keeps freed memory: go on where torch ``computes`` windows, give it back where it does not.

    Another runtime has memory of its own, and the picture of a long scan needs room: beside them what torch and the
    transforms freed would lie unused.
    """
    if not any(_asked):
        return
    if computes:
        _keep()
    elif _give_back():
        trim = _of_the_c_library("malloc_trim")
        if trim is not None:
            trim(0)


def _keep() -> bool:
    return _set(largest_kept=LARGEST_INT, trimmed_from=LARGEST_INT)


def _give_back() -> bool:
    return _set(largest_kept=RETURNED_BYTES, trimmed_from=TOP_PAD_BYTES)


def _share_among_threads() -> bool:
    mallopt = _of_the_c_library("mallopt")
    return mallopt is not None and bool(mallopt(M_ARENA_MAX, 1))


def _set(*, largest_kept: int, trimmed_from: int) -> bool:
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None:
        return False
    agreed = [
        mallopt(M_MMAP_THRESHOLD, largest_kept),
        mallopt(M_TRIM_THRESHOLD, trimmed_from),
        mallopt(M_TOP_PAD, TOP_PAD_BYTES),
    ]
    return all(agreed)


def _of_the_c_library(name: str) -> Callable[..., int] | None:
    """A function of glibc; none elsewhere, musl has neither of those wanted here."""
    if sys.platform != "linux":
        return None
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None
    return function
