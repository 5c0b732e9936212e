"""Memory that is kept between layers and windows instead of being returned to the system.

A network asks for the same large activations again and again. glibc hands each one back to the kernel when it
is freed, and the kernel clears every page before lending it again: half of the time of a 3D network on a CPU.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameter numbers of mallopt(3), in <malloc.h>.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3

LARGEST_INT = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed blocks of any size; True where it agreed, False on other C libraries.

    A setting of the whole process, for the command line and for training; the library does not call it unasked.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has no mallopt
        return False
    agreed = [
        mallopt(M_MMAP_THRESHOLD, LARGEST_INT),
        mallopt(M_TRIM_THRESHOLD, LARGEST_INT),
        mallopt(M_TOP_PAD, TOP_PAD_BYTES),
    ]
    return all(agreed)
