"""Slice by slice: every slice reaches the network with its neighbours, and its logits return to its place."""

import pytest
import torch
from torch import nn

from medseg.errors import ImageError
from medseg.inference import SliceBySliceInferer


class Sums(nn.Module):
    """Two channels of logits: the central channel of a stack, and the sum over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        return torch.stack([x[:, x.shape[1] // 2], x.sum(dim=1)], dim=1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("roi_size", [(16, 16), (5, 4)], ids=["whole slices", "windows"])
def test_logits_lie_where_their_slice_lay(axis, roi_size):
    volume = torch.rand(1, 1, 9, 8, 7)
    logits = SliceBySliceInferer(axis, roi_size, context=1, batch_size=4)(volume, Sums())
    before = volume.index_select(axis + 2, torch.tensor([0, *range(volume.shape[axis + 2] - 1)]))
    last = volume.shape[axis + 2] - 1
    after = volume.index_select(axis + 2, torch.tensor([*range(1, last + 1), last]))
    expected = torch.cat([volume, before + volume + after], dim=1)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_the_batch_changes_nothing():
    torch.manual_seed(0)
    volume = torch.rand(1, 2, 10, 12, 6)
    network = nn.Conv2d(6, 3, 3, padding=1).eval()
    with torch.inference_mode():
        one = SliceBySliceInferer(2, (8, 8), context=1, batch_size=1)(volume, network)
        many = SliceBySliceInferer(2, (8, 8), context=1, batch_size=7)(volume, network)
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("roi_size", [(16, 16), (5, 4)])
def test_the_windows_that_it_counts_are_those_that_pass(roi_size):
    network = Sums()
    inferer = SliceBySliceInferer(1, roi_size, batch_size=3)
    inferer(torch.rand(1, 1, 9, 8, 7), network)
    assert sum(network.batches) == inferer.count_windows((9, 8, 7))
    assert max(network.batches) <= 3


def test_a_slice_is_refused():
    with pytest.raises(ImageError, match=r"\(1, 1, 8, 8\)"):
        SliceBySliceInferer(0, (8, 8))(torch.zeros(1, 1, 8, 8), Sums())
