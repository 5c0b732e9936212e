"""Segmenting the open case with a bundle: plan, run in a thread of its own, watch, stop."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QThread, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from medseg.bundle import Forecast, find_bundles, load_bundle
from medseg.errors import MedsegError
from medseg.labels import LabelTable
from medseg.review.background import StoppedError
from medseg.review.desk import ReviewDesk
from medseg.review.folder import folder_name
from medseg.review.segmenting import Proposal, SegmentationJob, Watcher, files_for
from medseg.review.server import ReviewServer, ServerJob
from medseg.review.widgets.telling import Teller
from medseg.review.widgets.waiting import Waiting

__all__ = ["SegmentTab"]

HERE, ON_SERVER = "here", "on the server"
SERVER_MARK: Final = " (on the server)"


class _JobThread(QThread):
    """Plans and runs one job away from the window's own thread, and tells of it by signals."""

    planned = Signal(object)
    windows = Signal(int, int)
    preview = Signal(int, int, object)
    done = Signal(object)
    failed = Signal(str)
    stopped = Signal()

    def __init__(self, job: SegmentationJob | ServerJob, *, is_run: bool, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.job = job
        self._is_run = is_run

    def run(self) -> None:
        """What Qt calls in the new thread."""
        try:
            if isinstance(self.job, SegmentationJob):  # what a run will take is said before it begins
                self.planned.emit(self.job.plan())
            if self._is_run:
                self.done.emit(self.job.run(Watcher(windows=self.windows.emit, preview=self.preview.emit)))
        except StoppedError:
            self.stopped.emit()
        except MedsegError as error:
            self.failed.emit(str(error))


class SegmentTab(QWidget):
    """Which model, what it will take, and how far it is."""

    def __init__(self, desk: ReviewDesk, teller: Teller) -> None:
        super().__init__()
        self._desk, self._teller = desk, teller
        self._asking = Waiting(teller)
        self._tables: dict[str, LabelTable] = {}
        self._chosen_for = ""
        self._thread: _JobThread | None = None
        self._case_id = ""
        self._listed_for: ReviewServer | None = None
        self.bundle = QComboBox()
        self.device = QComboBox()
        self.device.addItems(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        self.runtime = QComboBox()
        self.runtime.addItems(["auto", "torch", "openvino"])
        self.plan_text = QLabel("no plan yet")
        self.plan_text.setWordWrap(True)
        self.progress = QProgressBar()
        self.plan_button, self.run_button, self.stop_button = (
            QPushButton("Plan"), QPushButton("Segment"), QPushButton("Stop"),
        )  # fmt: skip
        self.plan_button.clicked.connect(lambda: self._begin(is_run=False))
        self.run_button.clicked.connect(lambda: self._begin(is_run=True))
        self.stop_button.clicked.connect(self.stop)
        self._lay_out()
        desk.listen(self.refresh)
        self.refresh()

    @property
    def is_busy(self) -> bool:
        """Whether a plan or a run is under way."""
        return self._thread is not None

    def run(self) -> None:
        """Segment the open case."""
        self._begin(is_run=True)

    def stop(self) -> None:
        """End the run at its next window."""
        if self._thread is not None:
            self._thread.job.stop()
            self._teller.say("stopping at the next window…")

    def wait(self) -> None:
        """Stop, and return when nothing runs any more: before the window goes."""
        self._asking.leave()
        if self._thread is not None:
            self._thread.job.stop()
            self._thread.wait()

    def refresh(self) -> None:
        """Show whether there is something to do."""
        self._list_models()
        self._choose_model()
        is_ready = self._desk.session is not None and not self.is_busy
        self.plan_button.setEnabled(is_ready and self.bundle.currentData() == HERE)
        self.run_button.setEnabled(is_ready and self.bundle.count() > 0)
        self.stop_button.setEnabled(self.is_busy)

    def _begin(self, *, is_run: bool) -> None:
        if self.is_busy:
            return

        self._teller.told(lambda: self._start(self._job(), is_run=is_run))

    def _job(self) -> SegmentationJob | ServerJob:
        """The chosen model on the open case, here or on the server that the case comes from."""
        session, _ = self._desk.opened()
        self._case_id, name = session.case_id, self.bundle.currentText()
        server = self._server()
        if server is not None and self.bundle.currentData() == ON_SERVER:
            return ServerJob(server, name.removesuffix(SERVER_MARK), session.case_id)
        bundle = load_bundle(name)
        case = files_for(bundle, session.case.files)
        labels = session.folder.path / "proposals" / f"{folder_name(case.case_id)}_{bundle.name}.nii.gz"
        return SegmentationJob(
            bundle,
            case,
            labels=labels,
            device=torch.device(self.device.currentText()),
            runtime=self.runtime.currentText(),
        )

    def _server(self) -> ReviewServer | None:
        origin = self._desk.worklist.origin if self._desk.worklist else None
        return origin if isinstance(origin, ReviewServer) else None

    def _list_models(self) -> None:
        """The models of this computer; anew, and the server's before them, where the worklist comes from one."""
        server = self._server()
        if server is self._listed_for and self.bundle.count():
            return
        self._listed_for = server
        self._asking.cancel()
        self.bundle.clear()
        for name, folder in find_bundles().items():
            bundle = load_bundle(folder)
            if bundle.weights_path.is_file():
                self.bundle.addItem(name, HERE)
                self._tables[name] = bundle.label_table
        if server is not None:
            self._asking.begin("asking for the server's models", lambda _report: server.models(), then=self._add_models)

    def _add_models(self, names: tuple[str, ...]) -> None:
        for row, name in enumerate(names):
            self.bundle.insertItem(row, f"{name}{SERVER_MARK}", ON_SERVER)
        if names:
            self.bundle.setCurrentIndex(0)
        self.refresh()

    def _choose_model(self) -> None:
        """In a case that has just been opened: the model that made its labels, else one of the same labels."""
        session = self._desk.session
        case_id = session.case_id if session is not None else ""
        if case_id == self._chosen_for:
            return
        self._chosen_for = case_id
        if session is None or self._server() is not None:
            return
        names = set(session.case.label_table.names)
        made = session.case.bundle.name if session.case.bundle is not None else ""
        fitting = [name for name, table in self._tables.items() if name == made or set(table.names) == names]
        if fitting:
            self.bundle.setCurrentText(made if made in fitting else fitting[0])

    def _start(self, job: SegmentationJob | ServerJob, *, is_run: bool) -> None:
        thread = _JobThread(job, is_run=is_run, parent=self)
        thread.planned.connect(self._show_plan)
        thread.windows.connect(self._show_windows)
        thread.preview.connect(self._show_preview)
        thread.done.connect(self._take)
        thread.failed.connect(lambda text: self._teller.said.emit(text, True))
        thread.stopped.connect(lambda: self._teller.say("stopped; nothing was changed"))
        thread.finished.connect(self._end)
        self._thread = thread
        self.progress.setRange(0, 0)
        self.refresh()
        thread.start()

    def _end(self) -> None:
        self._thread = None
        self.progress.setRange(0, 1)
        self.progress.setValue(0)
        if self._desk.layers is not None:
            self._desk.layers.hide_map("preview")
        self.refresh()

    def _show_plan(self, plan: Forecast) -> None:
        windows = "?" if plan.n_windows is None else str(plan.n_windows)
        seconds = "?" if plan.seconds is None else f"{plan.seconds:.0f} s"
        self.plan_text.setText(
            f"{windows} windows by {plan.runtime}, about {seconds}; memory up to {plan.ram_mb / 1000:.1f} GB"
            + (f", on the GPU {plan.gpu_mb / 1000:.1f} GB" if plan.gpu_mb else "")
        )

    def _show_windows(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.setFormat(f"{done} of {total} windows")

    def _show_preview(self, axis: int, first: int, planes: NDArray[np.uint8]) -> None:
        session, layers = self._desk.session, self._desk.layers
        if session is not None and layers is not None and session.case_id == self._case_id:
            layers.show_preview(axis, first, planes)

    def _take(self, proposal: Proposal) -> None:
        session = self._desk.session
        if session is None or session.case_id != self._case_id:
            self._teller.say(f"{self._case_id} was segmented; the result lies in its review folder")
            return
        if self._teller.told(lambda: self._desk.take_proposal(proposal)):
            self._teller.say(f"{proposal.model}: done in {proposal.seconds:.1f} s; Ctrl+Z brings back what was there")

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("model", self.bundle)
        form.addRow("device", self.device)
        form.addRow("runtime", self.runtime)
        layout = QVBoxLayout(self)
        layout.addWidget(self._asking)
        layout.addLayout(form)
        for widget in (self.plan_button, self.plan_text, self.run_button, self.progress, self.stop_button):
            layout.addWidget(widget)
        layout.addStretch()
