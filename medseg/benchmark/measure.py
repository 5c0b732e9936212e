"""A command in a fresh process, with its wall-clock time, processor time and memory at its fullest moment."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.errors import RunError

__all__ = ["ProcessRun", "run_process"]

KIB_IN_MB = 1024 / 1e6
"""Linux counts a process's memory in KiB; macOS in bytes."""


@dataclass(frozen=True)
class ProcessRun:
    """What one whole process took, from its start to its end.

    Attributes:
        seconds: wall-clock time.
        cpu_s: time of all processors together: other load on the machine moves it least.
        peak_mb: resident memory at the fullest moment, in 10⁶ bytes.
        stage_s: seconds of each stage, as the process itself says.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    stage_s: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_s": round(self.cpu_s, 3),
            "peak_mb": round(self.peak_mb, 1),
            "stage_s": {name: round(seconds, 3) for name, seconds in self.stage_s.items()},
        }


def run_process(module: str, words: Sequence[str], *, environment: Mapping[str, str]) -> tuple[ProcessRun, str]:
    """Run a module of this installation; its measurements, without stages, and what it printed.

    Args:
        environment: variables on top of this process's own.
    Raises:
        RunError: the process failed; with the last line that it wrote.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words], stdout=stdout, stderr=stderr, env={**os.environ, **environment}
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped here, by wait4, and not by subprocess
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode:
            last = (stderr.read().strip().splitlines() or ["it said nothing"])[-1]
            raise RunError(f"{module} ended with exit code {process.returncode}: {last}")
        peak_mb = usage.ru_maxrss * KIB_IN_MB if sys.platform == "linux" else usage.ru_maxrss / 1e6
        return ProcessRun(seconds, usage.ru_utime + usage.ru_stime, peak_mb, {}), stdout.read()
