"""Windows that show nothing are computed once, and the logits are those of computing every one."""

import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from medseg.inference import SliceBySliceInferer
from medseg.inference.constant import ConstantWindowsOnce


class Counting(nn.Module):
    """A convolution that counts the windows it is given."""

    def __init__(self, spatial_dims: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = (nn.Conv3d if spatial_dims == 3 else nn.Conv2d)(2, 3, 3, padding=1)
        self.n_windows = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_windows += x.shape[0]
        return self.convolution(x)


def scan() -> torch.Tensor:
    """Two channels, each with a value of its own around a small body."""
    image = torch.empty(1, 2, 24, 20, 16)
    image[:, 0], image[:, 1] = -1.0, 0.5
    image[..., 9:13, 8:12, 6:10] = torch.rand(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    return image


@torch.inference_mode()
def test_the_logits_are_those_of_computing_every_window():
    network = Counting()
    sparing = ConstantWindowsOnce(network)
    for batch_size in (1, 3):
        inferer = SlidingWindowInferer(roi_size=(8, 8, 8), sw_batch_size=batch_size, overlap=0.5, mode="gaussian")
        expected = inferer(scan(), network)
        torch.testing.assert_close(inferer(scan(), sparing), expected, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_only_windows_with_something_in_them_reach_the_network():
    network = Counting()
    sparing = ConstantWindowsOnce(network)
    SlidingWindowInferer(roi_size=(8, 8, 8), overlap=0.0)(scan(), sparing)
    n_with_body = 2  # the body crosses a border of windows along k, and none along i and j
    assert sparing.n_windows == 3 * 3 * 2
    assert network.n_windows == n_with_body + 1
    assert sparing.n_reused == sparing.n_windows - network.n_windows


@torch.inference_mode()
def test_slices_that_show_nothing_are_computed_once():
    network = Counting(spatial_dims=2)
    sparing = ConstantWindowsOnce(network)
    inferer = SliceBySliceInferer(0, (20, 16), batch_size=4)
    torch.testing.assert_close(inferer(scan(), sparing), inferer(scan(), Counting(spatial_dims=2)), rtol=0, atol=1e-6)
    assert network.n_windows < scan().shape[2]


@torch.inference_mode()
def test_two_backgrounds_are_told_apart():
    network = Counting()
    sparing = ConstantWindowsOnce(network)
    dark, bright = torch.zeros(1, 2, 4, 4, 4), torch.ones(1, 2, 4, 4, 4)
    sparing(torch.cat([dark, bright]))
    found = sparing(torch.cat([bright, dark, bright]))
    torch.testing.assert_close(found, network(torch.cat([bright, dark, bright])), rtol=0, atol=1e-6)
    assert sparing.n_reused == 3


def test_a_network_with_several_outputs_computes_every_window():
    sparing = ConstantWindowsOnce(_TwoOutputs())
    for _ in range(2):
        first, second = sparing(torch.zeros(2, 1, 4, 4, 4))
        assert first.shape == second.shape == (2, 1, 4, 4, 4)
    assert sparing.n_reused == 0


class _TwoOutputs(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x
