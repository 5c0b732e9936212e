"""A window of napari with the review panel in it.

In: a worklist and the reviewer's name. Out: the viewer and the panel; the caller runs napari's event loop.
"""

from typing import Final

from napari.viewer import Viewer

from medseg.review import Worklist
from medseg.review.widgets.panel import ReviewPanel

__all__ = ["TITLE", "open_review"]

TITLE: Final = "medseg review"
PANEL_NAME: Final = "review"

WIDTH: Final = 1500
HEIGHT: Final = 920
"""Pixels in which a scan is larger than what stands on both of its sides."""


def open_review(worklist: Worklist | None, *, reviewer: str = "", is_shown: bool = True) -> tuple[Viewer, ReviewPanel]:
    """A viewer with the panel beside its canvas, the worklist opened at the next case that nobody has decided on.

    Args:
        worklist: the cases; None leaves the choice to the person.
        reviewer: the name that decisions bear; empty: that of the preferences.
        is_shown: whether the window is shown at once.
    """
    viewer = Viewer(title=TITLE, show=is_shown)
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel, name=PANEL_NAME, area="right")
    _widen(viewer, panel)
    if reviewer:
        panel.decide.name_reviewer(reviewer)
    if worklist is not None:
        panel.teller.told(lambda: panel.desk.show_worklist(worklist))
        for failed in worklist.failed:
            panel.teller.say(f"{failed.case_id}: {failed.message}")
        if panel.desk.preferences.reviewer:
            panel.worklist.open_next()
        else:
            panel.teller.say("Enter your name under Decide, then open a case: every decision bears it.")
    return viewer, panel


def _widen(viewer: Viewer, panel: ReviewPanel) -> None:
    """Give the scan room, as far as the screen has it; a window that is larger already stays as its owner left it."""
    _, _, width, height = viewer.window.geometry()
    room = panel.screen().availableGeometry()
    viewer.window.resize(max(width, min(WIDTH, room.width())), max(height, min(HEIGHT, room.height())))
