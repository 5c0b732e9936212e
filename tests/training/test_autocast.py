"""The precision of a training step: gradients in bfloat16 are those of float32, up to rounding."""

import pytest
import torch
from torch import nn

from medseg.training.autocast import computing_in

CPU = torch.device("cpu")


def gradient(conv: nn.Conv3d, image: torch.Tensor, precision: str) -> torch.Tensor:
    conv.zero_grad()
    for size in (1 << power for power in range(8, 23)):  # what memory is found in is no small number
        torch.full((size,), 3e38), torch.full((size,), 3e38, dtype=torch.bfloat16)
    with computing_in(precision, CPU):
        found = conv(image)
    found.float().square().mean().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad.clone()


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_gradients_of_thin_volumes_are_those_of_float32(planes):
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv3d(48, 24, 3, padding=1)
    image = torch.randn(2, 48, planes, 4, 2, generator=generator)
    expected = gradient(conv, image, "float32")
    for _ in range(5):
        torch.testing.assert_close(gradient(conv, image, "bfloat16"), expected, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_network_computes_in_the_precision_of_the_recipe(precision, dtype):
    with computing_in(precision, CPU):
        assert nn.Conv3d(1, 1, 3, padding=1)(torch.zeros(1, 1, 4, 4, 4)).dtype == dtype
    assert nn.Conv3d(1, 1, 3, padding=1)(torch.zeros(1, 1, 4, 4, 4)).dtype == torch.float32
