"""Work that a window does not wait for: a thread of its own, looked at from time to time. No Qt.

In: a function. Out: how far it is, and, when it is over, its result or its error, in the thread that asks. A thread
that waits for a server cannot be ended from outside: what was stopped is let go, and ends at its next step.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Background", "Report", "StoppedError"]

Result = TypeVar("Result")

Report: TypeAlias = Callable[[int, int | None], object]
"""Told by work how much of how much is done; None where the whole is not known."""


class StoppedError(Exception):
    """The person stopped the work; not an error of anybody's."""


class Background(Generic[Result]):
    """One piece of work, begun at once. Mutable.

    Args:
        work: called in the thread with a ``Report``, which raises ``StoppedError`` once ``stop`` was called.

    Attributes:
        progress: what was reported last.
    """

    def __init__(self, work: Callable[[Report], Result]) -> None:
        self.progress: tuple[int, int | None] = (0, None)
        self._stopped, self._over = threading.Event(), threading.Event()
        self._results: list[Result] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether ``result`` has something to say."""
        return self._over.is_set()

    def stop(self) -> None:
        """Want the result no more."""
        self._stopped.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether it is over, at the latest after that time."""
        return self._over.wait(timeout_s)

    def result(self) -> Result:
        """What the work gave.

        Raises:
            StoppedError: it was stopped, or is not over.
            Exception: whatever the work raised.
        """
        if self._stopped.is_set() or not self._over.is_set():
            raise StoppedError("there is no result: the work was stopped, or is not over.")
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self, work: Callable[[Report], Result]) -> None:
        try:
            self._results.append(work(self._report))
        except BaseException as error:  # noqa: BLE001  raised again where somebody asks for the result
            self._error = error
        finally:
            self._over.set()

    def _report(self, done: int, total: int | None) -> None:
        if self._stopped.is_set():
            raise StoppedError("the work was stopped")
        self.progress = (done, total)
