"""Kernels widened for OpenVINO: the same numbers, and only where its compiler would copy the input."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.inference.runtime.wide_kernels import widen_kernels

openvino = pytest.importorskip("openvino")


@pytest.mark.parametrize(
    ("convolution", "n_changed"),
    [
        (nn.Conv3d(12, 3, 1), 1),
        (nn.Conv3d(12, 3, 1, bias=False), 1),
        (nn.Conv3d(64, 3, 1), 0),
        (nn.Conv3d(12, 40, 1), 0),
        (nn.Conv3d(12, 3, 3, padding=1), 0),
        (nn.Conv3d(12, 3, 1, stride=2), 0),
        (nn.Conv3d(12, 3, 1, padding=1), 0),
        (nn.Conv2d(12, 3, 1), 0),
    ],
    ids=["single voxels", "no bias", "channels by 32", "many labels", "3x3x3", "every other voxel", "padded", "2D"],
)
def test_the_numbers_stay_and_only_what_would_be_copied_is_changed(convolution, n_changed):
    torch.manual_seed(0)
    sizes = (6, 5, 7)[: convolution.weight.ndim - 2]
    x = torch.randn(2, convolution.in_channels, *sizes)
    network = nn.Sequential(convolution, nn.ReLU()).eval()
    with torch.no_grad():
        model, expected = openvino.convert_model(network, example_input=x), network(x)
    model.reshape(list(x.shape))
    assert widen_kernels(openvino, model) == n_changed
    found = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x.numpy()])[0]
    assert np.allclose(found, expected.numpy(), atol=1e-5)
