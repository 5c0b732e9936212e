"""Deciding on a case or on one structure: accept, reject, flag, comment, second reader; and what was decided so far."""

from collections.abc import Callable
from typing import Final

from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from medseg.record import JournalEntry
from medseg.review import ReviewSession
from medseg.review.desk import ReviewDesk
from medseg.review.widgets.telling import Teller

__all__ = ["DecideTab", "DecisionDialog"]

WHOLE_CASE: Final = "whole case"
REASONS: Final = ("wrong structure", "missed part", "leak into neighbour", "wrong side", "poor image", "other")
FLAGS: Final = ("motion", "artefact", "unusual anatomy", "low contrast", "check protocol")


class DecisionDialog(QDialog):
    """Asks why, before a decision is entered in the journal.

    Args:
        title: what is decided.
        reasons: to choose from; anything else may be typed.
        subject: the case, or one structure of it, shown.
    """

    def __init__(self, title: str, *, reasons: tuple[str, ...], subject: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"{title}: {subject}")
        self.reason = QComboBox()
        self.reason.setEditable(True)
        self.reason.addItems(list(reasons))
        self.reason.setCurrentText("")
        self.comment = QPlainTextEdit()
        self.comment.setPlaceholderText("comment (no names, no identifiers of patients)")
        self.comment.setMaximumHeight(90)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setText(title)
        self.ok.setEnabled(False)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.reason.editTextChanged.connect(lambda text: self.ok.setEnabled(bool(text.strip())))
        layout = QFormLayout(self)
        layout.addRow(QLabel(f"{title} <b>{subject}</b>? This goes into the journal and cannot be taken out again."))
        layout.addRow("reason", self.reason)
        layout.addRow("comment", self.comment)
        layout.addRow(buttons)


class DecideTab(QWidget):
    """The buttons of the decisions, with their keys."""

    def __init__(self, desk: ReviewDesk, teller: Teller, *, on_next: Callable[[], None]) -> None:
        super().__init__()
        self._desk, self._teller, self._on_next = desk, teller, on_next
        self.dialog: DecisionDialog | None = None
        self.reviewer = QLineEdit(desk.preferences.reviewer)
        self.reviewer.setPlaceholderText("your name, which every decision bears")
        self.reviewer.editingFinished.connect(lambda: self.name_reviewer(self.reviewer.text()))
        self.structure = QComboBox()
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("comment (no names, no identifiers of patients)")
        self.state = QLabel("no case is open")
        self.log = QListWidget()
        self._lay_out()
        desk.listen(self.refresh)
        self.refresh()

    def accept(self) -> None:
        """Accept the case, or the chosen structure, as it is now."""
        comment, structure = self.comment.text(), self._structure()

        def act() -> None:
            if structure is None:
                version = self._desk.accept(comment=comment)
                self._teller.say(f"accepted as version {version.number}: {version.path.name}")
            else:
                self._desk.decide(lambda session: session.accept_structure(structure, comment=comment))
            self.comment.clear()

        self._teller.told(act)

    def reject(self) -> None:
        """Ask for a reason, then reject the case or the chosen structure."""
        structure = self._structure()
        self._ask("Reject", REASONS, lambda session, reason: session.reject(reason, structure=structure), on=structure)

    def flag(self) -> None:
        """Ask for the name of a flag, then set it on the case or the chosen structure."""
        structure = self._structure()
        self._ask("Flag", FLAGS, lambda session, reason: session.flag(reason, structure=structure), on=structure)

    def ask_second_reader(self) -> None:
        """Ask for a reason, then leave the decision to somebody else."""
        self._ask("Second reader", REASONS, lambda session, reason: session.ask_second_reader(reason))

    def add_comment(self) -> None:
        """Enter the comment in the journal."""
        text, structure = self.comment.text(), self._structure()
        if self._teller.told(lambda: self._desk.decide(lambda session: session.comment(text, structure=structure))):
            self.comment.clear()

    def reopen(self) -> None:
        """Take the decision back."""
        self._teller.told(lambda: self._desk.decide(lambda session: session.reopen()))

    def refresh(self) -> None:
        """Show the open case."""
        session = self._desk.session
        names = [WHOLE_CASE, *(session.case.label_table.names if session else ())]
        if [self.structure.itemText(number) for number in range(self.structure.count())] != names:
            self.structure.clear()
            self.structure.addItems(names)
        self.log.clear()
        if session is None:
            self.state.setText("no case is open")
            return
        review = session.review
        minutes = f"{review.seconds_spent / 60:.1f} min"
        self.state.setText(f"<b>{session.case_id}</b> · {review.state.replace('_', ' ')} · {minutes}")
        self.log.addItems([_line(entry) for entry in reversed(session.entries)])

    def _structure(self) -> str | None:
        chosen = self.structure.currentText()
        return None if chosen in ("", WHOLE_CASE) else chosen

    def _ask(
        self,
        title: str,
        reasons: tuple[str, ...],
        enter: Callable[[ReviewSession, str], None],
        *,
        on: str | None = None,
    ) -> None:
        session = self._desk.session
        if session is None:
            self._teller.told(self._desk.opened)
            return
        subject = f"{on.replace('_', ' ')} of {session.case_id}" if on else session.case_id
        dialog = DecisionDialog(title, reasons=reasons, subject=subject, parent=self)

        def decided() -> None:
            reason, comment = dialog.reason.currentText(), dialog.comment.toPlainText().strip()

            def act(session: ReviewSession) -> None:
                enter(session, reason)
                if comment:
                    session.comment(comment, structure=on)

            self._teller.told(lambda: self._desk.decide(act))

        dialog.accepted.connect(decided)
        self.dialog = dialog
        dialog.open()  # beside the event loop: autosave goes on while a person thinks

    def name_reviewer(self, name: str) -> None:
        """Let decisions bear this name from now on."""
        self.reviewer.setText(name)
        self._desk.preferences = self._desk.preferences.model_copy(update={"reviewer": name.strip()})

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("reviewer", self.reviewer)
        form.addRow("decide on", self.structure)
        form.addRow("comment", self.comment)
        grid = QGridLayout()
        actions = (
            ("Accept (A)", self.accept, "#1e8e3e"),
            ("Reject… (R)", self.reject, "#c5221f"),
            ("Flag… (F)", self.flag, ""),
            ("Second reader…", self.ask_second_reader, ""),
            ("Comment", self.add_comment, ""),
            ("Take back", self.reopen, ""),
            ("Next case (N)", self._on_next, ""),
        )
        for number, (text, act, color) in enumerate(actions):
            button = QPushButton(text)
            button.clicked.connect(lambda _checked=False, act=act: act())
            if color:
                button.setStyleSheet(f"background-color: {color}; color: white; font-weight: bold;")
            grid.addWidget(button, number // 2, number % 2)
        layout = QVBoxLayout(self)
        layout.addWidget(self.state)
        layout.addLayout(form)
        layout.addLayout(grid)
        layout.addWidget(QLabel("What the journal says of this case:"))
        layout.addWidget(self.log)


def _line(entry: JournalEntry) -> str:
    """One entry as a person reads it: when, what, on what, who, why."""
    on = f" {entry.structure}" if entry.structure else ""
    why = ": ".join(part for part in (entry.reason, entry.comment) if part)
    when = entry.time_utc.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{when} · {entry.action.replace('_', ' ')}{on} · {entry.reviewer}{' · ' + why if why else ''}"
