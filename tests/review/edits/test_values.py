import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.review.edits import merge, swap


def test_two_labels_change_places():
    labels = np.array([[[0, 1, 2, 3, 1]]], np.uint8)
    assert swap(labels, 1, 3)[0, 0].tolist() == [0, 3, 2, 1, 3]
    assert swap(labels, 9, 2)[0, 0].tolist() == [0, 1, 9, 3, 1]


def test_a_merged_label_is_gone():
    labels = np.array([[[0, 1, 2, 3, 1]]], np.uint8)
    assert merge(labels, 1, into=3)[0, 0].tolist() == [0, 3, 2, 3, 3]
    assert merge(labels, 1, into=8)[0, 0].tolist() == [0, 8, 2, 3, 8]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda labels: swap(labels, 4, 5), "labels 4 and 5 are nowhere in this case"),
        (lambda labels: swap(labels, 1, 1), "label 1 was named twice"),
        (lambda labels: merge(labels, 4, into=1), "label 4 is nowhere in this case"),
        (lambda labels: merge(labels, 1, into=1), "label 1 was named twice"),
        (lambda labels: merge(labels, 1, into=0), "0 is no label"),
    ],
)
def test_an_exchange_that_makes_no_sense_is_refused(edit, reason):
    with pytest.raises(ReviewError, match=reason):
        edit(np.array([[[0, 1, 2, 3, 1]]], np.uint8))
