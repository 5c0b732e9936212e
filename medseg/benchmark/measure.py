"""A command in a fresh process, with its wall-clock time, processor time and memory at its fullest moment."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import RunError
from medseg.openmp import environment_as_started

__all__ = ["ProcessRun", "run_process"]

PATIENCE_S = 15.0
"""For processes that were asked to end."""

WATCHER = Path(__file__).with_name("watch.py")


@dataclass(frozen=True)
class ProcessRun:
    """What one whole process took, from its start to its end.

    Attributes:
        seconds: wall-clock time.
        cpu_s: time of all processors together: other load on the machine moves it least.
        peak_mb: resident memory at the fullest moment, in 10⁶ bytes.
        stage_s: seconds of each stage, as the process itself says.
        gpu_peak_mb: memory of the GPU at its fullest, as the process itself says; None where none computed.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    stage_s: Mapping[str, float]
    gpu_peak_mb: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_s": round(self.cpu_s, 3),
            "peak_mb": round(self.peak_mb, 1),
            "stage_s": {name: round(seconds, 3) for name, seconds in self.stage_s.items()},
            "gpu_peak_mb": None if self.gpu_peak_mb is None else round(self.gpu_peak_mb, 1),
        }


def run_process(module: str, words: Sequence[str], *, environment: Mapping[str, str]) -> tuple[ProcessRun, str]:
    """Run a module of this installation; its measurements, without what it says itself, and what it printed.

    Args:
        environment: variables on top of those that this process was started with.
    Raises:
        RunError: the process failed; with the last line that it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = [sys.executable, str(WATCHER), str(report), sys.executable, "-m", module, *words]
        code, out, err = _run_together(words, environment={**environment_as_started(), **environment})
        found = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {"exit_code": code}
    if found.pop("exit_code"):
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"{module} failed: {last.removeprefix('error: ')}")
    return ProcessRun(**found, stage_s={}), out


def _run_together(command: Sequence[str], *, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command; whoever interrupts it ends all that it started, too."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=os.name == "posix"
    )
    with process:
        try:
            out, err = process.communicate()
        except BaseException:
            _end(process)
            raise
    return process.returncode, out, err


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those it started: asked first, so that they put away what is half written."""
    if os.name != "posix":
        process.kill()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
            return
