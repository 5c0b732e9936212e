"""Prediction of one preprocessed image."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from medseg.errors import RunError
from medseg.inference import predict_logits


def image_of(shape=(1, 6, 5, 4)) -> MetaTensor:
    values = torch.from_numpy(np.random.default_rng(1).normal(5, 2, size=shape).astype(np.float32))
    return MetaTensor(values, affine=torch.diag(torch.tensor([-1.0, -1, 2, 1], dtype=torch.float64)))


@pytest.mark.parametrize("inferer", [SimpleInferer(), SlidingWindowInferer(roi_size=(4, 4, 4), sw_batch_size=2)])
def test_logits_are_float32_on_the_grid_of_the_image(inferer):
    image = image_of()
    logits = predict_logits(image, nn.Conv3d(1, 3, kernel_size=1), inferer)
    assert logits.dtype == torch.float32
    assert logits.shape == (3, 6, 5, 4)
    assert torch.equal(logits.affine, image.affine)


class Half(nn.Module):
    """A network that computes in half precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, -x], dim=1).half()


def test_logits_of_a_network_in_half_precision_are_raised_to_float32():
    assert predict_logits(image_of(), Half(), SimpleInferer()).dtype == torch.float32


class Broken(nn.Module):
    """A network that divides nothing by nothing in one voxel of its last channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.cat([x, x], dim=1)
        logits[:, 1, 2, 2, 2] = torch.nan
        return logits


def test_logits_that_are_no_numbers_stop_the_run():
    with pytest.raises(RunError, match="values that are not numbers") as failure:
        predict_logits(image_of(), Broken(), SimpleInferer())
    assert failure.value.exit_code == 1
