"""Smoothing: flat faces stay, specks and dents go, balls lose what the theory says."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import Limits, smooth


def ball(shape, centre, radius_mm, spacing_mm):
    i, j, k = np.ogrid[tuple(slice(size) for size in shape)]
    squared = sum(
        ((axis - middle) * size) ** 2 for axis, middle, size in zip((i, j, k), centre, spacing_mm, strict=True)
    )
    return (squared <= radius_mm**2).astype(np.uint8)


def test_a_flat_face_stays_and_a_speck_on_it_goes():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:10] = 1
    speckled = labels.copy()
    speckled[10, 10, 10] = 1
    speckled[5, 5, 5] = 0
    smoothed = smooth(speckled, 1, sigma_mm=1.5, geometry=Geometry(labels.shape, np.eye(4)))
    np.testing.assert_array_equal(smoothed, labels)


@pytest.mark.parametrize("sigma_mm", [2.0, 3.0])
def test_a_ball_draws_in_by_the_squared_width_over_its_radius(sigma_mm):
    spacing = (1.0, 1.0, 2.0)
    labels = ball((60, 60, 30), (30, 30, 15), 20.0, spacing)
    smoothed = smooth(labels, 1, sigma_mm=sigma_mm, geometry=Geometry(labels.shape, np.diag([*spacing, 1.0])))
    radius = (smoothed.sum() * 2 * 3 / 4 / np.pi) ** (1 / 3)
    assert radius == pytest.approx(20 - sigma_mm**2 / 20, abs=0.1)


def test_a_rough_ball_becomes_more_like_the_ball():
    rng = np.random.default_rng(2)
    clean = ball((50, 50, 50), (25, 25, 25), 15.0, (1, 1, 1))
    rim = ndimage.binary_dilation(clean) & ~ndimage.binary_erosion(clean)
    rough = np.where(rim & (rng.random(clean.shape) < 0.3), 1 - clean, clean).astype(np.uint8)
    smoothed = smooth(rough, 1, sigma_mm=1.5, geometry=Geometry(clean.shape, np.eye(4)))
    assert np.count_nonzero(smoothed != clean) < 0.35 * np.count_nonzero(rough != clean)


def test_what_leaves_becomes_background_and_a_neighbour_stays():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:10] = 1
    labels[10:] = 2
    labels[10, 10, 10] = 1
    labels[9, 4, 4] = 2
    smoothed = smooth(labels, 1, sigma_mm=1.5, geometry=Geometry(labels.shape, np.eye(4)))
    assert (smoothed[10, 10, 10], smoothed[9, 4, 4]) == (0, 2)
    taken = smooth(
        labels, 1, sigma_mm=1.5, geometry=Geometry(labels.shape, np.eye(4)), limits=Limits(over=frozenset({2}))
    )
    assert taken[9, 4, 4] == 1


def test_the_box_does_not_change_what_a_blur_of_the_whole_scan_gives():
    labels = ball((40, 36, 20), (12, 20, 10), 9.0, (1.0, 1.3, 2.2))
    geometry = Geometry(labels.shape, np.diag([1.0, 1.3, 2.2, 1.0]))
    blurred = ndimage.gaussian_filter(
        labels.astype(np.float32), [2.0, 2.0 / 1.3, 2.0 / 2.2], mode="nearest", truncate=3.0
    )
    np.testing.assert_array_equal(smooth(labels, 1, sigma_mm=2.0, geometry=geometry) == 1, blurred >= 0.5)


@pytest.mark.parametrize("sigma_mm", [0.0, float("nan")])
def test_a_width_that_makes_no_sense_is_refused(sigma_mm):
    labels = ball((9, 9, 9), (4, 4, 4), 3.0, (1, 1, 1))
    with pytest.raises(ReviewError, match="millimetres above 0"):
        smooth(labels, 1, sigma_mm=sigma_mm, geometry=Geometry(labels.shape, np.eye(4)))


def test_a_label_that_would_vanish_is_left_and_the_person_told():
    labels = ball((9, 9, 9), (4, 4, 4), 1.0, (1, 1, 1))
    with pytest.raises(ReviewError, match="label 1 is too thin to be smoothed by 3 mm"):
        smooth(labels, 1, sigma_mm=3.0, geometry=Geometry(labels.shape, np.eye(4)))


def test_a_smoothed_hippocampus_keeps_its_volume_roughly_and_its_neighbour_exactly(test_data):
    scan = nib.load(test_data / "Task04_Hippocampus/labelsTr/hippocampus_001.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    smoothed = smooth(labels, 1, sigma_mm=1.0, geometry=Geometry(labels.shape, scan.affine))
    before, after = np.count_nonzero(labels == 1), np.count_nonzero(smoothed == 1)
    assert 0.9 < after / before < 1.02
    np.testing.assert_array_equal(smoothed == 2, labels == 2)
