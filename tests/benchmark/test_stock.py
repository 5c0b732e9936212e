"""MONAI's own road: its class with our weights gives our logits, whatever order of merging they were trained with."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from medseg.benchmark.stock import _stock_inferer, stock_network
from medseg.inference import SliceBySliceInferer
from medseg.networks import SwinUNETR, TransUNet
from medseg.networks.blocks.residual import ConvolutionNorm
from medseg.networks.swin_unetr import SwinUNETRConfig
from medseg.networks.transunet import TransUNetConfig


@pytest.mark.parametrize("merging", ["current", "legacy", "lexicographic"])
@pytest.mark.parametrize("norm", [ConvolutionNorm(), ConvolutionNorm(kind="group", groups=2, affine=True)])
def test_monais_class_with_our_weights_gives_our_logits(merging, norm):
    torch.manual_seed(0)
    config = SwinUNETRConfig.tiny().model_copy(update={"feature_size": 12, "merging": merging, "norm": norm})
    network = SwinUNETR(config).eval()
    windows = torch.rand(1, config.in_channels, 64, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(stock_network(network)(windows), network(windows), rtol=1e-4, atol=1e-4)


def test_a_network_that_monai_has_no_class_for_is_taken_as_it_is():
    network = TransUNet(TransUNetConfig.tiny())
    assert stock_network(network) is network


def test_slices_are_taken_one_by_one_and_windows_as_the_bundle_has_them():
    slices = SliceBySliceInferer(2, (8, 8), batch_size=16, context=1)
    assert _stock_inferer(slices).batch_size == 1
    assert slices.batch_size == 16
    windows = SlidingWindowInferer(roi_size=(8, 8, 8), sw_batch_size=4)
    assert _stock_inferer(windows) is windows
