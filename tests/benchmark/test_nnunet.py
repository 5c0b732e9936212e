"""nnU-Net's predictor on MONAI's road: refused where it cannot take part, the same logits where it can."""

import importlib.util

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.networks.nets import UNet

from medseg.benchmark.nnunet import NnunetInferer, check_nnunet
from medseg.errors import SettingsError

WINDOWS = SlidingWindowInferer(roi_size=(16, 16, 16), overlap=0.5, mode="gaussian")


def test_without_nnunet_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="pip install nnunetv2"):
        check_nnunet(WINDOWS)


@pytest.mark.parametrize(
    ("inferer", "match"),
    [(SimpleInferer(), "SimpleInferer"), (SlidingWindowInferer((16, 16, 16), overlap=(0.5, 0.25, 0.5)), "one overlap")],
)
def test_windows_that_it_does_not_take_are_refused(inferer, match, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(SettingsError, match=match):
        check_nnunet(inferer)


def test_its_logits_are_those_of_monais_windows():
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed (pip install nnunetv2)")
    torch.manual_seed(0)
    network = UNet(3, 2, 3, channels=(4, 8), strides=(2,)).eval()
    volume = torch.rand(1, 2, 24, 32, 16)  # sizes at which both lay the same windows
    with torch.inference_mode():
        # Without weights: MONAI lets none fall below a thousandth, nnU-Net sums them in half precision.
        evenly = SlidingWindowInferer(roi_size=(16, 16, 16), overlap=0.5, mode="constant")
        expected = evenly(volume, network)
        found = NnunetInferer(evenly, n_channels=3, device=torch.device("cpu"))(volume, network)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.01 * expected.std()
