"""A person who paints without pause in a real napari, until the process is killed: run by ``test_killed.py``.

In: the folder of scans, and a file. Out: a line in the file for every stroke, at once: when (seconds), and the hash of
the labels after it; and for every accepted version the hash of its file.
"""

import sys
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QTimer

from medseg.review.autosave import labels_sha256
from medseg.review.widgets.panel import ReviewPanel

STROKE_EVERY_MS = 40
ACCEPT_EVERY = 150


def main(folder: Path, told: Path) -> None:
    viewer = napari.Viewer(show=True)
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel, name="review", area="right")
    panel.desk.preferences = panel.desk.preferences.model_copy(update={"reviewer": "R. Eader"})
    panel.worklist.open_folder(folder)
    panel.worklist.open_next()
    labels, random = panel.desk.layers.labels, np.random.default_rng()
    strokes = 0
    log = told.open("a", buffering=1)

    def stroke() -> None:
        nonlocal strokes
        strokes += 1
        labels.brush_size = int(random.integers(3, 20))
        labels.paint(tuple(int(place) for place in random.integers(0, labels.data.shape)), int(random.integers(0, 4)))
        panel.desk.layers.absorb()
        log.write(f"stroke {time.time()} {labels_sha256(panel.desk.session.editor.labels)}\n")
        if strokes % ACCEPT_EVERY == 0:
            log.write(f"accepted {time.time()} {panel.desk.accept().record.labels_sha256}\n")

    timer = QTimer()
    timer.timeout.connect(stroke)
    timer.start(STROKE_EVERY_MS)
    napari.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
