"""The box around the foreground, found a few planes at a time, is MONAI's of the whole volume."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CropForeground, ScaleIntensityRanged

from medseg.inference import prepared
from medseg.inference.foreground import foreground_box
from medseg.inference.prepared import Prepared


@pytest.fixture(autouse=True)
def _parts(monkeypatch):
    monkeypatch.setattr(prepared, "PART_VOXELS", 300)


def volume_of(seed: int, *, channels: int = 1) -> MetaTensor:
    """A few positive voxels in a volume of random size."""
    random = np.random.default_rng(seed)
    shape = random.integers(3, 24, 3)
    values = -np.ones((channels, *shape), dtype=np.float32)
    for _ in range(random.integers(1, 6)):
        values[(random.integers(channels), *(random.integers(size) for size in shape))] = random.random() + 0.1
    return MetaTensor(torch.from_numpy(values))


@pytest.mark.parametrize("margin", [0, 1, [2, 0, 3]], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_box_is_monais(margin, channels):
    crop = CropForeground(margin=margin, allow_smaller=True)
    for seed in range(40):
        volume = volume_of(seed, channels=channels)
        start, stop = crop.compute_bounding_box(volume)
        assert foreground_box(Prepared(volume), crop) == tuple(zip(start.tolist(), stop.tolist(), strict=True))


def test_steps_that_wait_are_taken_before_it_is_looked_for():
    volume = volume_of(1)
    scale = ScaleIntensityRanged("image", a_min=-1.5, a_max=1.0, b_min=0.0, b_max=1.0)
    assert foreground_box(Prepared(volume, (scale,)), CropForeground()) == tuple((0, size) for size in volume.shape[1:])


@pytest.mark.parametrize(
    "crop",
    [
        CropForeground(select_fn=lambda values: values > values.mean()),
        CropForeground(channel_indices=[0]),
        CropForeground(k_divisible=8),
        CropForeground(margin=30),
    ],
    ids=["another rule", "some channels", "sizes that are multiples", "beyond the volume"],
)
def test_crops_that_ask_for_more_are_left_to_monai(crop):
    assert foreground_box(Prepared(volume_of(2)), crop) is None


def test_a_volume_without_foreground_has_no_box():
    assert foreground_box(Prepared(MetaTensor(-torch.ones(1, 12, 12, 12))), CropForeground()) is None
