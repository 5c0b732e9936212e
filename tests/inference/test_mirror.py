"""Mirrors: a mirrored scan gives the mirrored answer, whatever the network makes of left and right."""

from itertools import combinations

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from medseg.errors import SettingsError
from medseg.inference import MirrorInferer, SliceBySliceInferer
from medseg.inference.blocks import logits_in_blocks


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
    image = image[..., :7, :]  # windows lie as on the mirror image
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


def mean_of_whole_volumes(inferer, axes, image, network):
    """By definition: every mirror image through the inferer, turned back, averaged."""
    found = []
    for count in range(len(axes) + 1):
        for mirrored in combinations([axis + 2 for axis in axes], count):
            found.append(inferer(image.flip(mirrored), network).flip(mirrored))
    return torch.stack(found).mean(dim=0)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_windows_that_lie_as_on_the_mirror_image_give_the_mean_over_whole_volumes(axes, mode, network):
    image = torch.rand(1, 1, 13, 9, 3, generator=torch.Generator().manual_seed(1))  # the last is filled up to 5
    inner = SlidingWindowInferer(roi_size=(5, 5, 5), sw_batch_size=3, overlap=0.5, mode=mode)
    with torch.inference_mode():
        expected = mean_of_whole_volumes(inner, axes, image, network)
        assert torch.allclose(MirrorInferer(inner, axes)(image, network), expected, atol=1e-5)
        parts = logits_in_blocks(image[0], network, MirrorInferer(inner, axes), axis=axes[0])
        assert torch.allclose(torch.cat([*parts.parts], axes[0] + 1), expected[0], atol=1e-5)


def test_where_windows_were_moved_every_mirror_image_is_seen_in_those_of_the_scan(network):
    """What makes the same of a mirrored window as of the window itself makes the same with mirrors as without."""
    kernel = network.weight.detach()
    network.weight = nn.Parameter((kernel + kernel.flip(2)) / 2)
    image = torch.rand(1, 1, 8, 7, 7, generator=torch.Generator().manual_seed(1))
    inner = SlidingWindowInferer(roi_size=(5, 5, 5), overlap=0.5)
    expected = inner(image, network)
    assert torch.allclose(MirrorInferer(inner, (0,))(image, network), expected, atol=1e-6)
    assert not torch.allclose(mean_of_whole_volumes(inner, (0,), image, network), expected, atol=1e-3)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_give_the_mean_over_whole_volumes_wherever_windows_lie(axes, axis, image):
    torch.manual_seed(2)
    network = nn.Conv2d(6, 2, 3, padding=1)
    volume = torch.cat([image, image.square()], dim=1)
    inner = SliceBySliceInferer(axis, (5, 10), context=1, batch_size=4, cval=-1)
    with torch.inference_mode():
        expected = mean_of_whole_volumes(inner, axes, volume, network)
    assert torch.allclose(MirrorInferer(inner, axes)(volume, network), expected, atol=1e-5)


@pytest.mark.parametrize("inner", [SlidingWindowInferer((5, 5, 5), overlap=0.5), SimpleInferer()])
def test_the_passes_of_single_mirror_images_have_the_mean_as_their_mean(inner, network, image):
    both = MirrorInferer(inner, (0, 2))
    passes = [one(image, network) for one in both.passes]
    assert len(passes) == both.n_passes == 4
    assert torch.allclose(torch.stack(passes).mean(0), both(image, network), atol=1e-5)


def test_a_block_of_all_mirror_images_leaves_before_later_windows_are_computed(image):
    computed: list[int] = []

    def counting(windows: torch.Tensor) -> torch.Tensor:
        computed.append(len(windows))
        return windows

    inner = SlidingWindowInferer(roi_size=(3, 8, 7), overlap=0)
    blocks = logits_in_blocks(image[0], counting, MirrorInferer(inner, (0, 1)))
    assert next(blocks.parts).shape == (1, 3, 8, 7)
    assert sum(computed) == 4


@pytest.mark.parametrize("axes", [(3,), (-1,), (0, 0)])
def test_axes_that_are_none_or_named_twice_are_refused(axes):
    with pytest.raises(SettingsError, match="different ones of 0, 1 and 2 were expected"):
        MirrorInferer(SimpleInferer(), axes)
