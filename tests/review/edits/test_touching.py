"""Two balls that touch, cut at their neck."""

import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import Limits, split_at_seeds

SHAPE = (60, 30, 16)
GRID = Geometry(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))


def two_balls():
    """Balls of radius 12 and 9 mm whose spheres meet in the plane i = 26.6, and a speck of its own."""
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    labels = np.zeros(SHAPE, np.uint8)
    first = (i - 16) ** 2 + (j - 15) ** 2 + (2 * (k - 7)) ** 2 <= 12**2
    second = (i - 34) ** 2 + (j - 15) ** 2 + (2 * (k - 7)) ** 2 <= 9**2
    labels[first | second] = 5
    labels[55, 3, 3] = 5
    return labels


def test_two_balls_come_apart_where_their_spheres_meet():
    labels = two_balls()
    split = split_at_seeds(labels, 5, seeds={5: (14, 15, 7), 6: (36, 14, 7)}, geometry=GRID)
    np.testing.assert_array_equal(split > 0, labels > 0)
    neck = (12**2 - 9**2 + 34**2 - 16**2) / (2 * (34 - 16))  # where both spheres have the same equation
    columns = np.arange(SHAPE[0])[:, None, None]
    assert not ((split == 6) & (columns < neck - 2)).any()
    assert not ((split == 5) & (columns > neck + 2) & (columns < 50)).any()
    assert split[55, 3, 3] == 5, "a piece without a seed stays"


def test_a_third_seed_makes_a_third_part_and_other_labels_stay():
    labels = two_balls()
    labels[16, 15, 7] = 9
    split = split_at_seeds(labels, 5, seeds={1: (14, 15, 7), 2: (36, 15, 7), 3: (55, 3, 3)}, geometry=GRID)
    assert set(np.unique(split)) == {0, 1, 2, 3, 9}
    assert np.argwhere(split == 3).tolist() == [[55, 3, 3]]
    np.testing.assert_array_equal(split == 9, labels == 9)


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        ({5: (14, 15, 7)}, "1 places to split at were given: two different ones"),
        ({5: (14, 15, 7), 6: (14, 15, 7)}, "1 places to split at were given"),
        ({5: (14, 15, 7), 6: (0, 0, 0)}, r"voxel \(0, 0, 0\) is not of label 5"),
        ({5: (14, 15, 7), 6: (60, 15, 7)}, r"voxel \(60, 15, 7\) is not of label 5"),
        ({5: (14, 15, 7), 8: (36, 15, 7)}, "label 8 is locked"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(seeds, reason):
    with pytest.raises(ReviewError, match=reason):
        split_at_seeds(two_balls(), 5, seeds=seeds, geometry=GRID, limits=Limits(protected=frozenset({8})))
