"""Instance norms written out for export: the same numbers, from the same weights."""

import pytest
import torch
from torch import nn

from medseg.inference.runtime.written_norms import WrittenInstanceNorm, with_written_norms


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.InstanceNorm3d(4), (2, 4, 5, 6, 7)),
        (nn.InstanceNorm3d(4, affine=True), (1, 4, 5, 6, 7)),
        (nn.InstanceNorm2d(3, affine=True, eps=0.1), (2, 3, 9, 8)),
        (nn.InstanceNorm1d(3), (2, 3, 30)),
    ],
)
def test_they_give_what_torch_gives(norm, shape):
    torch.manual_seed(0)
    for value in norm.parameters():
        nn.init.normal_(value)
    image = 3 + 2 * torch.randn(shape)
    assert torch.allclose(WrittenInstanceNorm(norm)(image), norm(image), atol=1e-5)


def test_the_network_itself_stays_as_it_is_and_its_weights_are_shared():
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4, affine=True))
    written = with_written_norms(network)
    assert isinstance(written[1], WrittenInstanceNorm)
    assert isinstance(network[1], nn.InstanceNorm3d)
    assert written[0].weight is network[0].weight
    assert written[1].weight is network[1].weight


def test_norms_with_running_statistics_are_left_alone():
    network = nn.Sequential(nn.InstanceNorm3d(4, track_running_stats=True), nn.BatchNorm3d(4))
    assert [type(module) for module in with_written_norms(network)] == [nn.InstanceNorm3d, nn.BatchNorm3d]
