"""Blending: tiles are held only where windows can still reach, and cut where windows begin or end."""

import pytest
import torch

from medseg.inference.blend import Blend, stretches_between


@pytest.mark.parametrize(
    ("starts", "roi", "longest", "stretches"),
    [
        ([0, 4, 6], 8, 8, [(0, 4), (4, 6), (6, 8), (8, 12), (12, 14)]),
        ([0, 8], 8, 3, [(0, 2), (2, 5), (5, 8), (8, 10), (10, 13), (13, 16)]),
        ([0], 5, 9, [(0, 5)]),
    ],
    ids=["where windows begin and end", "even pieces", "one window"],
)
def test_an_axis_is_cut(starts, roi, longest, stretches):
    assert stretches_between(starts, roi=roi, longest=longest) == stretches


def test_a_tile_leaves_as_the_weighted_mean_of_the_windows_over_it():
    weights = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    blend = Blend(weights, starts=[[0, 1], [0], [0]], stretches=[[(0, 1), (1, 3), (3, 4)], [(0, 1)], [(0, 1)]])
    blend.add(torch.full((1, 3, 1, 1), 10.0), (0, 0, 0))
    assert blend.finished(before=(1, 1, 1)) == [(0, 0, 0)]
    assert blend.take((0, 0, 0)).flatten().tolist() == [10.0]
    blend.add(torch.full((1, 3, 1, 1), 40.0), (1, 0, 0))
    assert blend.finished(before=(4, 1, 1)) == [(1, 0, 0), (3, 0, 0)]
    assert torch.allclose(blend.take((1, 0, 0)).flatten(), torch.tensor([(2 * 10 + 40) / 3, (3 * 10 + 2 * 40) / 5]))
    assert blend.take((3, 0, 0)).flatten().tolist() == [40.0]
    assert blend.finished(before=(4, 1, 1)) == []
