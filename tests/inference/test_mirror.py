"""Mirrors: a mirrored scan gives the mirrored answer, whatever the network makes of left and right."""

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from medseg.errors import SettingsError
from medseg.inference import MirrorInferer, SliceBySliceInferer


@pytest.fixture
def network() -> nn.Module:
    """A convolution that is far from symmetric."""
    torch.manual_seed(0)
    return nn.Conv3d(1, 2, 3, padding=1)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 9, 8, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_a_mirrored_scan_gives_the_mirrored_logits(axes, network, image):
    inferer = MirrorInferer(SlidingWindowInferer(roi_size=(5, 5, 5), overlap=0.5), axes)
    logits = inferer(image, network)
    for axis in axes:
        assert torch.allclose(inferer(image.flip(axis + 2), network), logits.flip(axis + 2), atol=1e-5)


def test_the_mean_is_that_of_all_combinations(network, image):
    expected = torch.stack(
        [network(image.flip(dims)).flip(dims) if dims else network(image) for dims in ((), (2,), (4,), (2, 4))]
    ).mean(dim=0)
    found = MirrorInferer(SimpleInferer(), (0, 2))(image, network)
    assert torch.allclose(found, expected, atol=1e-6)


def test_no_axes_change_nothing(network, image):
    assert torch.equal(MirrorInferer(SimpleInferer(), ())(image, network), network(image))


def test_neighbouring_slices_are_mirrored_with_the_volume(image):
    """A 2D network that gives back the slice before: in the mirror image that is the slice behind."""
    before = lambda slices: slices[:, :1]  # noqa: E731
    inferer = MirrorInferer(SliceBySliceInferer(0, (8, 7), context=1), (0,))
    found = inferer(image, before)[0, 0]
    inner = (image[0, 0, :-2] + image[0, 0, 2:]) / 2
    assert torch.allclose(found[1:-1], inner, atol=1e-6)


@pytest.mark.parametrize("axes", [(3,), (-1,), (0, 0)])
def test_axes_that_are_none_or_named_twice_are_refused(axes):
    with pytest.raises(SettingsError, match="different ones of 0, 1 and 2 were expected"):
        MirrorInferer(SimpleInferer(), axes)
