import numpy as np
import pytest

from medseg.review.areas import slice_areas


@pytest.mark.parametrize(("axis", "expected"), [(0, [0, 24, 0, 0]), (1, [0, 30, 30, 0, 0]), (2, [0, 20, 20, 0, 0, 0])])
def test_the_area_of_a_box_is_that_of_its_side(axis, expected):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1:3, 1:3] = 7  # 5 mm deep, 4 mm high, 6 mm wide
    labels[3] = 2
    np.testing.assert_array_equal(slice_areas(labels, 7, axis=axis, scale_mm=(5, 2, 3)), expected)
