import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.review.boxes import box_of, require_box, widened


def test_a_box_holds_every_voxel_of_its_label_and_no_plane_more():
    rng = np.random.default_rng(8)
    for _ in range(20):
        labels = (rng.random((9, 8, 7)) > 0.98).astype(np.uint8) * 3
        labels[4, 4, 4] = 3
        points = np.argwhere(labels == 3)
        expected = tuple(slice(low, high + 1) for low, high in zip(points.min(0), points.max(0), strict=True))
        assert box_of(labels, 3) == expected


def test_a_label_that_is_nowhere_has_no_box():
    labels = np.zeros((3, 3, 3), np.uint8)
    assert box_of(labels, 3) is None
    with pytest.raises(ReviewError, match="label 3 is nowhere in this case: choose a label that is"):
        require_box(labels, 3)


def test_a_wider_box_ends_with_the_scan():
    assert widened(np.s_[1:3, 4:6, 2:9], (9, 9, 9), (2, 1, 4)) == np.s_[0:5, 3:7, 0:9]
