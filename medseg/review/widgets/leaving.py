"""Before a case with edits that nobody accepted is left: keep them for later, discard them, or stay.

In: the desk. Out: what the person wants. A program that drives the window without an event loop is never asked, and
its edits are kept: a question nobody can answer would stop it for good.
"""

from typing import Final, Literal, TypeAlias

from qtpy.QtCore import QThread
from qtpy.QtWidgets import QMessageBox, QWidget

from medseg.review.desk import ReviewDesk

__all__ = ["Leave", "ask_before_leaving", "somebody_is_there"]

Leave: TypeAlias = Literal["keep", "discard", "stay"]

ANSWERS: Final[dict[Leave, tuple[str, QMessageBox.ButtonRole]]] = {
    "keep": ("Keep for later", QMessageBox.ButtonRole.AcceptRole),
    "discard": ("Discard edits", QMessageBox.ButtonRole.DestructiveRole),
    "stay": ("Stay", QMessageBox.ButtonRole.RejectRole),
}


def somebody_is_there() -> bool:
    """Whether an event loop runs, from which a person can answer."""
    return bool(QThread.currentThread().loopLevel() > 0)


def ask_before_leaving(desk: ReviewDesk, parent: QWidget) -> Leave:
    """What is to become of the edits of the open case; ``keep`` without a question where none could be lost."""
    if desk.session is None or desk.layers is None or not somebody_is_there():
        return "keep"
    desk.layers.absorb()
    if not desk.session.has_unaccepted_edits:
        return "keep"
    box = QMessageBox(parent)
    box.setObjectName("leaving")
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle(f"Unaccepted edits: {desk.session.case_id}")
    box.setText(f"The edits of {desk.session.case_id} are saved, but not accepted.")
    box.setInformativeText("Kept edits come back when the case is opened again. Discarded edits are gone for good.")
    buttons = {box.addButton(text, role): answer for answer, (text, role) in ANSWERS.items()}
    box.setDefaultButton(next(iter(buttons)))
    box.exec()
    chosen = box.clickedButton()
    return next((answer for button, answer in buttons.items() if button is chosen), "stay")
