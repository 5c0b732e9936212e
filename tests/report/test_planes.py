"""The planes: radiological display from every storage order, slices that show the labels, a readable grey window."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.report.planes import SOFT_TISSUE_HU, VIEWS, Display, best_slices, display_of, grey_window
from medseg.segmentation import Segmentation

TABLE = LabelTable.from_entries([{"index": 1, "name": "a", "color": (1, 2, 3)}], source="test")
ALL_48_AXCODES = [
    "".join(codes) for order in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*order)
]
AXIAL, CORONAL, SAGITTAL = VIEWS
SHAPE = (5, 6, 7)
AFFINE = np.array([[2.0, 0, 0, 3], [0, 3.0, 0, 4], [0, 0, 4.0, 5], [0, 0, 0, 1]])  # RAS


def display_of_stored(image: np.ndarray, affine: np.ndarray, *, axcodes: str) -> Display:
    """The display of an image (also used as its labels) that was stored in another order."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axcodes)
    )
    stored = nib.Nifti1Image(image, affine).as_reoriented(turn)
    array = np.ascontiguousarray(stored.get_fdata())
    tensor = MetaTensor(torch.from_numpy(array.astype(np.float32))[None], affine=torch.from_numpy(stored.affine))
    return display_of(tensor, Segmentation(array.astype(np.uint8), Geometry(array.shape, stored.affine), TABLE))


def slices_of(labels: np.ndarray) -> tuple[int, int, int]:
    """The slices that show labels best that need no turning."""
    return best_slices(display_of_stored(labels, np.diag([-1.0, -1.0, -1.0, 1.0]), axcodes="LPI"))


def corner_voxel(*, right: bool, anterior: bool, superior: bool) -> np.ndarray:
    """A RAS image that is 1 in one corner."""
    image = np.zeros(SHAPE)
    image[-1 if right else 0, -1 if anterior else 0, -1 if superior else 0] = 1
    return image


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_the_patients_right_is_on_the_left_and_anterior_on_top_from_every_storage_order(axcodes):
    display = display_of_stored(corner_voxel(right=True, anterior=True, superior=True), AFFINE, axcodes=axcodes)
    axial = display.grey_plane(AXIAL, 0, display.whole)
    coronal = display.grey_plane(CORONAL, 0, display.whole)
    sagittal = display.grey_plane(SAGITTAL, 0, display.whole)
    for plane, shape in ((axial, (6, 5)), (coronal, (7, 5)), (sagittal, (7, 6))):
        assert plane.shape == shape
        assert plane[0, 0] == 1
        assert plane.sum() == 1
    assert display.spacing_mm == pytest.approx((2, 3, 4))


@pytest.mark.parametrize("axcodes", ["RAS", "PSL", "IRA"])
def test_the_letters_stand_where_the_directions_are(axcodes):
    display = display_of_stored(corner_voxel(right=False, anterior=False, superior=False), AFFINE, axcodes=axcodes)
    for view, (columns, rows) in ((AXIAL, "LP"), (CORONAL, "LI"), (SAGITTAL, "PI")):
        plane = display.grey_plane(view, display.image.shape[view.normal] - 1, display.whole)
        assert plane[-1, -1] == 1
        assert (view.right, view.bottom) == (columns, rows)


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_the_named_slice_is_the_one_of_the_stored_array(axcodes):
    image = np.zeros(SHAPE)
    image[1, 2, 4] = 1
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(axcodes)
    )
    stored = np.argwhere(nib.orientations.apply_orientation(image, turn))[0]
    display = display_of_stored(image, AFFINE, axcodes=axcodes)
    slices = best_slices(display)
    named = {display.stored_slice(view, slices[view.normal]) for view in VIEWS}
    assert named == {f"{axis} {index}" for axis, index in zip("ijk", stored, strict=True)}


def test_a_slightly_turned_scan_is_shown_along_its_nearest_axes():
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    display = display_of_stored(corner_voxel(right=True, anterior=True, superior=True), affine, axcodes="RAS")
    assert display.grey_plane(AXIAL, 0, display.whole)[0, 0] == 1


