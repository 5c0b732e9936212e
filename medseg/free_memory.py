"""How much memory this process may still take: that of the machine, or less where a container is given a share of it.

In: what the system says. Out: bytes. A container's limit is a control group's (versions 1 and 2), and whoever passes it
is ended without a word; the machine's own free memory says nothing of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

__all__ = ["free_memory_bytes", "total_memory_bytes"]

GROUPS_OF_PROCESS: Final = Path("/proc/self/cgroup")
GROUPS: Final = Path("/sys/fs/cgroup")

FILES: Final = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By version: the limit, what is used, and the line of ``memory.stat`` with what of it is a cache of files."""


def free_memory_bytes() -> int:
    """What can be taken before something is ended, in bytes: the least of the machine's and of every limit's rest."""
    rests = [limit - used for limit, used in _limits()]
    return max(0, min([int(psutil.virtual_memory().available), *rests]))


def total_memory_bytes() -> int:
    """What this process and its neighbours in a container may take together, in bytes."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _limits())])


def _limits() -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of each control group around this process that has a limit."""
    for version, folder in _groups():
        limit_file, used_file, cached_line = FILES[version]
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is not None and used is not None:
            yield limit, used - _cached(folder, cached_line)


def _groups() -> Iterator[tuple[int, Path]]:
    """The group of this process and those above it: a limit holds for all below."""
    try:
        lines = GROUPS_OF_PROCESS.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, place = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        version, root = (1, GROUPS / "memory") if kinds else (2, GROUPS)
        group = root / place.strip("/")
        # Within a container the path is often the one outside of it, and what is mounted is the group itself.
        for folder in dict.fromkeys([group, *group.parents, root]):
            if folder == root or root in folder.parents:
                yield version, folder


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, as for ``max``."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cached(folder: Path, line: str) -> int:
    """Bytes of files that the system drops when memory is wanted."""
    try:
        words = (entry.split() for entry in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        return next((int(entry[1]) for entry in words if entry[0] == line), 0)
    except (OSError, ValueError, IndexError):
        return 0
