import numpy as np
import pytest

from medseg.errors import GeometryError, ReviewError
from medseg.review.measure import disagreement_spots, uncertain_spots

SHAPE = (20, 18, 16)


def test_disagreements_come_largest_first_with_a_voxel_of_their_own_to_jump_to():
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[1, 1, 1] = 1
    first[5:8, 5:8, 5:8] = 1
    second[5:8, 5:8, 5:8] = 2
    second[12, 2:7, 3] = 3
    spots = disagreement_spots(first, second)
    assert [(spot.centre, spot.n_voxels, spot.weight) for spot in spots] == [
        ((6, 6, 6), 27, 27.0),
        ((12, 4, 3), 5, 5.0),
        ((1, 1, 1), 1, 1.0),
    ]
    assert spots[1].box == np.s_[12:13, 2:7, 3:4]
    assert len(disagreement_spots(first, second, at_least_voxels=5)) == 2


def test_the_centre_of_a_ring_lies_on_the_ring():
    ring = np.zeros(SHAPE, np.uint8)
    ring[4:11, 4:11, 3] = 1
    ring[5:10, 5:10, 3] = 0
    (spot,) = disagreement_spots(ring, np.zeros(SHAPE, np.uint8))
    assert ring[spot.centre] == 1


def test_equal_maps_have_no_spot():
    labels = np.ones(SHAPE, np.uint8)
    assert disagreement_spots(labels, labels) == ()


def test_uncertain_spots_are_ranked_by_their_summed_uncertainty_not_their_size():
    uncertainty = np.full(SHAPE, 0.1, np.float32)
    uncertainty[2:4, 2:4, 2:4] = 0.3  # 8 voxels, 2.4 together
    uncertainty[10, 10, 10:14] = 0.9  # 4 voxels, 3.6 together
    uncertainty[15, 15, 15] = np.nan
    uncertainty[17, 2, 2] = 0.25
    spots = uncertain_spots(uncertainty, threshold=0.25)
    assert [spot.n_voxels for spot in spots] == [4, 8], "a voxel at the threshold is not above it"
    assert [spot.weight for spot in spots] == [pytest.approx(3.6), pytest.approx(2.4)]
    assert spots[0].centre == (10, 10, 11)
    assert [spot.n_voxels for spot in uncertain_spots(uncertainty, threshold=0.25, at_least_voxels=5)] == [8]


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_a_threshold_that_makes_every_voxel_a_spot_is_refused(threshold):
    with pytest.raises(ReviewError, match="a threshold from 0 on was expected"):
        uncertain_spots(np.zeros(SHAPE, np.float32), threshold=threshold)


def test_maps_of_two_scans_have_no_spots():
    with pytest.raises(GeometryError, match="two of one scan were expected"):
        disagreement_spots(np.zeros(SHAPE, np.uint8), np.zeros((2, 2, 2), np.uint8))
