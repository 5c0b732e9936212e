"""Window attention against its formula."""

import torch
from torch import nn

from medseg.networks.blocks.attention import WindowAttention
from medseg.networks.blocks.windows import plan_windows, relative_position_index

CPU = torch.device("cpu")


def attention(window=(2, 2), *, dim=6, heads=2) -> WindowAttention:
    torch.manual_seed(0)
    layer = WindowAttention(dim, heads, window)
    nn.init.normal_(layer.relative_position_bias_table)
    return layer.eval()


@torch.no_grad()
def test_attention_is_the_softmax_of_scaled_products_and_bias():
    layer = attention()
    windows = torch.randn(2, 4, 4, 6)
    q, k, v = layer.qkv(windows).reshape(2, 4, 4, 3, 2, 3).permute(3, 0, 1, 4, 2, 5)
    index = relative_position_index((2, 2), device=CPU)
    bias = layer.relative_position_bias_table[index].permute(2, 0, 1)
    weights = (q @ k.transpose(-1, -2) / 3**0.5 + bias).softmax(-1)
    expected = layer.proj((weights @ v).transpose(2, 3).reshape(2, 4, 4, 6))
    torch.testing.assert_close(layer(windows, plan_windows((4, 4), (2, 2), (0, 0), shrink=True)), expected)


def test_a_shrunken_window_takes_the_top_left_corner_of_the_index():
    layer = attention((3, 3))
    index = relative_position_index((3, 3), device=CPU)[:4, :4]
    assert torch.equal(layer.bias(4)[1], layer.relative_position_bias_table[index][..., 1])


@torch.no_grad()
def test_a_token_beyond_the_shifts_border_has_no_influence():
    layer = attention((4, 1))
    plan = plan_windows((8, 1), (4, 1), (2, 0), shrink=False)
    windows = torch.randn(1, 2, 4, 6)
    changed = windows.clone()
    changed[0, 1, 0] += 1.0
    difference = (layer(windows, plan) - layer(changed, plan)).abs().amax(-1)[0]
    assert difference[0].tolist() == [0.0] * 4
    assert difference[1, :2].gt(1e-3).all()
    assert difference[1, 2:].lt(1e-6).all()


def test_the_bias_table_is_trained_through_plain_and_shifted_windows():
    layer = attention()
    layer(torch.randn(1, 4, 4, 6), plan_windows((4, 4), (2, 2), (1, 1), shrink=True)).square().sum().backward()
    assert layer.relative_position_bias_table.grad.ne(0).all()
