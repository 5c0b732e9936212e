"""Displays that are gone, refuse or say nothing, met by the true command: Qt would end the process with a core dump."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from medseg.cli.display import check_display
from medseg.errors import SettingsError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a display")

NAMES = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
QUICK_S = 0.3


def review(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What ``medseg review`` says where these variables name the display."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    program = "from medseg.cli.main import run; run()"
    words = [sys.executable, "-c", program, "review", str(folder)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env=kept | environment, check=False)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "there is no display"),
        ({"DISPLAY": ":4711"}, "no display answers at DISPLAY=:4711"),
        ({"DISPLAY": "127.0.0.1:4711"}, "no display answers at DISPLAY=127.0.0.1:4711"),
        ({"DISPLAY": "nonsense"}, "no display answers at DISPLAY=nonsense"),
        ({"WAYLAND_DISPLAY": "wayland-4711", "XDG_RUNTIME_DIR": "/absent"}, "WAYLAND_DISPLAY=wayland-4711"),
    ],
)
def test_a_display_that_is_not_there_ends_the_command_in_one_line(tmp_path, napari_installed, environment, message):
    ended = review(tmp_path, **environment)
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ended.stderr
    assert message in lines[0]


def test_an_x_server_that_breaks_off_is_no_display():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1] - 6000

        def hang_up() -> None:
            listening.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(SettingsError, match="no display answers"):
            check_display({"DISPLAY": f"127.0.0.1:{number}"})
        thread.join()


def test_a_dead_display_is_told_at_once():
    started = time.perf_counter()
    with pytest.raises(SettingsError):
        check_display({"DISPLAY": ":4711"})
    assert time.perf_counter() - started < QUICK_S


def test_a_display_that_answers_is_taken(display):
    check_display()
    check_display({name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"})


def test_a_compositor_that_listens_is_taken_where_the_x_server_is_dead(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "wayland-0"))
        listening.listen()
        check_display({"WAYLAND_DISPLAY": "wayland-0", "XDG_RUNTIME_DIR": str(tmp_path), "DISPLAY": ":4711"})


def test_a_platform_of_qt_without_a_display_needs_none():
    check_display({"QT_QPA_PLATFORM": "offscreen"})
    with pytest.raises(SettingsError, match="DISPLAY=:4711"):
        check_display({"QT_QPA_PLATFORM": "xcb", "DISPLAY": ":4711"})