def test_a_plane_is_cut_to_its_box():
    image = np.arange(np.prod(SHAPE), dtype=np.float64).reshape(SHAPE)
    display = display_of_stored(image, AFFINE, axcodes="LPI")
    box = (slice(1, 4), slice(2, 6), slice(0, 3))
    assert np.array_equal(display.grey_plane(AXIAL, 5, box), display.image[1:4, 2:6, 5].T)
    assert np.array_equal(display.grey_plane(SAGITTAL, 0, box), display.image[0, 2:6, 0:3].T)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((9, 9, 9), ["axial", "coronal", "sagittal"]),
        ((9, 9, 1), ["axial"]),
        ((9, 1, 9), ["coronal"]),
        ((1, 9, 9), ["sagittal"]),
        ((1, 1, 9), ["axial", "coronal", "sagittal"]),
    ],
)
def test_a_single_slice_has_one_plane(shape, names):
    display = display_of_stored(np.zeros(shape), np.eye(4), axcodes="RAS")
    assert [view.name for view in display.views()] == names


def test_the_label_box_has_its_margins_and_ends_at_the_scan():
    image = np.zeros((40, 40, 40))
    image[10:30, 1:3, 38] = 1
    display = display_of_stored(image, np.diag([-1.0, -1.0, -1.0, 1.0]), axcodes="LPI")
    assert display.label_box(margin_share=0.25, margin_voxels=3) == (slice(5, 35), slice(0, 6), slice(35, 40))


def test_without_labels_there_is_no_label_box():
    assert display_of_stored(np.zeros(SHAPE), AFFINE, axcodes="RAS").label_box(margin_share=0, margin_voxels=1) is None


def test_one_label_is_cut_where_its_area_is_largest():
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[4:16, 9, 9] = 1
    labels[12, 5:15, 6:14] = 1
    assert slices_of(labels)[0] == 12


def test_a_cuboid_is_cut_through_its_middle():
    labels = np.zeros((20, 21, 22), dtype=np.uint8)
    labels[2:7, 3:12, 10:21] = 1
    assert slices_of(labels) == (4, 7, 15)


def test_an_empty_scan_is_cut_through_its_middle():
    assert slices_of(np.zeros((20, 21, 1), dtype=np.uint8)) == (10, 10, 0)


def test_one_stray_voxel_does_not_draw_a_plane_to_itself():
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    labels[28, 28, 28] = 2
    assert all(5 <= index < 15 for index in slices_of(labels))


def test_a_slice_through_two_labels_is_preferred_to_one_through_the_larger_alone():
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    labels[13:17, 20:24, 20:24] = 2
    assert slices_of(labels)[0] in (13, 14)


def test_a_ct_is_shown_in_the_soft_tissue_window():
    image = np.full((30, 30, 30), -1000.0, dtype=np.float32)
    image[5:25, 5:25, 5:25] = 40
    image[8:22, 8:22, 8:22] = 60
    image[14:17] = 1200
    assert grey_window(image) == SOFT_TISSUE_HU


def test_a_ct_of_bone_alone_is_shown_in_its_own_range():
    image = np.full((30, 30, 30), -1000.0, dtype=np.float32)
    image[5:25, 5:25, 5:25] = np.linspace(600, 1600, 8000).reshape(20, 20, 20)
    black, white = grey_window(image)
    assert black == pytest.approx(610, abs=2)
    assert white == pytest.approx(1590, abs=2)


def test_dark_background_does_not_darken_an_image_without_units():
    image = np.zeros((40, 40, 40), dtype=np.float32)
    image[15:25, 15:25, 15:25] = np.linspace(500, 1500, 1000).reshape(10, 10, 10)
    black, white = grey_window(image)
    assert black == 0
    assert white == pytest.approx(1490, abs=5)


def test_a_few_very_bright_voxels_do_not_darken_the_rest():
    image = np.random.default_rng(0).normal(500, 50, (40, 40, 40)).astype(np.float32)
    image[0, 0, :10] = 1e6
    black, white = grey_window(image)
    assert 350 < black < 450
    assert 580 < white < 700


@pytest.mark.parametrize(
    ("fill", "expected"), [(7.0, (6.5, 7.5)), (0.0, (-0.5, 0.5)), (-1000.0, (-1000.5, -999.5)), (np.nan, (0, 1))]
)
def test_an_image_of_one_value_has_a_window_of_some_width(fill, expected):
    assert grey_window(np.full((3, 3, 3), fill, dtype=np.float32)) == expected


def test_values_that_are_not_finite_do_not_enter_the_window():
    image = np.random.default_rng(0).uniform(100, 200, (20, 20, 20)).astype(np.float32)
    expected = grey_window(image)
    image[:2] = np.nan
    image[2, 0, 0] = np.inf
    image[2, 0, 1] = -np.inf
    assert grey_window(image) == pytest.approx(expected, abs=2)
