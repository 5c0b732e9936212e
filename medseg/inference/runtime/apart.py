"""Work in a process of its own with a time limit: what crashes or hangs there is one line here."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from medseg.inference.runtime import openvino_worker
from medseg.inference.runtime.openvino_worker import REFUSED, Order

__all__ = ["NotCompiledError", "Worker", "started_worker"]

WORKER = Path(openvino_worker.__file__)

ENDED_BY_OTHERS = (signal.SIGTERM, signal.SIGINT, *((signal.SIGKILL,) if hasattr(signal, "SIGKILL") else ()))
"""Signals that say nothing of the network: a person's, a scheduler's, the system's where memory is short."""


class NotCompiledError(Exception):
    """A network could not be compiled; ``is_lasting`` where it would fail in the same way the next time."""

    def __init__(self, message: str, *, is_lasting: bool) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class Worker:
    """A worker that has been started and waits for its order; mutable, as a process is."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self._process = process
        self._errors = errors
        self._limit_s = self._deadline = 0.0

    def begin(self, order: Order, *, limit_s: float) -> None:
        """Hand over the order; from now on it has so many seconds."""
        self._limit_s, self._deadline = limit_s, time.monotonic() + limit_s
        try:
            assert self._process.stdin is not None, "opened as a pipe"
            self._process.stdin.write(json.dumps(asdict(order)) + "\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already: ``finish`` tells why

    def finish(self) -> None:
        """Wait until the order is carried out.

        Raises:
            NotCompiledError: it crashed, took too long, or said why not.
        """
        try:
            code = self._process.wait(max(self._deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            raise NotCompiledError(f"its compiler took more than {self._limit_s:.0f} s", is_lasting=True) from None
        if code < 0:
            is_lasting = -code not in ENDED_BY_OTHERS
            raise NotCompiledError(f"its compiler crashed ({signal.Signals(-code).name})", is_lasting=is_lasting)
        if code:
            last = (self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
            raise NotCompiledError(last or f"its compiler ended with code {code}", is_lasting=code == REFUSED)


@contextmanager
def started_worker(kind: str, folder: Path) -> Iterator[Worker]:
    """A worker that imports what it needs while its order is being prepared; it is gone when the block ends.

    Args:
        kind: ``CONVERT`` or ``COMPILE``.
        folder: for what it says on standard error.
    """
    errors = folder / "errors.txt"
    with errors.open("w", encoding="utf-8") as said:
        # -P: the folder of this file holds modules with the names of packages.
        words = [sys.executable, "-P", str(WORKER), kind]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, text=True, encoding="utf-8"
        )
        try:
            yield Worker(process, errors)
        finally:
            process.kill()
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            process.wait()
