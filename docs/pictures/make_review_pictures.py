"""The pictures of the review in the documentation, on a made head and a made tumour: no patient is in them.

xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python docs/pictures/make_review_pictures.py
"""

import tempfile
from pathlib import Path

import napari
import nibabel as nib
import numpy as np
from PIL import Image
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget
from scipy import ndimage

from medseg.data import load_manifest
from medseg.review import worklist_from_folder, worklist_from_manifest
from medseg.review.sample import head_labels, head_sample
from medseg.review.widgets import ReviewPanel

HERE = Path(__file__).parent
WIDTH = 1200
WINDOW = (1500, 940)
TABS = {"worklist": 0, "segment": 1, "edit": 2, "see": 3, "decide": 4}


class Camera:
    """A window with the panel, and what takes its picture."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(*WINDOW)
        self.panel = ReviewPanel(self.viewer)
        self.viewer.window.add_dock_widget(self.panel, name="Review segmentations", area="right")
        self.panel.decide.name_reviewer("R. Eader")

    def show(self, tab: str) -> None:
        """Bring a tab to the front."""
        self.panel.tabs.setCurrentIndex(TABS[tab])

    def take(self, name: str) -> None:
        """The whole window as ``review_NAME.png``."""
        QTest.qWait(1200)
        keep(self.viewer.screenshot(canvas_only=False, flash=False), name)


def keep(pixels: np.ndarray, name: str) -> None:
    """A picture of few colours and at most ``WIDTH`` pixels across."""
    image = Image.fromarray(pixels[..., :3])
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        HERE / f"review_{name}.png", optimize=True
    )


def grabbed(widget: QWidget) -> np.ndarray:
    """What a widget shows, (rows, columns, 3)."""
    image = widget.grab().toImage()
    image = image.convertToFormat(image.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)


def write_heads(folder: Path) -> None:
    """Five made heads, four of them with labels."""
    data, *_ = head_sample()[0]
    labels, geometry = head_labels()
    image = head_sample()[0][1]["metadata"]["medseg"].grid.stored(np.asarray(data))
    for number in range(1, 6):
        nib.save(nib.Nifti1Image(image.astype(np.float32), geometry.affine), folder / f"head_{number}.nii.gz")
        if number < 5:
            nib.save(nib.Nifti1Image(labels, geometry.affine), folder / f"head_{number}_seg.nii.gz")


def write_tumour(folder: Path) -> None:
    """A made brain of four channels with three nested regions, laid out as BraTS."""
    shape, random = (120, 140, 100), np.random.default_rng(1)
    points = np.indices(shape).astype(np.float32)

    def ball(center: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        parts = zip(points, center, radii, strict=True)
        return sum(((axis - at) / radius) ** 2 for axis, at, radius in parts) < 1

    brain, lesion = ball((60, 70, 50), (48, 60, 40)), (78, 80, 58)
    whole, core = ball(lesion, (22, 24, 17)), ball(lesion, (14, 15, 11))
    necrosis = ball(lesion, (9, 10, 6))
    labels = np.zeros(shape, np.uint8)
    labels[whole], labels[core], labels[necrosis] = 2, 4, 1
    levels = {"t1": (500, 380, 350, 300), "t1ce": (500, 420, 900, 320), "t2": (400, 800, 650, 900),
              "flair": (400, 900, 700, 350)}  # fmt: skip
    case = folder / "brats_2021" / "BraTS2021_00006"
    case.mkdir(parents=True)
    affine = np.diag([-1.5, -1.5, 1.5, 1.0])
    for name, (tissue, edema, enhancing, dead) in levels.items():
        image = np.where(brain, tissue, 0).astype(np.float32)
        for mask, value in ((whole, edema), (core, enhancing), (necrosis, dead)):
            image[mask & brain] = value
        image = ndimage.gaussian_filter(image, 1) + brain * random.normal(0, 25, shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), case / f"{case.name}_{name}.nii.gz")
    nib.save(nib.Nifti1Image(labels * brain, affine), case / f"{case.name}_seg.nii.gz")


def of_editing(camera: Camera, folder: Path) -> None:
    """Worklist, editing, differences."""
    panel, viewer = camera.panel, camera.viewer
    panel.desk.show_worklist(worklist_from_folder(folder))
    panel.worklist.open_case("head_2")
    panel.desk.accept()
    panel.desk.decide(lambda session: session.flag("motion"))
    panel.worklist.open_case("head_3")
    panel.desk.decide(lambda session: session.reject("missed part"))
    panel.worklist.open_case("head_1")
    camera.take("worklist")
    layers = panel.desk.layers
    camera.show("edit")
    panel.edit.labels.choose_row(3)
    panel.edit.choose_mode("paint")
    for step in range(6):
        _, y, x = (size // 2 for size in layers.grid.shape)
        layers.labels.brush_size = 8
        layers.labels.paint((viewer.dims.current_step[0], y - 20 + 3 * step, x - 24 + 5 * step), 4)
    camera.take("edit")
    camera.show("see")
    panel.see.difference.setChecked(True)
    QTest.qWait(8000)  # until the sizes are measured
    camera.take("difference")
    panel.see.difference.setChecked(False)


def of_looking(camera: Camera) -> None:
    """Uncertainty, three dimensions, decision, planes."""
    panel, layers = camera.panel, camera.panel.desk.layers
    changed = ndimage.binary_dilation(panel.desk.session.editor.labels == 4, iterations=3)
    panel.desk.show_uncertainty(ndimage.gaussian_filter(changed.astype(np.float32), 2) * 0.9)
    panel.see.outline.setChecked(True)
    panel.see.jump()
    camera.take("uncertainty")
    panel.desk.hide_uncertainty()
    panel.see.outline.setChecked(False)
    layers.hide_labels(frozenset({1}))
    panel.see.volume.setChecked(True)
    camera.take("3d")
    panel.see.volume.setChecked(False)
    layers.hide_labels(frozenset())
    camera.show("decide")
    panel.decide.reject()
    QTest.qWait(300)
    panel.decide.dialog.reason.setCurrentText("missed part")
    keep(grabbed(panel.decide.dialog), "decision")
    panel.decide.dialog.accept()
    camera.show("see")
    panel.show_planes()
    camera.take("planes")


def main() -> None:
    camera = Camera()
    with tempfile.TemporaryDirectory() as heads, tempfile.TemporaryDirectory() as tumours:
        write_heads(Path(heads))
        of_editing(camera, Path(heads))
        of_looking(camera)
        write_tumour(Path(tumours))
        manifest = load_manifest("brats_2021").on_disk(Path(tumours))
        camera.panel.desk.show_worklist(worklist_from_manifest(manifest, Path(tumours)))
        camera.panel.worklist.open_next()
        camera.panel.see.channel.setCurrentIndex(1)
        camera.show("edit")
        camera.take("regions")
        camera.viewer.close()


if __name__ == "__main__":
    main()
