"""Swin blocks: stochastic depth, checkpointing, and the same numbers with and without autograd."""

import pytest
import torch

from medseg.networks.blocks.swin import StochasticDepth, SwinBlock, SwinSettings, drop_path_rates


def test_rates_of_stochastic_depth_rise_linearly_over_all_stages():
    assert drop_path_rates(0.3, (1, 2, 1)) == [(0.0,), (pytest.approx(0.1), pytest.approx(0.2)), (pytest.approx(0.3),)]


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    branch = StochasticDepth(0.25).train()(torch.ones(4000, 2, 3))
    assert branch.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(branch.amax((1, 2)), branch.amin((1, 2)))
    assert branch.mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (4, 3, 5)])
def test_a_block_gives_the_same_with_and_without_autograd(size, is_shifted):
    torch.manual_seed(0)
    block = SwinBlock(8, 2, SwinSettings(window=(3,) * len(size)), is_shifted=is_shifted).eval()
    x = torch.randn(2, *size, 8)
    before = x.clone()
    expected = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected.detach())
    assert torch.equal(x, before)


def test_checkpointing_leaves_gradients_as_they_are():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        block = SwinBlock(8, 2, SwinSettings(window=(3, 3), checkpointing=checkpointing), is_shifted=True)
        block(torch.randn(1, 5, 5, 8)).square().sum().backward()
        gradients.append([parameter.grad for parameter in block.parameters()])
    torch.testing.assert_close(*gradients)
