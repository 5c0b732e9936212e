"""Windows, shifts and masks, checked against drawings and against the definition."""

from itertools import product
from math import prod

import pytest
import torch

from medseg.networks.blocks.windows import (
    MASKED_LOGIT,
    cut_windows,
    mask_groups,
    paste_windows,
    plan_windows,
    relative_position_index,
    shift_mask,
    window_order,
    window_places,
)

CPU = torch.device("cpu")


def numbered(*size: int) -> torch.Tensor:
    return torch.arange(prod(size)).reshape(1, *size, 1)


def test_a_shifted_axis_is_cut_as_drawn():
    plan = plan_windows((8, 1), (4, 1), (2, 0), shrink=False)
    windows = cut_windows(numbered(8, 1), plan)
    assert windows[0, :, :, 0].tolist() == [[2, 3, 4, 5], [6, 7, 0, 1]]


def test_the_last_window_of_the_drawing_is_parted_by_the_mask():
    mask = shift_mask((4, 1), (2, 0), (True, False), device=CPU, dtype=torch.float32)
    together, apart = 0.0, MASKED_LOGIT
    assert mask.tolist() == [
        [together, together, apart, apart],
        [together, together, apart, apart],
        [apart, apart, together, together],
        [apart, apart, together, together],
    ]


def test_windows_and_their_tokens_are_in_row_major_order():
    windows = cut_windows(numbered(4, 4), plan_windows((4, 4), (2, 2), (0, 0), shrink=False))
    assert windows[0, :, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize(
    ("size", "window", "shift"), [((7, 9), (4, 3), (2, 1)), ((5, 6, 7), (2, 3, 4), (1, 0, 2)), ((3, 3), (7, 7), (3, 3))]
)
@pytest.mark.parametrize("shrink", [False, True])
def test_cut_windows_are_pasted_back_where_they_were(size, window, shift, shrink):
    plan = plan_windows(size, window, shift, shrink=shrink)
    x = torch.randn(2, *size, 5)
    assert torch.equal(paste_windows(cut_windows(x, plan), plan, size), x)


def test_a_window_shrinks_to_a_small_axis_and_stays_there():
    plan = plan_windows((4, 20), (7, 7), (3, 3), shrink=True)
    assert (plan.padded, plan.window, plan.shift) == ((4, 21), (4, 7), (0, 3))


def test_a_small_axis_is_filled_up_to_one_shifted_window_where_windows_do_not_shrink():
    plan = plan_windows((4, 20), (7, 7), (3, 3), shrink=False)
    assert (plan.padded, plan.window, plan.shift) == ((7, 21), (7, 7), (3, 3))


@pytest.mark.parametrize(
    ("padded", "window", "shift"),
    [((8, 8), (4, 4), (2, 2)), ((4, 12), (4, 4), (2, 2)), ((6, 4, 9), (3, 2, 3), (1, 1, 1)), ((6, 8), (3, 4), (0, 2))],
)
def test_masks_of_all_windows_follow_from_the_regions_of_the_map(padded, window, shift):
    """The definition: number the regions [0, −w), [−w, −s), [−s, end) of each axis; tokens of two do not meet."""
    regions = torch.zeros(padded, dtype=torch.long)
    bounds = [[(0, n - w), (n - w, n - s), (n - s, n)] for n, w, s in zip(padded, window, shift, strict=True)]
    for number, box in enumerate(product(*bounds)):
        regions[tuple(slice(*bound) for bound in box)] = number
    plan = plan_windows(padded, window, shift, shrink=False)
    unshifted = plan_windows(padded, window, (0,) * len(window), shrink=False)
    ids = cut_windows(regions[None, ..., None], unshifted)[0, :, :, 0]
    expected = (ids[:, :, None] != ids[:, None, :]) * MASKED_LOGIT

    groups = mask_groups(plan.grid, plan.shift)
    sorted_masks = [
        mask
        for is_last, count in groups
        for mask in [shift_mask(window, shift, is_last, device=CPU, dtype=torch.float32)] * count
    ]
    places = window_places(plan.grid, plan.shift, device=CPU)
    assert torch.equal(torch.stack(sorted_masks)[places], expected)


def test_places_undo_the_order():
    order, places = (table((3, 4), (1, 0), device=CPU) for table in (window_order, window_places))
    assert order[places].tolist() == list(range(12))


def test_a_map_of_many_windows_knows_no_more_than_eight_masks():
    groups = mask_groups((10, 10, 10), (3, 3, 3))
    assert len(groups) == 8
    assert sum(count for _, count in groups) == 1000
    assert groups[0] == ((False, False, False), 729)


@pytest.mark.parametrize("window", [(3,), (2, 3), (2, 3, 2)])
def test_pairs_share_a_bias_exactly_when_they_are_equally_far_apart(window):
    index = relative_position_index(window, device=CPU)
    tokens = list(product(*(range(w) for w in window)))
    offsets = {}
    for (q, query), (k, key) in product(enumerate(tokens), repeat=2):
        offset = tuple(a - b for a, b in zip(query, key, strict=True))
        offsets.setdefault(offset, set()).add(int(index[q, k]))
    rows = sorted(row for found in offsets.values() for row in found)
    assert rows == list(range(prod(2 * w - 1 for w in window)))  # every row for one offset, in the table's size
    assert [min(offsets[offset]) for offset in sorted(offsets)] == rows  # and in the offsets' own order
