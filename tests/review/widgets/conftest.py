"""A real napari viewer with this plugin, on a real or virtual screen."""

import importlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medseg

SHAPE = (40, 36, 20)
AFFINE = np.diag([-1.5, -1.5, 3.0, 1.0])
MANIFEST = Path(medseg.__file__).parent / "review" / "napari.yaml"


@pytest.fixture
def viewer(display, request):
    """A shown viewer; it is closed at the end of the test."""
    shown = request.getfixturevalue("make_napari_viewer")(show=True)
    npe2 = importlib.import_module("npe2")
    plugins = npe2.PluginManager.instance()
    if "medseg" not in plugins:  # an older installation beside this checkout names no manifest
        plugins.register(npe2.PluginManifest.from_file(MANIFEST))
    shown.window.resize(1200, 800)
    return shown


@pytest.fixture
def scans(tmp_path, write_scan):
    """Three scans with two labels each."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:20, 8:20, 6:14] = 1
    labels[24:32, 20:30, 6:14] = 2
    for number in range(3):
        write_scan(tmp_path / f"scan_{number}.nii.gz", shape=SHAPE, affine=AFFINE, seed=number)
        nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / f"scan_{number}_seg.nii.gz")
    return tmp_path


@pytest.fixture
def panel(viewer, scans, qtbot):
    """The panel beside a canvas, its first case open."""
    made = importlib.import_module("medseg.review.widgets").ReviewPanel(viewer)
    viewer.window.add_dock_widget(made, name="review", area="right")
    made.decide.reviewer.setText("R. Eader")
    made.decide.reviewer.editingFinished.emit()
    made.worklist.open_folder(scans)
    made.worklist.open_next()
    qtbot.wait(100)
    yield made
    if not made.is_over:
        made.close()
