import numpy as np

from medseg.review.pieces import pieces_of


def test_pieces_stand_in_the_order_of_their_size_and_touch_at_corners():
    mask = np.zeros((12, 12, 12), bool)
    mask[0, 0, 0] = mask[9, 9, 9:11] = mask[3:5, 3:5, 3:5] = mask[5, 5, 5] = True
    pieces = pieces_of(mask)
    assert pieces.sizes == (9, 2, 1)
    assert pieces.boxes[0] == np.s_[3:6, 3:6, 3:6]
    assert [int((pieces.numbers == number).sum()) for number in pieces.order] == [9, 2, 1]


def test_of_equal_pieces_that_which_comes_first_in_c_order_comes_first():
    mask = np.zeros((5, 5, 5), bool)
    mask[4, 0, 0] = mask[0, 4, 4] = mask[2, 2, 2] = True
    pieces = pieces_of(mask)
    assert [box[0].start for box in pieces.boxes] == [0, 2, 4]


def test_an_empty_mask_has_no_piece():
    pieces = pieces_of(np.zeros((3, 3, 3), bool))
    assert (pieces.order, pieces.sizes, pieces.boxes) == ((), (), ())
