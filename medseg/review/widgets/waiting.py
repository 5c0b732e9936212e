"""One line of the panel for what takes its time elsewhere, a server's answer: what it is, how far, and a way out.

In: work for a thread of its own. Out: its result, handed over in the window's thread; its error, told in one line.
"""

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from medseg.review.background import Background, Report
from medseg.review.widgets.telling import Teller

__all__ = ["Waiting"]

LOOKED_AT_EVERY_MS: Final = 50
BYTES_PER_MB: Final = 1_000_000

PATIENCE_S: Final = 1.0
"""At the end of the window: a transfer that flows ends within a moment, one that hangs is not waited for."""


class Waiting(QWidget):
    """Shown while something is waited for. One thing at a time: what comes later takes the place of what was."""

    def __init__(self, teller: Teller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._teller = teller
        self._task: Background[Any] | None = None
        self._then: Callable[[Any], object] = lambda _: None
        self.what = ""
        self.text, self.bar, self.cancel_button = QLabel(), QProgressBar(), QPushButton("Cancel")
        self.bar.setTextVisible(False)
        self.cancel_button.clicked.connect(self._call_off)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.cancel_button)
        self._timer = QTimer(self)
        self._timer.setInterval(LOOKED_AT_EVERY_MS)
        self._timer.timeout.connect(self._look)
        self.hide()

    @property
    def is_busy(self) -> bool:
        """Whether something is waited for."""
        return self._task is not None

    def begin(self, what: str, work: Callable[[Report], Any], *, then: Callable[[Any], object]) -> None:
        """Do ``work`` in a thread, its reports in bytes, and ``then`` with its result in this one."""
        self.cancel()
        self.what, self._then = what, then
        self._task = Background(work)
        self._look()
        self.show()
        self._timer.start()

    def cancel(self) -> None:
        """Want what is waited for no more."""
        if self._task is not None:
            self._task.stop()
            self._end()

    def leave(self) -> None:
        """Cancel, before the window goes."""
        task = self._task
        self.cancel()
        if task is not None:
            task.wait(PATIENCE_S)

    def _call_off(self) -> None:
        self.cancel()
        self._teller.say(f"{self.what}: cancelled")

    def _end(self) -> None:
        self._task = None
        self._timer.stop()
        self.hide()

    def _look(self) -> None:
        task = self._task
        if task is None:
            return
        if task.is_over:
            then = self._then
            self._end()  # first: what follows may begin to wait for something else
            self._teller.told(lambda: then(task.result()))
            return
        done, total = task.progress
        self.bar.setRange(0, total or 0)
        self.bar.setValue(done)
        of = f" of {total / BYTES_PER_MB:.1f}" if total else ""
        self.text.setText(f"{self.what}: {done / BYTES_PER_MB:.1f}{of} MB" if done else f"{self.what}…")
