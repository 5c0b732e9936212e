"""Boxes: one for every value that occurs, tight; areas: voxels in each slice."""

import numpy as np

from medseg.report.boxes import areas_along, label_boxes


def test_every_value_that_occurs_has_a_tight_box():
    labels = np.zeros((5, 6, 7), dtype=np.uint8)
    labels[1:3, 2:6, 4] = 3
    labels[4, 0, 0] = 7
    labels[0, 5, 6] = 7
    assert label_boxes(labels) == {
        3: (slice(1, 3), slice(2, 6), slice(4, 5)),
        7: (slice(0, 5), slice(0, 6), slice(0, 7)),
    }


def test_an_empty_map_has_no_boxes():
    assert label_boxes(np.zeros((2, 2, 2), dtype=np.uint8)) == {}


def test_areas_count_the_voxels_of_each_slice():
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[0, 0, :] = True
    mask[1, 2, 1] = True
    assert areas_along(mask, 0).tolist() == [4, 1]
    assert areas_along(mask, 1).tolist() == [4, 0, 1]
    assert areas_along(mask, 2).tolist() == [1, 2, 1, 1]
