"""Preprocessing and prediction of one image."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.transforms import Compose, CropForegroundd, LoadImaged, NormalizeIntensityd, Orientationd
from torch import nn

from medseg.errors import ImageError, RunError
from medseg.inference import predict_logits, preprocess


def image_of(shape=(1, 6, 5, 4)) -> MetaTensor:
    values = torch.from_numpy(np.random.default_rng(1).normal(5, 2, size=shape).astype(np.float32))
    return MetaTensor(values, affine=torch.diag(torch.tensor([-1.0, -1, 2, 1], dtype=torch.float64)))


def test_the_reader_that_a_bundle_names_is_left_out():
    road = Compose([LoadImaged(keys="image", ensure_channel_first=True), Orientationd("image", "RAS", labels=None)])
    image = image_of()
    assert torch.equal(preprocess(image, road).as_tensor(), image.as_tensor().flip(1, 2))


def test_preprocessing_that_writes_in_place_leaves_the_scan_as_it_was():
    image = image_of((2, 6, 5, 4))
    before = image.as_tensor().clone()
    prepared = preprocess(image, Compose([NormalizeIntensityd("image", nonzero=True, channel_wise=True)]))
    assert torch.equal(image.as_tensor(), before)
    assert not torch.equal(prepared.as_tensor(), before)
    assert image.applied_operations == []


def test_a_crop_does_not_keep_the_whole_scan_in_memory():
    image = image_of((1, 40, 40, 40)) - 1000
    image[:, 10:14, 10:15, 10:16] = 50
    road = Compose([CropForegroundd("image", source_key="image", select_fn=lambda hu: hu > -500, allow_smaller=True)])
    prepared = preprocess(image, road)
    assert prepared.shape == (1, 4, 5, 6)
    assert prepared.untyped_storage().nbytes() == prepared.nbytes
    assert torch.equal(
        prepared.affine[:3, 3], (image.affine @ torch.tensor([10.0, 10, 10, 1], dtype=torch.float64))[:3]
    )


def test_a_crop_that_leaves_nothing_says_so():
    air = image_of() - 1000
    road = Compose([CropForegroundd("image", source_key="image", select_fn=lambda hu: hu > -500, allow_smaller=True)])
    with pytest.raises(ImageError, match="leaves nothing of the scan"):
        preprocess(air, road)


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
