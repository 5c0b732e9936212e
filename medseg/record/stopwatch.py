"""How long each stage of a run took, and how much memory the process needed.

In: ``with`` blocks around the stages. Out: seconds by stage name, and one peak for the run record::

    watch = Stopwatch()
    with watch.stage("preprocess"):
        …
    watch.stage_s  # {"preprocess": 1.2}
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

__all__ = ["Stopwatch", "process_peak_memory_mb"]

BYTES_PER_MB = 1e6
KIB = 1024


class Stopwatch:
    """A mutable collection of stage times; a stage entered again adds to its time.

    A stage inside another counts in both. Work that a GPU still has queued when a stage ends is counted where
    the program next waits for it: synchronise inside the block to have it counted there.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stage_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of this block, also when it ends in an error, under ``name``."""
        start = self._clock()
        try:
            yield
        finally:
            self._stage_s[name] = self._stage_s.get(name, 0.0) + self._clock() - start

    @property
    def stage_s(self) -> dict[str, float]:
        """Seconds by stage name so far, in the order in which the stages first ended."""
        return dict(self._stage_s)


def process_peak_memory_mb() -> float:
    """The most memory this process has held at once since it started, in 10⁶ bytes.

    A peak of the whole process, not of one stage or case: it never falls, and in a run over several cases the
    later ones repeat the largest. Memory on a GPU is not part of it.
    """
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / BYTES_PER_MB
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: getrusage would count the memory of whoever started this process as its own
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return float(fields["VmHWM"].split()[0]) * KIB / BYTES_PER_MB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * KIB) / BYTES_PER_MB  # macOS counts bytes, others KiB
