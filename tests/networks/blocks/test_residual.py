"""Convolution blocks: the frugal way gives what the ordinary way gives, and harms nothing it was given."""

import pytest
import torch

from medseg.errors import SettingsError
from medseg.networks.blocks import frugal
from medseg.networks.blocks.residual import ConvolutionNorm, LogitsHead, ResidualBlock, UpsamplingBlock

PLAIN = ConvolutionNorm()


@pytest.fixture
def many_small_slabs(monkeypatch):
    """Slabs of a few planes and chunks of a few rows, so that small maps are cut as large ones are."""
    monkeypatch.setattr(frugal, "SLAB_BYTES", 4000)
    monkeypatch.setattr(frugal, "CHUNK_ROWS", 50)


@pytest.mark.usefixtures("many_small_slabs")
@pytest.mark.parametrize("channels", [4, 5], ids=["identity", "projected shortcut"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_residual_block_gives_the_same_without_autograd(channels, layout):
    torch.manual_seed(0)
    block = ResidualBlock(3, channels, 4, norm=PLAIN)
    x = torch.randn(2, channels, 9, 6, 7).to(memory_format=layout)
    before, expected = x.clone(), block(x).detach()
    with torch.no_grad():
        assert block.is_frugal(x)
        torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, before)


@pytest.mark.usefixtures("many_small_slabs")
def test_an_upsampling_block_gives_the_same_without_autograd():
    torch.manual_seed(0)
    block = UpsamplingBlock(3, 6, 4, norm=PLAIN)
    x, skip = torch.randn(2, 6, 3, 4, 5), torch.randn(2, 4, 6, 8, 10)
    before, expected = (x.clone(), skip.clone()), block(x, skip).detach()
    with torch.no_grad():
        assert block.conv_block.is_frugal(block.transp_conv(x), skip)
        torch.testing.assert_close(block(x, skip), expected)
    assert torch.equal(x, before[0])
    assert torch.equal(skip, before[1])


@pytest.mark.parametrize("norm", [PLAIN, ConvolutionNorm(kind="batch"), ConvolutionNorm(kind="group", groups=2)])
@pytest.mark.parametrize("axes", [2, 3])
def test_blocks_give_up_their_maps_in_half_precision_and_give_the_same(axes, norm):
    torch.manual_seed(0)
    block = UpsamplingBlock(axes, 6, 4, norm=norm).eval()
    x, skip = torch.randn(2, 6, *(5,) * axes), torch.randn(2, 4, *(10,) * axes)
    before, exact = (x.clone(), skip.clone()), block(x, skip).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        together = block(x, skip).detach()  # with gradients: both maps copied side by side
        with torch.no_grad():
            apart = block(x, skip)
    assert (apart - exact).abs().mean() < 1.2 * (together - exact).abs().mean()
    torch.testing.assert_close(apart, together, atol=0.15, rtol=0.05)
    assert torch.equal(x, before[0])
    assert torch.equal(skip, before[1])


@torch.no_grad()
def test_maps_that_were_used_are_let_go():
    block = ResidualBlock(3, 8, 4, norm=PLAIN).eval()
    up, skip = torch.randn(2, 4, 6, 6, 6), torch.randn(2, 4, 6, 6, 6)
    expected, maps = block(torch.cat([up, skip], dim=1)), [up, skip]
    torch.testing.assert_close(block.leanly(maps), expected)
    assert not maps


def test_an_identity_shortcut_keeps_its_precision_beside_half_precision():
    torch.manual_seed(0)
    block = ResidualBlock(3, 4, 4, norm=PLAIN).eval()
    x = torch.randn(1, 4, 6, 6, 6)
    before = x.clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        together = block(x).detach()
        with torch.no_grad():
            assert torch.equal(block(x), together)
    assert torch.equal(x, before)


@torch.no_grad()
def test_normalisation_in_place_is_exact_far_from_zero():
    x = torch.randn(2, 30, 20, 10, 3) * torch.tensor([1.0, 0.1, 5.0]) + torch.tensor([50.0, 0.0, -3.0])
    exact = x.double()
    exact -= exact.mean((1, 2, 3), keepdim=True)
    exact /= (exact.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(frugal.normalised_(x, eps=1e-5), exact.float(), atol=2e-5, rtol=1e-5)


def test_logits_are_the_same_and_channels_first_without_autograd():
    head = LogitsHead(3, 4, 3)
    x = torch.randn(2, 4, 3, 5, 6)
    expected = head(x).detach()
    with torch.no_grad():
        found = head(x)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous()


@pytest.mark.parametrize(
    ("norm", "names"),
    [
        (PLAIN, set()),
        (ConvolutionNorm(affine=True), {"norm1.weight", "norm1.bias"}),
        (ConvolutionNorm(kind="group", groups=2, affine=True), {"norm1.weight", "norm1.bias"}),
        (
            ConvolutionNorm(kind="batch"),
            {"norm1.running_mean", "norm1.running_var", "norm1.num_batches_tracked"},
        ),
    ],
    ids=["instance", "affine", "group", "batch"],
)
@pytest.mark.parametrize("axes", [2, 3])
def test_a_normalisation_owns_what_its_kind_owns(norm, names, axes):
    block = ResidualBlock(axes, 4, 4, norm=norm)
    assert {name for name in block.state_dict() if name.startswith("norm1")} == names


def test_the_constant_of_a_normalisation_is_used():
    x = torch.randn(1, 4, 4, 4, 4)
    results = []
    for eps in (1e-5, 1.0):
        torch.manual_seed(0)
        block = ResidualBlock(3, 4, 4, norm=ConvolutionNorm(eps=eps))
        with torch.no_grad():
            results.append(block(x))
        torch.testing.assert_close(results[-1], block(x).detach())
    assert not torch.allclose(*results)


@pytest.mark.parametrize("values", [{"kind": "group"}, {"kind": "instance", "groups": 2}])
def test_groups_belong_to_group_normalisation_alone(values):
    with pytest.raises(SettingsError, match="groups"):
        ConvolutionNorm.from_mapping(values, source="test")
