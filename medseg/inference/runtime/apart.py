"""Compilation in a process of its own with a time limit: what crashes or hangs there is one line here."""

import json
import os
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

__all__ = ["NotCompiledError", "NotConvertedError", "TookTooLongError", "compiled_apart"]

WORKER = Path(openvino_worker.__file__)

KEEPS_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967295:glibc.malloc.trim_threshold=4294967295"
"""For the worker, which ends soon: memory in large pages, not returned in between, for a third less of its time."""

ENDED_BY_OTHERS = ("SIGTERM", "SIGINT", "SIGKILL", "SIGHUP")
"""Signals that say nothing of the network: a person's, a scheduler's, the system's where memory is short."""


class NotCompiledError(Exception):
    """A network could not be compiled; ``is_lasting`` where it would fail in the same way the next time."""

    def __init__(self, message: str, *, is_lasting: bool) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class TookTooLongError(NotCompiledError):
    """A compiler that did not come to an end."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"its compiler took more than {limit_s:.0f} s", is_lasting=True)


class NotConvertedError(NotCompiledError):
    """What a network computes could not be said to a compiler, or was said wrongly."""

    def __init__(self, message: str) -> None:
        super().__init__(message, is_lasting=True)


@contextmanager
def compiled_apart(order: Order, *, folder: Path, limit_s: float) -> Iterator[None]:
    """Have the order carried out while the block runs; what it makes is there after the block.

    Args:
        folder: for what the worker says; made where it is not there.
        limit_s: how long it may take from now on.
    Raises:
        NotCompiledError: at the end of the block: it crashed, took too long, or said why not.
    """
    folder.mkdir(exist_ok=True)
    errors = folder / "errors.txt"
    deadline = time.monotonic() + limit_s
    with errors.open("w", encoding="utf-8") as said:
        # -P: the folder of this file holds modules with the names of packages.
        words = [sys.executable, "-P", str(WORKER), json.dumps(asdict(order))]
        environment = {**os.environ, "GLIBC_TUNABLES": KEEPS_MEMORY}
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, env=environment
        )
    try:
        yield
        code = process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise TookTooLongError(limit_s) from None
    finally:
        process.kill()
        process.wait()
    _check(code, errors)


def _check(code: int, errors: Path) -> None:
    if code < 0:
        name = signal.Signals(-code).name
        raise NotCompiledError(f"its compiler crashed ({name})", is_lasting=name not in ENDED_BY_OTHERS)
    if code:
        last = (errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        raise NotCompiledError(last or f"its compiler ended with code {code}", is_lasting=code == REFUSED)
