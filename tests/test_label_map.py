"""Boxes: one for every value that occurs, tight; areas: voxels in each slice; counts: voxels of each value."""

import numpy as np

from medseg.label_map import areas_along, box_around, count_values, label_boxes


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


def test_the_box_around_boxes_holds_them_all():
    boxes = [(slice(3, 5), slice(0, 1)), (slice(1, 4), slice(2, 9))]
    assert box_around(boxes) == (slice(1, 5), slice(0, 9))
    assert box_around(boxes[:1]) == boxes[0]


def test_values_are_counted_in_maps_stored_in_any_order():
    labels = np.random.default_rng(3).choice(np.array([0, 1, 7, 255], np.uint8), (5, 6, 7)).transpose(2, 0, 1)[::-1]
    counts = count_values(labels)
    assert counts.tolist() == [int((labels == value).sum()) for value in range(256)]
    assert count_values(np.zeros((0, 3, 3), np.uint8)).sum() == 0
