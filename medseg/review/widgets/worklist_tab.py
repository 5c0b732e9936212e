"""The list of cases: filters, progress, and which one to open."""

from pathlib import Path
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg.monai_label_client import MonaiLabelClient
from medseg.review import CASE_STATES, ReviewServer, Worklist, WorklistCase, worklist_from_folder
from medseg.review.desk import ReviewDesk
from medseg.review.widgets.leaving import ask_before_leaving
from medseg.review.widgets.telling import Teller
from medseg.review.widgets.waiting import Waiting

__all__ = ["WorklistTab"]

COLUMNS: Final = ("Case", "State", "Quality", "Flags", "Model")
STATE_COLORS: Final = {
    "new": "#9aa0a6",
    "in_review": "#f9ab00",
    "accepted": "#34a853",
    "rejected": "#ea4335",
    "needs_second_reader": "#a142f4",
}
ANY: Final = "any"


class WorklistTab(QWidget):
    """A table of the cases; a double click opens one."""

    def __init__(self, desk: ReviewDesk, teller: Teller, *, waiting: Waiting) -> None:
        super().__init__()
        self._desk, self._teller, self._waiting = desk, teller, waiting
        self.folder_button = QPushButton("Open folder…")
        self.folder_button.clicked.connect(self._choose_folder)
        self.server_button = QPushButton("Open server…")
        self.server_button.clicked.connect(self._choose_server)
        self.next_button = QPushButton("Next unreviewed (N)")
        self.next_button.clicked.connect(self.open_next)
        self.text = QLineEdit()
        self.text.setPlaceholderText("search")
        self.text.textChanged.connect(self.refresh)
        self.state = QComboBox()
        self.state.addItem("any state", ANY)
        for state in CASE_STATES:
            self.state.addItem(state.replace("_", " "), state)
        self.state.currentIndexChanged.connect(self.refresh)
        self.flag = QComboBox()
        self.flag.currentIndexChanged.connect(self.refresh)
        self.table = _table()
        self.table.cellDoubleClicked.connect(self._open_row)
        self.progress = QProgressBar()
        self.progress.setFormat("%v of %m decided")
        self._lay_out()
        desk.listen(self.refresh)
        self.refresh()

    def open_folder(self, folder: Path) -> None:
        """Make a worklist of a folder of scans."""

        def act() -> None:
            self._show(worklist_from_folder(folder))

        self._teller.told(act)

    def open_server(self, url: str, folder: Path, *, token: str | None = None) -> None:
        """Make a worklist of the images of a MONAI Label server, which are kept in a folder here.

        Raises:
            ServerError: the address is none of a server.
        """
        server = ReviewServer(MonaiLabelClient(url, token=token), folder)
        self._waiting.begin("asking the server", lambda _report: server.worklist(), then=self._show)

    def open_case(self, case_id: str) -> None:
        """Open one case of the list; nothing where it is open, or on its way."""
        is_coming = self._waiting.is_busy and self._waiting.what == _fetching(case_id)
        if not is_coming and (self._desk.session is None or self._desk.session.case_id != case_id):
            self._teller.told(lambda: self._change_to(case_id))

    def open_next(self) -> None:
        """Open the next case that nobody has decided on."""

        def act() -> None:
            case = self._desk.next_unreviewed()
            if case is None:
                self._teller.say("Every case is decided.")
            else:
                self.open_case(case.case_id)

        self._teller.told(act)

    def leave_case(self) -> bool:
        """Close the open case, its edits kept or discarded as the person wants; False where they would rather stay.

        Raises:
            OutputError: its edits cannot be saved; it stays open.
        """
        answer = ask_before_leaving(self._desk, self)
        if answer == "stay":
            return False
        self._desk.close_case(keep_edits=answer == "keep")
        return True

    def refresh(self) -> None:
        """Show the list as it is now."""
        worklist = self._desk.worklist
        shown = self._shown(worklist) if worklist else ()
        self.table.setRowCount(len(shown))
        open_id = self._desk.session.case_id if self._desk.session else None
        for row, case in enumerate(shown):
            self._fill(row, case, is_open=case.case_id == open_id)
        progress = worklist.progress if worklist else None
        self.progress.setMaximum(max(progress.total, 1) if progress else 1)
        self.progress.setValue(progress.decided if progress else 0)
        self.next_button.setEnabled(worklist is not None)
        self._refresh_flags(worklist)

    def _show(self, worklist: Worklist) -> None:
        if self.leave_case():
            self._waiting.cancel()
            self._desk.show_worklist(worklist)

    def _change_to(self, case_id: str) -> None:
        """Leave the open case for another; what a server has of it is fetched first, beside the window."""
        if not self.leave_case():
            return
        self._waiting.cancel()
        worklist = self._desk.worklist
        origin = worklist.origin if worklist else None
        if worklist is None or origin is None:
            self._teller.say(" ".join(self._desk.open_case(case_id).notes))
            return
        case = worklist.case(case_id)
        self._waiting.begin(_fetching(case_id), lambda report: origin.fetched(case, report=report), then=self._open)

    def _open(self, fetched: WorklistCase) -> None:
        if self.leave_case():
            self._teller.say(" ".join(self._desk.open_case(fetched.case_id, fetched=fetched).notes))

    def _shown(self, worklist: Worklist) -> tuple[WorklistCase, ...]:
        state, flag = self.state.currentData(), self.flag.currentData()
        return worklist.filtered(
            states=() if state in (None, ANY) else (state,),
            flag=None if flag in (None, ANY) else flag,
            text=self.text.text(),
        )

    def _refresh_flags(self, worklist: Worklist | None) -> None:
        names = worklist.flag_names if worklist else ()
        if [self.flag.itemData(number) for number in range(self.flag.count())] == [ANY, *names]:
            return
        chosen = self.flag.currentData()
        self.flag.blockSignals(True)
        self.flag.clear()
        self.flag.addItem("any flag", ANY)
        for name in names:
            self.flag.addItem(name, name)
        self.flag.setCurrentIndex(max(self.flag.findData(chosen), 0))
        self.flag.blockSignals(False)

    def _fill(self, row: int, case: WorklistCase, *, is_open: bool) -> None:
        quality = "" if case.quality is None else f"{case.quality:.2f}"
        model = case.bundle.name if case.bundle else ""
        texts = (case.case_id, case.state.replace("_", " "), quality, ", ".join(case.flags), model)
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setData(Qt.ItemDataRole.UserRole, case.case_id)
            font = item.font()
            font.setBold(is_open)
            item.setFont(font)
            if column == 1:
                item.setForeground(QColor(STATE_COLORS[case.state]))
            self.table.setItem(row, column, item)

    def _open_row(self, row: int, _column: int) -> None:
        item = self.table.item(row, 0)
        if item is not None:
            self.open_case(item.data(Qt.ItemDataRole.UserRole))

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "A folder of scans")
        if chosen:
            self.open_folder(Path(chosen))

    def _choose_server(self) -> None:
        url, is_given = QInputDialog.getText(self, "MONAI Label server", "address", text="http://127.0.0.1:8000")
        if not is_given or not url.strip():
            return
        token, _ = QInputDialog.getText(self, "MONAI Label server", "token, if it asks for one")
        chosen = QFileDialog.getExistingDirectory(self, "A folder to keep its scans and the review in")
        if chosen:
            self._teller.told(lambda: self.open_server(url.strip(), Path(chosen), token=token or None))

    def _lay_out(self) -> None:
        filters = QHBoxLayout()
        for widget in (self.text, self.state, self.flag):
            filters.addWidget(widget)
        buttons = QHBoxLayout()
        buttons.addWidget(self.folder_button)
        buttons.addWidget(self.server_button)
        buttons.addWidget(self.next_button)
        layout = QVBoxLayout(self)
        layout.addLayout(buttons)
        layout.addLayout(filters)
        layout.addWidget(self.table)
        layout.addWidget(self.progress)


def _fetching(case_id: str) -> str:
    return f"fetching {case_id}"


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    table.setHorizontalHeaderLabels(list(COLUMNS))
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.verticalHeader().hide()
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table
