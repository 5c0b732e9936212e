"""The review panel: the tabs around one desk, the keys, the autosave, and the line in which it speaks."""

from pathlib import Path
from typing import Final
from weakref import ReferenceType, ref

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QFileDialog, QLabel, QMainWindow, QPushButton, QTabWidget, QVBoxLayout, QWidget

from medseg.review import tool_named
from medseg.review.desk import ReviewDesk
from medseg.review.orientation import Anatomy
from medseg.review.preferences import review_preferences
from medseg.review.widgets.area_plot import AreaPlot
from medseg.review.widgets.decide_tab import DecideTab
from medseg.review.widgets.edit_tab import EditTab
from medseg.review.widgets.keys import bind_keys, free_keys, write_key_card
from medseg.review.widgets.leaving import somebody_is_there
from medseg.review.widgets.orthogonal_views import OrthogonalViews
from medseg.review.widgets.segment_tab import SegmentTab
from medseg.review.widgets.size_watch import SizeWatch
from medseg.review.widgets.telling import Teller
from medseg.review.widgets.view_tab import ViewTab
from medseg.review.widgets.waiting import Waiting
from medseg.review.widgets.worklist_tab import WorklistTab

__all__ = ["ReviewPanel"]

TITLE: Final = "Review panel"
TABS: Final = ("Worklist", "Segment", "Edit", "See", "Decide")
ERROR_STYLE: Final = "color: #ff6b6b; font-weight: bold;"
MS: Final = 1000

NAMED_AFTER_MS: Final = 250
"""Coordinates follow the slices by as much: written anew at each slice they would take a fifth of its time."""


