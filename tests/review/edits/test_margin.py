"""Margins in mm: boxes and balls whose result is known, and the distance transform as judge."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import ANY_LABEL, Limits, grow, shrink


def grid(shape, *spacing_mm):
    return Geometry(shape, np.diag([*spacing_mm, 1.0]))


def boxed(shape, *boxes):
    labels = np.zeros(shape, np.uint8)
    for value, box in boxes:
        labels[box] = value
    return labels


def test_one_voxel_grows_to_the_voxels_within_the_margin_on_an_anisotropic_grid():
    labels = boxed((9, 9, 9), (3, np.s_[4, 4, 4]))
    grown = grow(labels, 3, by_mm=3.0, geometry=grid(labels.shape, 1.0, 2.0, 3.0))
    offsets = np.argwhere(grown == 3) - 4
    expected = {
        (i, j, k)
        for i in range(-4, 5)
        for j in range(-4, 5)
        for k in range(-4, 5)
        if i**2 + (2 * j) ** 2 + (3 * k) ** 2 <= 9
    }
    assert {tuple(offset) for offset in offsets.tolist()} == expected


@pytest.mark.parametrize("margin_mm", [0.5, 1.3, 4.0, 40.0])
def test_growing_is_the_distance_transform_at_the_margin(margin_mm):
    rng = np.random.default_rng(3)
    labels = (rng.random((30, 24, 12)) > 0.998).astype(np.uint8)
    geometry = grid(labels.shape, 0.7, 1.1, 2.5)
    distances = ndimage.distance_transform_edt(labels == 0, sampling=geometry.spacing_mm)
    grown = grow(labels, 1, by_mm=margin_mm, geometry=geometry)
    np.testing.assert_array_equal(grown == 1, distances <= margin_mm)


def test_a_margin_of_the_voxel_size_in_a_32_bit_header_takes_the_next_voxel():
    labels = boxed((7, 3, 3), (1, np.s_[3, 1, 1]))
    grown = grow(labels, 1, by_mm=0.9, geometry=grid(labels.shape, float(np.float32(0.9)) + 1e-8, 5.0, 5.0))
    assert np.flatnonzero(grown[:, 1, 1]).tolist() == [2, 3, 4]


def test_growing_stops_at_another_label_unless_it_may_take_it():
    labels = boxed((10, 3, 3), (1, np.s_[2:4]), (2, np.s_[5:7]), (3, np.s_[7:9]))
    geometry = grid(labels.shape, 1.0, 1.0, 1.0)
    assert grow(labels, 1, by_mm=4, geometry=geometry)[:, 1, 1].tolist() == [1, 1, 1, 1, 1, 2, 2, 3, 3, 0]
    chosen = Limits(over=frozenset({2}))
    assert grow(labels, 1, by_mm=4, geometry=geometry, limits=chosen)[:, 1, 1].tolist() == [
        0, 0, 1, 1, 0, 1, 1, 3, 3, 0
    ]  # fmt: skip
    locked = Limits(over=ANY_LABEL, protected=frozenset({2}))
    assert grow(labels, 1, by_mm=4, geometry=geometry, limits=locked)[:, 1, 1].tolist() == [
        1, 1, 1, 1, 1, 2, 2, 1, 3, 0
    ]  # fmt: skip


def test_a_box_shrinks_by_the_margin_on_every_side():
    labels = boxed((20, 20, 20), (1, np.s_[5:15, 5:15, 5:15]))
    shrunk = shrink(labels, 1, by_mm=2.0, geometry=grid(labels.shape, 1.0, 1.0, 2.0))
    np.testing.assert_array_equal(shrunk, boxed((20, 20, 20), (1, np.s_[7:13, 7:13, 6:14])))


def test_the_end_of_the_scan_is_no_border_to_shrink_from():
    labels = boxed((20, 8, 8), (1, np.s_[:10]))
    shrunk = shrink(labels, 1, by_mm=3.0, geometry=grid(labels.shape, 1.0, 1.0, 1.0))
    np.testing.assert_array_equal(shrunk, boxed((20, 8, 8), (1, np.s_[:7])))


def test_shrinking_draws_back_from_another_label_and_leaves_it():
    labels = boxed((10, 3, 3), (1, np.s_[:5]), (2, np.s_[5:]))
    shrunk = shrink(labels, 1, by_mm=1.0, geometry=grid(labels.shape, 1.0, 1.0, 1.0))
    assert shrunk[:, 1, 1].tolist() == [1, 1, 1, 1, 0, 2, 2, 2, 2, 2]


def test_a_ball_grown_and_shrunk_has_the_volume_of_the_other_radius():
    i, j, k = np.ogrid[:60, :60, :30]
    ball = (((i - 30) ** 2 + (j - 30) ** 2 + (2 * (k - 15)) ** 2) <= 20**2).astype(np.uint8)
    geometry = grid(ball.shape, 1.0, 1.0, 2.0)
    for edited, radius in (
        (grow(ball, 1, by_mm=5, geometry=geometry), 25),
        (shrink(ball, 1, by_mm=5, geometry=geometry), 15),
    ):
        assert edited.sum() * 2 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.06)


def test_the_labels_given_stay_as_they_were():
    labels = boxed((9, 9, 9), (1, np.s_[3:6, 3:6, 3:6]))
    labels.setflags(write=False)
    geometry = grid(labels.shape, 1.0, 1.0, 1.0)
    assert grow(labels, 1, by_mm=1, geometry=geometry).sum() == 27 + 54
    assert shrink(labels, 1, by_mm=1, geometry=geometry).sum() == 1


@pytest.mark.parametrize("edit", [grow, shrink])
@pytest.mark.parametrize(
    ("label", "margin_mm", "limits", "reason"),
    [
        (2, 1.0, Limits(), "label 2 is nowhere in this case"),
        (1, 0.0, Limits(), "a number of millimetres above 0"),
        (1, float("nan"), Limits(), "a number of millimetres above 0"),
        (1, 1.0, Limits(protected=frozenset({1})), "label 1 is locked: unlock it"),
        (0, 1.0, Limits(), "0 is no label"),
    ],
)
def test_a_margin_that_makes_no_sense_is_refused(edit, label, margin_mm, limits, reason):
    labels = boxed((9, 9, 9), (1, np.s_[3:6, 3:6, 3:6]))
    with pytest.raises(ReviewError, match=reason):
        edit(labels, label, by_mm=margin_mm, geometry=grid(labels.shape, 1.0, 1.0, 1.0), limits=limits)


def test_shrinking_to_nothing_is_refused():
    labels = boxed((9, 9, 9), (1, np.s_[3:6, 3:6, 3:6]))
    with pytest.raises(ReviewError, match="nothing would be left of label 1 2 mm smaller"):
        shrink(labels, 1, by_mm=2, geometry=grid(labels.shape, 1.0, 1.0, 1.0))


def test_growing_a_hippocampus_gives_the_same_voxels_in_any_orientation(test_data):
    scan = nib.load(test_data / "Task04_Hippocampus/labelsTr/hippocampus_001.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    turned = labels.transpose(2, 0, 1)[:, ::-1]
    spacing = (1.0, 1.2, 0.8)
    here = grow(labels, 1, by_mm=2.5, geometry=grid(labels.shape, *spacing))
    there = grow(turned, 1, by_mm=2.5, geometry=grid(turned.shape, spacing[2], -spacing[0], spacing[1]))
    np.testing.assert_array_equal(there, here.transpose(2, 0, 1)[:, ::-1])
    assert np.count_nonzero(here == 2) == np.count_nonzero(labels == 2) > 0
