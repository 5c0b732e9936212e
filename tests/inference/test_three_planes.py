"""Slices of all three planes, averaged."""

import pytest
import torch
from monai.networks.nets import UNet

from medseg.inference import MirrorInferer, SliceBySliceInferer, ThreePlaneInferer, batch_shape, rungs
from medseg.inference.counting import windows_of

SLICES = SliceBySliceInferer(2, (16, 16), context=1, batch_size=8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNet(2, 3, 2, channels=(4, 8), strides=(2,)).eval()


def test_the_logits_are_the_mean_of_the_three_planes(network):
    volume = torch.rand(1, 1, 18, 21, 25, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        each = [SliceBySliceInferer(axis, (16, 16), context=1)(volume, network) for axis in range(3)]
        found = ThreePlaneInferer(SLICES)(volume, network)
    assert torch.allclose(found, torch.stack(each).mean(0), atol=1e-6)
    assert not torch.allclose(each[0], each[1], atol=1e-2)


def test_its_windows_are_those_of_all_planes_and_batches_may_shrink():
    three = ThreePlaneInferer(SLICES)
    assert windows_of(three, (10, 12, 14)) == 10 + 12 + 14
    assert windows_of(MirrorInferer(three, (0,)), (10, 12, 14)) == 2 * (10 + 12 + 14)
    assert batch_shape(three, 1) == (8, 3, 16, 16)
    steps = list(rungs(three, device=torch.device("cuda")))
    assert [step.inferer.inferer.batch_size for step in steps[:4]] == [8, 4, 2, 1]
    assert three.inferer.batch_size == 8