class ReviewPanel(QWidget):
    """The dock beside napari's canvas: worklist, segment, edit, see, decide. ``is_over`` once it was closed."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.desk = ReviewDesk(napari_viewer, preferences=review_preferences())
        self.teller = Teller()
        self.teller.said.connect(self._say)
        self.waiting = Waiting(self.teller)
        self.worklist = WorklistTab(self.desk, self.teller, waiting=self.waiting)
        self.segment = SegmentTab(self.desk, self.teller)
        self.edit = EditTab(self.desk, self.teller)
        self.sizes = SizeWatch(self.desk)
        self.see = ViewTab(self.desk, self.teller, sizes=self.sizes)
        self.decide = DecideTab(self.desk, self.teller, on_next=self.worklist.open_next)
        self.line = QLabel("Open a folder of scans to begin.")
        self.line.setWordWrap(True)
        self.saved = QLabel()
        self.tabs = QTabWidget()
        self.planes: OrthogonalViews | None = None
        self.areas: AreaPlot | None = None
        self._naming = QTimer(self, singleShot=True, interval=NAMED_AFTER_MS)
        self._anatomy = Anatomy(napari_viewer, ask_name=self._name_soon)
        self._naming.timeout.connect(self._anatomy.name_point)
        self._bound_layer: object = None
        self._window: ReferenceType[QMainWindow] | None = None  # weakly: a closed window is let go
        self.is_over = False
        self._lay_out()
        self.see.planes_wanted.connect(self.show_planes)
        self.see.areas_wanted.connect(self.show_areas)
        self.desk.listen(self._bind)
        self._bind()
        self._timer = QTimer(self)
        self._timer.setInterval(round(self.desk.preferences.autosave_s * MS))
        self._timer.timeout.connect(self.autosave)
        self._timer.start()

    def autosave(self) -> None:
        """Save what was edited since the last time; what goes wrong is said and tried again."""

        def act() -> None:
            if self.desk.layers is not None and self.desk.save():
                self.saved.setText("edits saved")

        self.teller.told(act)

    def show_planes(self) -> None:
        """Open the three linked planes beside the canvas."""
        if self.planes is None:
            self.planes = OrthogonalViews(self.viewer)
            self.viewer.window.add_dock_widget(self.planes, name="three planes", area="bottom")

    def show_areas(self) -> None:
        """Open the curve of areas, slice by slice, beside the canvas."""
        if self.areas is None:
            self.areas = AreaPlot(self.viewer)
            self.viewer.window.add_dock_widget(self.areas, name="area of each slice", area="bottom")

    def use_tool(self, key: str) -> None:
        """Use a tool by its name, with the numbers of the edit tab."""
        self.edit.use(tool_named(key))

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Save, and give the case free, before the panel goes; or stay, where the person would rather."""
        if self.is_over:
            return
        if not self._left() and event is not None:
            event.ignore()
            return
        self.is_over = True
        self._timer.stop()
        self._naming.stop()
        self.sizes.stop()
        self._anatomy.stop()
        free_keys(self.viewer)
        window = self._window() if self._window is not None else None
        if window is not None:
            window.removeEventFilter(self)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Watch the window that the panel is docked in: Qt tells its parts nothing of its closing."""
        super().showEvent(event)
        window = _main_window(self)
        if self._window is None and window is not None:
            self._window = ref(window)
            window.installEventFilter(self)
            # planes and curves lie under the picture: across the whole window they would push it off small screens
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Close the case before the window closes; keep the window where the person would rather stay."""
        if self._window is None or watched is not self._window():
            return False
        if event is None or event.type() != QEvent.Type.Close:
            return False
        if not self._left():
            event.ignore()
            return True
        return False

    def changeEvent(self, event: QEvent | None) -> None:
        """Hear of the dock's own button, which takes the panel out of the window without closing it."""
        super().changeEvent(event)
        is_out = event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None
        if is_out and self._window is not None and not self.is_over:
            if somebody_is_there():
                QTimer.singleShot(0, self._undocked)
            else:
                self.close()

    def _name_soon(self) -> None:
        if not self._naming.isActive():  # not begun anew: they are to follow while slices go by, too
            self._naming.start()

    def _undocked(self) -> None:
        if self.parent() is None and not self.close():
            self.viewer.window.add_dock_widget(self, name=TITLE, area="right")
            self.show()

    def _left(self) -> bool:
        """Whether the case is closed, or none was open."""
        left = [False]

        def act() -> None:
            left[0] = self.worklist.leave_case()

        if not self.teller.told(act) or not left[0]:
            return False
        self.segment.wait()
        self.waiting.leave()
        return True

    def _bind(self) -> None:
        layer = self.desk.layers.labels if self.desk.layers is not None else None
        if layer is self._bound_layer and layer is not None:
            return
        self._bound_layer = layer
        self.saved.setText("")
        actions = {
            "accept": self.decide.accept,
            "reject": self.decide.reject,
            "flag": self.decide.flag,
            "next_case": self.worklist.open_next,
            "jump": self.see.jump,
            "channel": self.see.next_channel,
            "outline": self.see.outline.toggle,
            "difference": self.see.difference.toggle,
            "copy_slice": lambda: self.use_tool("copy_slice"),
            "interpolate": lambda: self.use_tool("interpolate"),
            "undo": self.edit.undo,
            "redo": self.edit.redo,
            **{f"label_{row + 1}": lambda row=row: self.edit.labels.choose_row(row) for row in range(9)},
        }
        layers = self.desk.layers.all if self.desk.layers is not None else ()
        bind_keys(self.viewer, actions, layers=layers)

    def _say(self, text: str, is_error: bool) -> None:
        self.line.setStyleSheet(ERROR_STYLE if is_error else "")
        self.line.setText(text)

    def _print_card(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "The card of keys", "medseg_keys.html")
        if chosen:
            self.teller.told(lambda: write_key_card(Path(chosen)))

    def _lay_out(self) -> None:
        for name, tab in zip(TABS, (self.worklist, self.segment, self.edit, self.see, self.decide), strict=True):
            self.tabs.addTab(tab, name)
        card = QPushButton("Card of keys…")
        card.clicked.connect(self._print_card)
        layout = QVBoxLayout(self)
        layout.addWidget(self.tabs)
        layout.addWidget(self.line)
        layout.addWidget(self.waiting)
        layout.addWidget(self.saved)
        layout.addWidget(card)


def _main_window(widget: QWidget) -> QMainWindow | None:
    """The window that a widget lies in, its dock floating or not."""
    above = widget.parentWidget()
    while above is not None and not isinstance(above, QMainWindow):
        above = above.parentWidget()
    return above
