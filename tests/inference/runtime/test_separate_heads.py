"""Attention in OpenVINO: the numbers of torch, also where heads and tokens are equally many."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.inference.runtime.separate_heads import separate_heads
from medseg.networks.blocks.self_attention import SelfAttention

openvino = pytest.importorskip("openvino")


def converted(module: nn.Module, *given: torch.Tensor) -> object:
    with torch.no_grad():
        return openvino.convert_model(torch.export.export(module, given, strict=False))


def computed(model: object, *given: torch.Tensor, precision: str) -> torch.Tensor:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return torch.from_numpy(np.array(compiled([each.numpy() for each in given])[0]))


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("bf16", 0.03)])
@pytest.mark.parametrize(
    ("batch", "heads", "tokens", "n_changed"), [(1, 4, 4, 1), (3, 16, 16, 1), (2, 4, 9, 0), (2, 1, 1, 0)]
)
def test_attention_gives_the_numbers_of_torch(batch, heads, tokens, n_changed, precision, tolerance):
    torch.manual_seed(0)
    attention = SelfAttention(8 * heads, heads=heads, head_dim=8).eval()
    x = torch.randn(batch, tokens, 8 * heads)
    model = converted(attention, x)
    assert separate_heads(openvino, model) == n_changed
    with torch.no_grad():
        expected = attention(x)
    assert torch.allclose(computed(model, x, precision=precision), expected, atol=tolerance)


def test_attention_with_a_mask_is_left_as_it_is():
    torch.manual_seed(0)
    attention = SelfAttention(32, heads=4, head_dim=8).eval()
    x, mask = torch.randn(1, 4, 32), torch.randn(1, 4, 4, 4)
    model = converted(attention, x, mask)
    assert separate_heads(openvino, model) == 0
    with torch.no_grad():
        expected = attention(x, mask)
    assert torch.allclose(computed(model, x, mask, precision="f32"), expected, atol=1e-5)
