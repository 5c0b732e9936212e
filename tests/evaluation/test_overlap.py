"""Overlap: counts, Dice and IoU of small masks that can be counted by hand."""

import numpy as np
import pytest

from medseg.evaluation.overlap import count_voxels


def bar(start: int, stop: int) -> np.ndarray:
    """A row of voxels along i."""
    mask = np.zeros((10, 1, 1), dtype=bool)
    mask[start:stop] = True
    return mask


def test_two_bars_of_four_and_six_voxels_with_three_in_common():
    counts = count_voxels(bar(0, 4), bar(1, 7))
    assert (counts.prediction, counts.reference, counts.common) == (4, 6, 3)
    assert counts.dice == pytest.approx(6 / 10)
    assert counts.iou == pytest.approx(3 / 7)


@pytest.mark.parametrize(("prediction", "expected"), [(bar(2, 5), 1.0), (bar(6, 9), 0.0), (bar(0, 0), 0.0)])
def test_dice_and_iou_are_one_for_equal_masks_and_zero_without_a_common_voxel(prediction, expected):
    counts = count_voxels(prediction, bar(2, 5))
    assert counts.dice == counts.iou == expected


def test_iou_follows_from_dice():
    rng = np.random.default_rng(0)
    counts = count_voxels(rng.random((6, 7, 8)) < 0.4, rng.random((6, 7, 8)) < 0.3)
    assert counts.iou == pytest.approx(counts.dice / (2 - counts.dice))
