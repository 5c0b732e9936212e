"""Left and right: in every orientation, and on the parotids of a real patient."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import Limits, Sides, middle_x_mm, split_left_right, split_pieces_left_right

ALL_48_AXCODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]


def oriented(labels, affine, axcodes):
    """The same case stored in another orientation, by nibabel."""
    wanted = nib.orientations.axcodes2ornt(axcodes)
    transform = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
    turned = nib.orientations.apply_orientation(labels, transform)
    return turned, Geometry(turned.shape, affine @ nib.orientations.inv_ornt_aff(transform, labels.shape))


@pytest.fixture
def patient():
    """Stored RAS, so i runs to the patient's right: the left kidney at low i, joined to the right one by a bridge."""
    labels = np.zeros((20, 10, 8), np.uint8)
    labels[2:6, 3:7, 2:6] = 5
    labels[13:18, 3:7, 2:6] = 5
    labels[6:13, 5, 4] = 5
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    affine[:3, 3] = -40.0, 7.0, 100.0
    return labels, affine


def test_there_are_48_orientations():
    assert len(set(ALL_48_AXCODES)) == 48


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_the_left_is_the_patients_left_in_every_orientation(axcodes, patient):
    labels, affine = patient
    expected = labels.copy()
    expected[:10][labels[:10] == 5] = 1  # towards L: below the plane at i = 9.5
    expected[10:][labels[10:] == 5] = 2
    turned, geometry = oriented(labels, affine, axcodes)
    assert geometry.axcodes == axcodes
    x_mm = middle_x_mm(turned, 5, geometry=geometry)
    assert x_mm == pytest.approx(-40 + 1.5 * 9.5)
    split = split_left_right(turned, 5, sides=Sides(left=1, right=2, x_mm=x_mm), geometry=geometry)
    np.testing.assert_array_equal(split, oriented(expected, affine, axcodes)[0])


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAL", "PIR"])
def test_a_piece_goes_whole_to_the_side_of_its_centre(axcodes, patient):
    labels, affine = patient
    labels[8:13, 5, 4] = 0  # the bridge is cut, its stump reaches far towards the right
    turned, geometry = oriented(labels, affine, axcodes)
    sides = Sides(left=5, right=2, x_mm=-40 + 1.5 * 4.2)
    split = split_pieces_left_right(turned, 5, sides=sides, geometry=geometry)
    expected = labels.copy()
    expected[13:18][labels[13:18] == 5] = 2
    np.testing.assert_array_equal(split, oriented(expected, affine, axcodes)[0])


def test_voxels_on_the_plane_go_to_the_left(patient):
    labels, affine = patient
    geometry = Geometry(labels.shape, affine)
    split = split_left_right(labels, 5, sides=Sides(left=1, right=2, x_mm=-40 + 1.5 * 9), geometry=geometry)
    assert (split[9, 5, 4], split[10, 5, 4]) == (1, 2)


def test_on_an_oblique_grid_the_plane_is_the_patients_not_the_arrays():
    angle = np.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    labels = np.ones((21, 21, 3), np.uint8)
    affine[:3, 3] = -affine[:3, :3] @ [10, 10, 1]
    split = split_left_right(labels, 1, sides=Sides(1, 2, x_mm=0.0), geometry=Geometry(labels.shape, affine))
    for i, j in [(0, 0), (20, 0), (0, 20), (12, 14), (12, 12)]:
        x_mm = affine[0, 0] * (i - 10) + affine[0, 1] * (j - 10)
        assert split[i, j, 1] == (2 if x_mm > 0 else 1)


def test_other_labels_stay_and_locked_sides_are_refused(patient):
    labels, affine = patient
    labels[0] = 7
    geometry = Geometry(labels.shape, affine)
    sides = Sides(left=1, right=2, x_mm=-26.0)
    assert (split_left_right(labels, 5, sides=sides, geometry=geometry)[0] == 7).all()
    with pytest.raises(ReviewError, match="label 2 is locked"):
        split_left_right(labels, 5, sides=sides, geometry=geometry, limits=Limits(protected=frozenset({2})))


@pytest.mark.parametrize("split", [split_left_right, split_pieces_left_right])
def test_two_sides_need_two_labels(split, patient):
    labels, affine = patient
    with pytest.raises(ReviewError, match="left and right would both be label 3"):
        split(labels, 5, sides=Sides(left=3, right=3, x_mm=0.0), geometry=Geometry(labels.shape, affine))


@pytest.mark.parametrize("split", [split_left_right, split_pieces_left_right])
def test_the_parotids_of_a_patient_made_one_come_apart_as_the_clinic_named_them(split, test_data):
    scan = nib.load(test_data / "OpenKBP_HaN/labelsTr/openkbp_004.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    joined = np.where(labels == 3, 4, labels).astype(np.uint8)  # the schema: 3 right_parotid, 4 left_parotid
    geometry = Geometry(labels.shape, scan.affine)
    sides = Sides(left=4, right=3, x_mm=middle_x_mm(joined, 4, geometry=geometry))
    np.testing.assert_array_equal(split(joined, 4, sides=sides, geometry=geometry), labels)
