import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.review.edits import allowed_by_intensity


def test_both_ends_of_the_range_belong_to_it_and_a_missing_value_to_none():
    image = np.array([-1000, -50, -49, 0, 150, 151, np.nan, np.inf], np.float32)
    allowed = allowed_by_intensity(image, lowest=-50, highest=150)
    assert allowed.tolist() == [False, True, True, True, True, False, False, False]


def test_whole_numbers_are_compared_with_the_fractions_of_the_range():
    assert allowed_by_intensity(np.array([[0, 1], [2, 3]], np.int16), lowest=0.5, highest=2).tolist() == [
        [False, True],
        [True, False],
    ]


@pytest.mark.parametrize(("lowest", "highest"), [(2.0, 1.0), (float("nan"), 1.0)])
def test_an_empty_range_is_refused(lowest, highest):
    with pytest.raises(ReviewError, match="is empty: the lowest intensity comes first"):
        allowed_by_intensity(np.zeros(3), lowest=lowest, highest=highest)
