"""Windows that show nothing, on real scans: computed once or every time, the labels are the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import Compose, NormalizeIntensityd, ScaleIntensityRanged, ScaleIntensityRangePercentilesd

from medseg.inference import Segmenter, Stages, WindowCount
from medseg.io import read_volume
from medseg.labels import LabelTable

TABLE = LabelTable.from_entries(
    [{"index": one, "name": f"label {one}", "color": [one, one, one]} for one in range(1, 5)], source="test"
)
Scan = tuple[MetaTensor, Compose]


def hippocampus(data: Path) -> Scan:
    """A crop of an MRI as it is published, laid in a field of zeros, as where the rest of a head was removed."""
    path = sorted((data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[0]
    whole = read_volume(path)
    scaled = ScaleIntensityRangePercentilesd("image", lower=1, upper=99, b_min=0, b_max=1, clip=True)
    return MetaTensor(F.pad(whole.as_tensor(), (0, 0, 0, 0, 40, 40)), affine=whole.affine), Compose([scaled])


def brain(data: Path) -> Scan:
    """Four sequences without the skull; outside the brain is 0, and stays it."""
    folder = data / "BraTS" / "expert" / "BraTS2021_00006"
    channels = [read_volume(folder / f"{folder.name}_{name}.nii.gz") for name in ("t1ce", "t1", "t2", "flair")]
    corner = torch.cat([one.as_tensor() for one in channels])[:, :96, :96, 40:88]
    normed = NormalizeIntensityd("image", nonzero=True, channel_wise=True)
    return MetaTensor(corner.contiguous(), affine=channels[0].affine), Compose([normed])


def neck(data: Path) -> Scan:
    """A head-and-neck CT; air is below the intensities that are kept."""
    whole = read_volume(sorted((data / "OpenKBP_HaN" / "imagesTs").glob("*.nii.gz"))[0])
    part = whole.as_tensor()[:, :80, :96, 32:80].contiguous()
    clipped = ScaleIntensityRanged("image", a_min=-200, a_max=400, b_min=-1, b_max=1, clip=True)
    return MetaTensor(part, affine=whole.affine), Compose([clipped])


@pytest.mark.parametrize("scan", [hippocampus, brain, neck])
def test_reuse_of_empty_windows_leaves_every_label_as_it_is(scan: Callable[[Path], Scan], test_data: Path) -> None:
    image, preprocessing = scan(test_data)
    torch.manual_seed(0)
    reusing = Segmenter(
        preprocessing=preprocessing,
        network=UNet(3, image.shape[0], 5, channels=(4, 8), strides=(2,)).eval(),
        inferer=SlidingWindowInferer(roi_size=(32, 32, 32), sw_batch_size=2, overlap=0.5, mode="gaussian"),
        postprocessing=Compose([]),
        label_table=TABLE,
        channel_names=("one", "two", "three", "four")[: image.shape[0]],
    )
    counts: list[WindowCount] = []
    found = reusing(image, stages=Stages(counted=counts.append)).labels
    assert counts[0].n_reused > 0
    np.testing.assert_array_equal(found, replace(reusing, reuses_constant_windows=False)(image).labels)
    assert len(np.unique(found)) > 1
