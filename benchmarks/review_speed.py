"""How soon a stroke and a slice are on the screen: medseg's review against napari alone, on one large CT.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python benchmarks/review_speed.py [--repeats 50]

A made CT of 512×512×300 voxels with 14 labels in a real window. A stroke is a press of the mouse button and a move
while it is held, as Qt delivers them; the time ends when the canvas has been drawn and read back, so that software
rendering has truly finished. napari alone holds the same arrays in the same layers, without medseg's desk and panel.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import nibabel as nib
import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from medseg.review.widgets.panel import ReviewPanel

SHAPE = (512, 512, 300)
SPACING_MM = (0.8, 0.8, 1.5)
LABELS = 14
BRUSH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        write_case(Path(folder))
        rows = [("napari alone", *alone(Path(folder), repeats)), ("medseg review", *reviewed(Path(folder), repeats))]
    print(f"{'median (90th percentile), ms':>30} {'press':>16} {'move':>16} {'release':>16} {'slice':>16}")
    for name, *columns in rows:
        print(f"{name:>30} " + " ".join(f"{middle:>8.0f} ({high:>4.0f}) " for middle, high in columns))


def write_case(folder: Path) -> None:
    """A CT of noise around soft tissue, and fourteen balls."""
    random = np.random.default_rng(0)
    plane = random.normal(40, 20, SHAPE[:2])
    image = (plane[..., None] + np.linspace(-30, 30, SHAPE[2])).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    grid = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    for label in range(1, LABELS + 1):
        center = [random.integers(size // 5, 4 * size // 5) for size in SHAPE]
        distance = sum(((axis - at) / radius) ** 2 for axis, at, radius in zip(grid, center, (60, 60, 50), strict=True))
        labels[distance < 1] = label
    affine = np.diag([*(-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2]), 1])
    nib.save(nib.Nifti1Image(image, affine), folder / "ct.nii")
    nib.save(nib.Nifti1Image(labels, affine), folder / "ct_seg.nii")


def reviewed(folder: Path, repeats: int) -> list[tuple[float, float]]:
    """The times with medseg's panel and an open case."""
    viewer = shown()
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel, name="review", area="right")
    panel.decide.name_reviewer("R. Eader")
    panel.worklist.open_folder(folder)
    panel.worklist.open_next()
    assert panel.desk.layers is not None, panel.line.text()
    times = measured(viewer, panel.desk.layers.labels, repeats)
    viewer.close()
    return times


def alone(folder: Path, repeats: int) -> list[tuple[float, float]]:
    """The times of napari with the same arrays, and a panel of the same width that does nothing."""
    viewer = shown()
    place = {"scale": SPACING_MM[::-1]}
    image = np.ascontiguousarray(nib.load(folder / "ct.nii").get_fdata(dtype=np.float32)).transpose()
    labels = np.ascontiguousarray(np.asarray(nib.load(folder / "ct_seg.nii").dataobj)).transpose()
    viewer.add_image(image, contrast_limits=(-160, 240), **place)
    viewer.add_labels(labels.copy(order="F"), name="as opened", visible=False, opacity=0.5, **place)
    layer = viewer.add_labels(labels, opacity=0.5, **place)
    filler = QWidget()
    filler.setMinimumWidth(420)
    viewer.window.add_dock_widget(filler, name="filler", area="right")
    times = measured(viewer, layer, repeats)
    viewer.close()
    return times


def shown() -> napari.Viewer:
    """A viewer on the screen."""
    viewer = napari.Viewer(show=True)
    QTest.qWait(500)
    return viewer


def measured(viewer: napari.Viewer, layer: napari.layers.Labels, repeats: int) -> list[tuple[float, float]]:
    """Milliseconds from press, move and release of the brush, and from a step of slices, to the picture."""
    shown = [widget for widget in QApplication.allWidgets() if widget.isVisible()]
    native = next(widget for widget in shown if type(widget).__name__ == "CanvasBackendDesktop")
    layer.mode, layer.brush_size, layer.selected_label = "paint", BRUSH, 3
    viewer.dims.set_current_step(0, SHAPE[2] // 2)
    QTest.qWait(1500)
    middle = QPoint(native.width() // 2, native.height() // 2)
    held = (Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    times: dict[str, list[float]] = {"press": [], "move": [], "release": [], "slice": []}

    def clocked(name: str, act: Callable[[], object]) -> None:
        begin = time.perf_counter()
        act()
        QApplication.processEvents()
        native.grabFramebuffer()
        times[name].append(1000 * (time.perf_counter() - begin))

    for turn in range(repeats):
        at = middle + QPoint(3 * (turn % 20) - 30, 4 * (turn % 17) - 34)
        clocked("press", lambda at=at: QTest.mousePress(native, *held, at))
        clocked("move", lambda at=at: QTest.mouseMove(native, at + QPoint(12, 5)))
        clocked("release", lambda at=at: QTest.mouseRelease(native, *held, at + QPoint(12, 5)))
    for turn in range(repeats):
        clocked("slice", lambda turn=turn: viewer.dims.set_current_step(0, 100 + turn))
    return [(statistics.median(values), statistics.quantiles(values, n=10)[-1]) for values in times.values()]


if __name__ == "__main__":
    main()
