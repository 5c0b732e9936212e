"""Interpolated and copied slices: cylinders, cones and slanted boxes with areas known in closed form."""

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import Limits, copy_slice, interpolate_slices, replace_between


def disc(shape, centre, radius_mm, spacing_mm):
    first, second = np.ogrid[: shape[0], : shape[1]]
    return ((first - centre[0]) * spacing_mm[0]) ** 2 + ((second - centre[1]) * spacing_mm[1]) ** 2 <= radius_mm**2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_between_two_discs_lies_a_cone_in_millimetres(axis):
    spacing_in_plane = (0.5, 1.25)
    planes = np.zeros((11, 160, 64), np.uint8)
    planes[0][disc((160, 64), (80, 32), 30.0, spacing_in_plane)] = 4
    planes[10][disc((160, 64), (80, 32), 10.0, spacing_in_plane)] = 4
    spacing = list(spacing_in_plane)
    spacing.insert(axis, 3.0)
    labels = np.ascontiguousarray(np.moveaxis(planes, 0, axis))
    filled = interpolate_slices(labels, 4, axis=axis, geometry=Geometry(labels.shape, np.diag([*spacing, 1.0])))
    areas = np.moveaxis(filled, axis, 0).sum(axis=(1, 2)) / 4 * 0.5 * 1.25
    np.testing.assert_allclose(areas, np.pi * (30.0 - 2.0 * np.arange(11)) ** 2, rtol=0.05)


def test_equal_slices_make_a_prism_and_painted_slices_stay():
    labels = np.zeros((12, 12, 9), np.uint8)
    labels[3:8, 2:9, [1, 5]] = 1
    labels[3:8, 2:9, 7] = 1
    labels[4, 4, 7] = 0
    filled = interpolate_slices(labels, 1, axis=2, geometry=Geometry(labels.shape, np.eye(4)))
    expected = labels.copy()
    expected[3:8, 2:9, 1:6] = 1
    np.testing.assert_array_equal(filled[:, :, :6], expected[:, :, :6])
    np.testing.assert_array_equal(filled[:, :, 7:], labels[:, :, 7:])
    assert filled[:, :, 6].sum() == 35, "the hole of one slice, one voxel wide, ends before half way to the other"


def test_half_way_between_two_boxes_each_edge_lies_half_way():
    labels = np.zeros((5, 40, 40), np.uint8)
    labels[0, 10:30, 10:30] = 1
    labels[4, 14:26, 10:30] = 1
    filled = interpolate_slices(labels, 1, axis=0, geometry=Geometry(labels.shape, np.eye(4)))
    rows = [np.flatnonzero(plane[:, 20]) for plane in filled]
    assert [(int(row[0]), int(row[-1])) for row in rows] == [(10, 29), (11, 28), (12, 27), (13, 26), (14, 25)]


def test_a_voxel_on_the_outline_stays_outside_at_any_share_of_the_way():
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[0, 5:15, 5:15] = 1
    labels[3, 5:16, 5:15] = 1  # one row more: a third of the way a voxel lies 1 and 2 parts off
    filled = interpolate_slices(labels, 1, axis=0, geometry=Geometry(labels.shape, np.eye(4)))
    assert [int(plane[:, 9].sum()) for plane in filled] == [10, 10, 11, 11]


def test_a_label_in_the_gap_is_not_painted_over():
    labels = np.zeros((5, 9, 9), np.uint8)
    labels[[0, 4], 2:7, 2:7] = 1
    labels[2, 4, 4] = 2
    geometry = Geometry(labels.shape, np.eye(4))
    assert interpolate_slices(labels, 1, axis=0, geometry=geometry)[2, 4, 4] == 2
    over = Limits(over=frozenset({0, 2}))
    assert interpolate_slices(labels, 1, axis=0, geometry=geometry, limits=over)[2, 4, 4] == 1


@pytest.mark.parametrize(
    ("painted", "reason"),
    [
        ([3], "label 1 is painted on 1 slices: two painted slices"),
        ([3, 4, 5], "label 1 is painted on 3 slices without a gap"),
    ],
)
def test_without_a_gap_there_is_nothing_to_interpolate(painted, reason):
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:5, 2:5, painted] = 1
    with pytest.raises(ReviewError, match=reason):
        interpolate_slices(labels, 1, axis=2, geometry=Geometry(labels.shape, np.eye(4)))


