"""The picture: it is always drawn, its outlines stand where the labels are, and the same input gives the same bytes."""

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from monai.data import MetaTensor

from medseg.errors import DataError, GeometryError, OutputError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.report import draw_segmentation, write_picture
from medseg.report.canvas import shorten
from medseg.segmentation import Segmentation

RED, BLUE = (255, 0, 0), (0, 0, 255)
TABLE = LabelTable.from_entries(
    [{"index": 1, "name": "first", "color": RED}, {"index": 2, "name": "second", "color": BLUE}], source="test"
)
RAS = np.eye(4)


def made_up(labels: np.ndarray, affine: np.ndarray = RAS) -> tuple[MetaTensor, Segmentation]:
    """Labels and a noisy image under them."""
    noise = np.random.default_rng(0).normal(100, 20, labels.shape).astype(np.float32)
    image = MetaTensor(torch.from_numpy(noise)[None], affine=torch.from_numpy(affine))
    return image, Segmentation(labels, Geometry(labels.shape, affine), TABLE)


def cuboid(shape: tuple[int, int, int] = (40, 50, 30)) -> np.ndarray:
    """Label 1 in the middle half of every axis."""
    labels = np.zeros(shape, dtype=np.uint8)
    labels[tuple(slice(size // 4, max(3 * size // 4, 1)) for size in shape)] = 1
    return labels


def texts_of(figure: Figure) -> list[str]:
    """Everything written in the picture."""
    return [text.get_text() for text in figure.texts]


def drawn(labels: np.ndarray, affine: np.ndarray = RAS) -> Figure:
    """The picture of made-up labels."""
    return draw_segmentation(*made_up(labels, affine), case_id="case_7", bundle_name="swin_unetr")


def pixels_of(path: Path, labels: np.ndarray, affine: np.ndarray = RAS) -> np.ndarray:
    """The pixels (rows, columns, RGB) of the written picture, 0 to 255."""
    write_picture(path, *made_up(labels, affine), case_id="case_7", bundle_name="swin_unetr", overwrite=True)
    return np.round(imread(path)[..., :3] * 255).astype(int)


def positions(pixels: np.ndarray, color: tuple[int, int, int], *, panel) -> np.ndarray:
    """Where (x, y; shares of the panel from its top left corner) the panel's pixels have exactly this colour."""
    height, width = pixels.shape[:2]
    left, right = round(panel.x0 * width), round(panel.x1 * width)
    top, bottom = round((1 - panel.y1) * height), round((1 - panel.y0) * height)
    rows, columns = np.nonzero((pixels[top:bottom, left:right] == color).all(axis=-1))
    return np.stack([(columns + 0.5) / (right - left), (rows + 0.5) / (bottom - top)], axis=-1)


def panels_of(labels: np.ndarray, affine: np.ndarray = RAS) -> list:
    """The places of the planes in the picture."""
    return [axes.get_position() for axes in drawn(labels, affine).axes]


def test_outlines_stand_at_the_voxel_borders_of_their_label(tmp_path):
    labels = np.zeros((40, 40, 40), dtype=np.uint8)
    labels[4:12, 10:36, 20:30] = 1  # right of the patient is at high i: columns 28/40 to 36/40 of the axial plane
    labels[20:38, 2:8, 2:38] = 2
    pixels = pixels_of(tmp_path / "p.png", labels)
    axial = positions(pixels, RED, panel=panels_of(labels)[0])
    assert axial.min(axis=0) == pytest.approx([28 / 40, 4 / 40], abs=0.004)
    assert axial.max(axis=0) == pytest.approx([36 / 40, 30 / 40], abs=0.004)
    blue = positions(pixels, BLUE, panel=panels_of(labels)[0])
    assert blue.min(axis=0) == pytest.approx([2 / 40, 32 / 40], abs=0.004)
    assert blue.max(axis=0) == pytest.approx([20 / 40, 38 / 40], abs=0.004)


def test_grey_values_and_outlines_lie_on_each_other(tmp_path):
    labels = cuboid()
    image, segmentation = made_up(labels)
    bright = MetaTensor(torch.from_numpy(labels * 100.0).float()[None], affine=image.affine)
    write_picture(tmp_path / "p.png", bright, segmentation, case_id="a", bundle_name="b", overwrite=False)
    pixels = np.round(imread(tmp_path / "p.png")[..., :3] * 255).astype(int)
    panel = panels_of(labels)[0]
    red = positions(pixels, RED, panel=panel)
    black = positions(pixels, (0, 0, 0), panel=panel)
    inside = ((black > red.min(axis=0)) & (black < red.max(axis=0))).all(axis=-1)
    assert len(black) > 1000
    assert not inside.any()


@pytest.mark.parametrize("axcodes", ["LPS", "ASL", "IRP"])
def test_the_storage_order_changes_the_named_slices_only(axcodes, tmp_path):
    labels = cuboid()
    labels[30:33, 5:9, 20:25] = 2
    image, segmentation = made_up(labels)
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(RAS), nib.orientations.axcodes2ornt(axcodes))
    affine = RAS @ nib.orientations.inv_ornt_aff(turn, labels.shape)
    stored = np.ascontiguousarray(nib.orientations.apply_orientation(labels, turn))
    grey = np.ascontiguousarray(nib.orientations.apply_orientation(image[0].numpy(), turn))
    stored_image = MetaTensor(torch.from_numpy(grey)[None], affine=torch.from_numpy(affine))
    stored_segmentation = Segmentation(stored, Geometry(stored.shape, affine), TABLE)
    pictures = []
    for number, (scan, found) in enumerate(((image, segmentation), (stored_image, stored_segmentation))):
        path = tmp_path / f"{number}.png"
        write_picture(path, scan, found, case_id="a", bundle_name="b", overwrite=False)
        pictures.append(imread(path))
    height, width = pictures[0].shape[:2]
    assert pictures[1].shape == pictures[0].shape
    for panel in panels_of(labels):
        rows = slice(round((1 - panel.y1) * height), round((1 - panel.y0) * height))
        columns = slice(round(panel.x0 * width), round(panel.x1 * width))
        assert np.abs(pictures[0][rows, columns] - pictures[1][rows, columns]).max() < 2 / 255


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        write_picture(tmp_path / name, *made_up(cuboid()), case_id="a", bundle_name="b", overwrite=False)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert b"Software" not in (tmp_path / "one.png").read_bytes()


def test_title_volumes_letters_and_scale_bar_are_written():
    labels = cuboid()
    labels[0, 0, 0] = 2
    written = texts_of(drawn(labels))
    assert written[0] == "case_7"
    assert written[1].startswith("swin_unetr · 40 × 50 × 30 voxels of 1 × 1 × 1 mm, RAS")
    assert {"first", "second", "7.50 mL", "0.00100 mL", "*", "axial  k 14", "10 mm"} <= set(written)
    assert [written.count(letter) for letter in "RLAPSI"] == [2, 2, 2, 2, 2, 2]
    assert "Hollow: not in these planes." in written[-1]
    assert "* reaches the edge of the scan." in written[-1]


def test_a_scan_without_labels_is_drawn_and_says_so():
    figure = drawn(np.zeros((20, 30, 25), dtype=np.uint8))
    assert "nothing found" in texts_of(figure)
    assert {"axial  k 12", "coronal  j 14", "sagittal  i 9"} <= set(texts_of(figure))
    assert len(figure.axes) == 3


def test_small_labels_are_shown_once_more_enlarged():
    labels = np.zeros((100, 100, 100), dtype=np.uint8)
    labels[60:66, 20:27, 40:45] = 1
    figure = drawn(labels)
    assert len(figure.axes) == 6
    overview, enlarged = figure.axes[0], figure.axes[3]
    assert enlarged.get_xlim()[1] < overview.get_xlim()[1] / 4
    assert len(overview.patches) == 1
    assert not enlarged.patches


def test_labels_that_fill_the_scan_are_shown_once():
    labels = np.zeros((40, 50, 30), dtype=np.uint8)
    labels[4:36, 5:45, 3:27] = 1
    assert len(drawn(labels).axes) == 3


@pytest.mark.parametrize("shape", [(40, 50, 1), (40, 1, 30), (1, 50, 30), (1, 1, 50), (1, 1, 1), (2, 300, 300)])
def test_thin_scans_are_drawn(shape, tmp_path):
    pixels = pixels_of(tmp_path / "p.png", cuboid(shape))
    assert ((pixels == RED).all(axis=-1)).sum() > 50


def test_planes_have_the_proportions_of_the_patient():
    affine = np.diag([0.5, 1.0, 5.0, 1.0])
    figure = drawn(np.ones((100, 60, 12), dtype=np.uint8), affine)
    width, height = figure.get_size_inches()
    shapes = [(axes.get_position().width * width, axes.get_position().height * height) for axes in figure.axes]
    assert [high / wide for wide, high in shapes] == pytest.approx([60 / 50, 60 / 50, 60 / 60], rel=0.01)


def test_an_oblique_scan_says_that_its_letters_are_approximate():
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    assert "Oblique scan: letters name the nearest direction." in texts_of(drawn(cuboid(), affine))[-1]
    assert "Oblique" not in texts_of(drawn(cuboid()))[-1]


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_are_drawn_without_a_warning(tmp_path):
    image, segmentation = made_up(cuboid())
    image[0, :10] = torch.nan
    image[0, 20] = torch.inf
    write_picture(tmp_path / "p.png", image, segmentation, case_id="a", bundle_name="b", overwrite=False)
    assert ((np.round(imread(tmp_path / "p.png")[..., :3] * 255) == RED).all(axis=-1)).sum() > 50


def test_a_name_with_dollar_signs_and_a_very_long_one_are_written_on_one_line(tmp_path):
    image, segmentation = made_up(cuboid())
    for case_id in ("$x_1$ \\frac", "patient\n" * 60):
        write_picture(tmp_path / "p.png", image, segmentation, case_id=case_id, bundle_name="b", overwrite=True)
        title = texts_of(draw_segmentation(image, segmentation, case_id=case_id, bundle_name="b"))[0]
        assert "\n" not in title
        assert len(title) < 150


@pytest.mark.parametrize(
    ("text", "expected"),
    [("liver", "liver"), ("left  adrenal\tgland", "left adre…"), ("a\x00b\nc", "a b c"), ("", "")],
)
def test_text_is_cut_to_its_room(text, expected):
    assert shorten(text, width_px=59, size=10) == expected


def test_an_image_on_another_grid_is_refused():
    image, _ = made_up(cuboid())
    _, elsewhere = made_up(cuboid(), np.diag([2.0, 1.0, 1.0, 1.0]))
    with pytest.raises(GeometryError, match="one grid was expected"):
        draw_segmentation(image, elsewhere, case_id="a", bundle_name="b")


def test_a_label_without_a_name_is_refused():
    labels = cuboid()
    labels[0, 0, 0] = 9
    with pytest.raises(DataError, match="the value 9"):
        drawn(labels)


def test_a_picture_is_not_replaced_unasked_and_nothing_is_left_behind(tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        write_picture(path, *made_up(cuboid()), case_id="a", bundle_name="b", overwrite=False)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_scan_is_drawn_in_a_few_seconds_of_processor_time(test_data, tmp_path):
    folder = test_data / "BraTS" / "expert" / "BraTS2021_00006"
    scan = nib.load(folder / "BraTS2021_00006_flair.nii.gz")
    reference = np.asarray(nib.load(folder / "BraTS2021_00006_seg.nii.gz").dataobj)
    labels = np.where(reference > 2, 2, reference).astype(np.uint8)
    image = MetaTensor(torch.from_numpy(scan.get_fdata(dtype=np.float32))[None], affine=torch.from_numpy(scan.affine))
    segmentation = Segmentation(labels, Geometry(labels.shape, scan.affine), TABLE)
    start_s = time.process_time()
    write_picture(tmp_path / "p.png", image, segmentation, case_id="a", bundle_name="b", overwrite=False)
    assert time.process_time() - start_s < 4
    pixels = np.round(imread(tmp_path / "p.png")[..., :3] * 255)
    assert (pixels == RED).all(axis=-1).sum() > 500
    assert (pixels == BLUE).all(axis=-1).sum() > 500
