"""Cases of a server that takes its time: the window goes on, a person can call it off or choose another case."""

import importlib
import io
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("display")

SHAPE = (40, 36, 20)
CASES = ("case_0", "case_1", "case_2")
PIECES = 20
SLOWEST_TICK_S = 1.0
"""On two busy cores; a window that waits for the transfer stands still for all of it."""


@dataclass
class SlowServer:
    """A MONAI Label server with three images, which come in pieces with a pause before each."""

    url: str = ""
    pause_s: float = 0.1
    broken: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


def image(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)
    stream = io.BytesIO(nib.Nifti1Image(values, np.diag([-1.5, -1.5, 3.0, 1.0])).to_bytes())
    return stream.getvalue()


@pytest.fixture
def server():
    state = SlowServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/datastore/image":
                self.send_pieces(image(CASES.index(parse_qs(parts.query)["image"][0])))
                return
            store = {"objects": {name: {"labels": {}, "image": {}} for name in CASES}}
            body = json.dumps(store if parts.path == "/datastore/" else {"models": {}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_pieces(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Disposition", 'attachment; filename="scan.nii"')
            self.end_headers()
            step = len(body) // PIECES + 1
            for start in range(0, len(body), step):
                if state.ended.wait(state.pause_s) or (state.broken and start > len(body) // 2):
                    return
                try:
                    self.wfile.write(body[start : start + step])
                except ConnectionError:
                    return

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        state.ended.set()
        listening.shutdown()
        thread.join()


@pytest.fixture
def panel(viewer, server, tmp_path, qtbot):
    """The panel with the server's worklist, no case open."""
    made = importlib.import_module("medseg.review.widgets").ReviewPanel(viewer)
    viewer.window.add_dock_widget(made, name="review", area="right")
    made.decide.name_reviewer("R. Eader")
    made.worklist.open_server(server.url, tmp_path)
    qtbot.waitUntil(lambda: made.desk.worklist is not None, timeout=20_000)
    yield made
    if not made.is_over:
        made.close()


def test_the_window_goes_on_while_a_case_is_fetched_and_says_how_far_it_is(panel, qtbot):
    ticks, told = [], []
    timer = importlib.import_module("qtpy.QtCore").QTimer()
    timer.timeout.connect(lambda: (ticks.append(time.monotonic()), told.append(panel.waiting.text.text())))
    timer.start(20)
    panel.worklist.open_case("case_1")
    assert panel.desk.session is None
    qtbot.waitUntil(lambda: panel.waiting.isVisible() and panel.waiting.bar.value() > 0, timeout=20_000)
    transfer = len(ticks)
    qtbot.waitUntil(lambda: not panel.waiting.is_busy, timeout=20_000)
    timer.stop()
    assert np.diff(ticks[: max(transfer, 10)]).max() < SLOWEST_TICK_S
    assert any(text.startswith("fetching case_1: 0.0 of 0.1 MB") for text in told)
    assert panel.desk.session.case_id == "case_1"
    np.testing.assert_array_equal(panel.desk.session.scan.image[0].numpy().shape, SHAPE)
    assert not panel.waiting.isVisible()


def test_a_fetch_that_is_called_off_opens_nothing_and_leaves_nothing(panel, qtbot, tmp_path):
    panel.worklist.open_case("case_0")
    qtbot.waitUntil(lambda: panel.waiting.bar.value() > 0, timeout=20_000)
    panel.waiting.cancel_button.click()
    assert not panel.waiting.isVisible()
    assert panel.line.text() == "fetching case_0: cancelled"
    qtbot.waitUntil(lambda: not list((tmp_path / "images").iterdir()), timeout=20_000)
    qtbot.wait(300)
    assert panel.desk.session is None


def test_another_case_can_be_chosen_meanwhile_and_only_that_one_opens(panel, qtbot, server):
    panel.worklist.open_case("case_0")
    qtbot.waitUntil(lambda: panel.waiting.bar.value() > 0, timeout=20_000)
    server.pause_s = 0.01
    panel.worklist.open_case("case_2")
    qtbot.waitUntil(lambda: panel.desk.session is not None, timeout=20_000)
    qtbot.wait(500)
    assert panel.desk.session.case_id == "case_2"
    assert np.array_equal(panel.desk.session.scan.image[0].numpy(), nib.Nifti1Image.from_bytes(image(2)).get_fdata())


def test_a_transfer_that_breaks_off_is_told_in_one_line_and_another_case_opens(panel, qtbot, server, tmp_path):
    server.broken, server.pause_s = True, 0.01
    panel.worklist.open_case("case_0")
    qtbot.waitUntil(lambda: not panel.waiting.is_busy, timeout=20_000)
    assert "broke the transfer off" in panel.line.text()
    assert "\n" not in panel.line.text()
    assert panel.desk.session is None
    assert not list((tmp_path / "images").iterdir())
    server.broken = False
    panel.worklist.open_case("case_1")
    qtbot.waitUntil(lambda: panel.desk.session is not None, timeout=20_000)


def test_the_window_closes_while_a_case_is_fetched(panel, qtbot, server, tmp_path):
    panel.worklist.open_case("case_0")
    qtbot.waitUntil(lambda: panel.waiting.bar.value() > 0, timeout=20_000)
    panel.close()
    assert panel.is_over
    assert not list((tmp_path / "images").iterdir())


def test_a_server_that_is_not_there_is_told_in_one_line(panel, qtbot, tmp_path):
    worklist = panel.desk.worklist
    panel.worklist.open_server("http://127.0.0.1:9", tmp_path)
    qtbot.waitUntil(lambda: not panel.waiting.is_busy, timeout=20_000)
    assert "cannot be reached" in panel.line.text()
    assert panel.desk.worklist is worklist
