"""The window that ``medseg review`` opens."""

import importlib

import pytest

pytestmark = pytest.mark.usefixtures("display")


@pytest.fixture
def window(viewer, monkeypatch):
    """The module that opens it, with a viewer that the test closes."""
    module = importlib.import_module("medseg.review.widgets.window")
    monkeypatch.setattr(module, "Viewer", lambda **_: viewer)
    return module


@pytest.mark.parametrize(("found", "wanted"), [((900, 600), (1300, 800)), ((1400, 850), (1400, 850))])
def test_the_scan_gets_room_and_a_larger_window_stays_as_it_was(window, viewer, monkeypatch, found, wanted):
    monkeypatch.setattr(window, "WIDTH", 1300)
    monkeypatch.setattr(window, "HEIGHT", 800)
    monkeypatch.setattr(window.ReviewPanel, "screen", lambda panel: Screen(1600, 1000))
    viewer.window.resize(*found)
    _, panel = window.open_review(None)
    assert viewer.window.geometry()[2:] == wanted
    panel.close()


def test_no_window_grows_beyond_the_screen(window, viewer, monkeypatch):
    monkeypatch.setattr(window.ReviewPanel, "screen", lambda panel: Screen(1250, 840))
    viewer.window.resize(1200, 800)
    _, panel = window.open_review(None)
    assert viewer.window.geometry()[2:] == (1250, 840)
    panel.close()


class Screen:
    """A screen of which all can be used."""

    def __init__(self, width: int, height: int) -> None:
        self._sizes = width, height

    def availableGeometry(self) -> "Screen":
        return self

    def width(self) -> int:
        return self._sizes[0]

    def height(self) -> int:
        return self._sizes[1]