def test_outlines_that_do_not_overlap_are_refused_with_their_slices():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[0:3, 0:3, 2] = 1
    labels[5:8, 5:8, 6] = 1
    with pytest.raises(ReviewError, match="label 1 on slices 2 and 6 do not overlap: paint one more slice"):
        interpolate_slices(labels, 1, axis=2, geometry=Geometry(labels.shape, np.eye(4)))


def test_every_third_slice_of_a_real_tumour_gives_most_of_it_back(test_data):
    scan = nib.load(test_data / "BraTS/expert/BraTS2021_00006/BraTS2021_00006_seg.nii.gz")
    labels = (np.asarray(scan.dataobj) > 0).astype(np.uint8)
    found = np.flatnonzero(labels.any(axis=(0, 1)))
    middle = found[len(found) // 4 : -len(found) // 4]
    kept = middle[::3]
    sparse = np.zeros_like(labels)
    sparse[:, :, kept] = labels[:, :, kept]
    filled = interpolate_slices(sparse, 1, axis=2, geometry=Geometry(labels.shape, scan.affine))
    between = np.setdiff1d(np.arange(kept[0], kept[-1] + 1), kept)
    dice = (
        2
        * np.sum(filled[:, :, between] & labels[:, :, between])
        / (filled[:, :, between].sum() + labels[:, :, between].sum())
    )
    assert dice > 0.93


def test_a_copied_slice_takes_the_place_of_the_one_there():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3, 1:3, 2] = 1
    labels[4, 4, 3] = 1
    labels[1, 1, 3] = 2
    copied = copy_slice(labels, 1, axis=2, source=2, target=3)
    expected = labels.copy()
    expected[4, 4, 3] = 0
    expected[1:3, 1:3, 3] = 1
    expected[1, 1, 3] = 2
    np.testing.assert_array_equal(copied, expected)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (2, 6, "slice 6 is outside the scan, which has slices 0 to 5"),
        (-1, 2, "slice -1 is outside"),
        (3, 2, "label 1 is not on slice 3"),
    ],
)
def test_a_slice_that_is_not_there_is_not_copied(source, target, reason):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1, 2] = 1
    with pytest.raises(ReviewError, match=reason):
        copy_slice(labels, 1, axis=2, source=source, target=target)


@pytest.mark.parametrize("slices", [(2, 6), (6, 2)])
def test_a_wrong_stretch_is_replaced_between_its_corrected_ends(slices):
    labels = np.zeros((30, 30, 9), np.uint8)
    labels[10:20, 10:20, 1:8] = 1
    labels[2:28, 2:28, 4] = 1  # the model ran over here
    labels[12, 12, 5] = 0
    labels[11, 11, 3] = 2
    replaced = replace_between(labels, 1, axis=2, slices=slices, geometry=Geometry(labels.shape, np.eye(4)))
    expected = np.zeros_like(labels)
    expected[10:20, 10:20, 1:8] = 1
    expected[11, 11, 3] = 2
    np.testing.assert_array_equal(replaced, expected)


def test_replacing_gives_what_interpolating_an_empty_gap_gives():
    labels = np.zeros((8, 40, 40), np.uint8)
    labels[1, 10:30, 10:30] = labels[6, 14:26, 12:33] = 1
    geometry = Geometry(labels.shape, np.diag([2.0, 0.7, 0.9, 1.0]))
    filled = interpolate_slices(labels, 1, axis=0, geometry=geometry)
    dirty = filled.copy()
    dirty[3] = 1
    dirty[4] = 0
    np.testing.assert_array_equal(replace_between(dirty, 1, axis=0, slices=(1, 6), geometry=geometry), filled)


@pytest.mark.parametrize(
    ("slices", "reason"),
    [
        ((2, 3), "no slice lies between slices 2 and 3"),
        ((2, 9), "slice 9 is outside the scan"),
        ((0, 3), "label 1 is not on slice 0: paint it there first"),
        ((2, 5), "do not overlap"),
    ],
)
def test_a_stretch_without_two_ends_is_not_replaced(slices, reason):
    labels = np.zeros((12, 12, 9), np.uint8)
    labels[1:4, 1:4, 2:5] = 1
    labels[7:10, 7:10, 5] = 1
    with pytest.raises(ReviewError, match=reason):
        replace_between(labels, 1, axis=2, slices=slices, geometry=Geometry(labels.shape, np.eye(4)))
