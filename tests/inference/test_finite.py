"""Logits that are no finite numbers: infinity is the largest there is, NaN an error that says whose it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.transforms import Compose, Spacingd
from torch import nn

from medseg.errors import RunError
from medseg.inference import ManyPasses, MirrorInferer, Segmenter, SliceBySliceInferer, predict_logits
from medseg.inference.finite import LARGEST_LOGIT, FiniteLogits, finite
from medseg.labels import Label, LabelTable

WINDOWS = SlidingWindowInferer((8, 8, 8), overlap=0.5, mode="gaussian")


class Overflowing(nn.Module):
    """Certain of its second label where the image is above a half, as a network in float16 that overflows."""

    def __init__(self, *, beyond: float) -> None:
        super().__init__()
        self.beyond = beyond

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = torch.where(x > 0.5, self.beyond, -self.beyond)
        return torch.cat([-score, score], dim=1)


class Dividing(nn.Module):
    """Gives NaN in a single voxel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.cat([x, -x], dim=1)
        logits[:, 1, 2, 2, 2] = torch.nan
        return logits


def segmenter(network: nn.Module, *, inferer=WINDOWS) -> Segmenter:
    return Segmenter(
        preprocessing=Compose([Spacingd(keys="image", pixdim=(1.5, 0.8, 1.0), mode="bilinear")]),
        network=network,
        inferer=inferer,
        postprocessing=Compose([]),
        label_table=LabelTable(labels=(Label(index=1, name="bright", color=(255, 255, 255)),)),
        channel_names=("CT",),
        name="a_bundle",
    )


@pytest.fixture
def image() -> MetaTensor:
    values = torch.zeros(1, 16, 15, 12)
    values[:, 4:11, 3:9, 2:10] = 1
    return MetaTensor(values, affine=torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("inferer", [WINDOWS, MirrorInferer(WINDOWS, (0, 1)), SimpleInferer()])
def test_infinite_logits_give_the_labels_of_the_largest(image, inferer):
    expected = segmenter(Overflowing(beyond=LARGEST_LOGIT), inferer=inferer)(image).labels
    endless = segmenter(Overflowing(beyond=torch.inf), inferer=inferer)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(endless(image).labels, expected)
    found = ManyPasses((endless,), measures_uncertainty=True)(image)
    np.testing.assert_array_equal(found.labels, expected)
    assert not np.isnan(found.uncertainty.entropy).any()


def test_infinite_regions_give_the_labels_of_the_largest(image):
    last = Compose([lambda data: {"pred": data["pred"][1:]}])
    large, endless = (
        replace(segmenter(Overflowing(beyond=one)), region_threshold=0.5, postprocessing=last)
        for one in (LARGEST_LOGIT, torch.inf)
    )
    expected = large(image).labels
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(endless(image).labels, expected)


def test_a_logarithm_of_nothing_rules_a_label_out():
    logits = torch.tensor([0.0, 0.25, 1.0]).log()
    found = finite(logits)
    assert found.tolist() == [pytest.approx(-LARGEST_LOGIT), logits[1].item(), 0]
    assert finite(logits.half()).softmax(0).tolist() == pytest.approx([0, 0.2, 0.8], abs=1e-3)


def test_finite_logits_pass_as_they_are():
    logits = torch.tensor([-7e4, 3.0, 1e29])
    assert finite(logits) is logits
    beyond_half = torch.full((9,), 6e4, dtype=torch.float16)  # their sum is no number in float16
    assert finite(beyond_half) is beyond_half
    beyond_single = torch.full((9,), 1e30) * 1e8  # nor is that of these in float32
    assert finite(beyond_single).tolist() == [pytest.approx(LARGEST_LOGIT)] * 9
    assert FiniteLogits(nn.Identity(), named="", advice="")((logits, logits)) == (logits, logits)


@pytest.mark.parametrize("inferer", [WINDOWS, MirrorInferer(WINDOWS, (0,)), SimpleInferer()])
@pytest.mark.parametrize("together", [False, True], ids=["alone", "several"])
def test_values_that_are_no_numbers_are_told_with_the_model_and_what_computed_it(image, inferer, together):
    broken = segmenter(Dividing(), inferer=inferer)
    sound = replace(segmenter(Overflowing(beyond=2), inferer=inferer), name="a_sound_bundle")
    said = r"a_bundle, computed by torch on cpu, gave values that are not numbers \(NaN\): its weights are damaged"
    with pytest.raises(RunError, match=said) as failure:
        (ManyPasses((sound, broken)) if together else broken)(image)
    assert failure.value.exit_code == 1


def test_slices_that_are_no_numbers_are_told_too(image):
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Threshold(1e9, float("nan")))
    with pytest.raises(RunError, match="a_bundle, computed by torch on cpu, gave values that are not numbers"):
        segmenter(network, inferer=SliceBySliceInferer(2, (8, 8)))(image)


def test_a_bare_network_is_told_of_without_a_name(image):
    with pytest.raises(RunError, match=r"the network gave values that are not numbers \(NaN\): the weights"):
        predict_logits(image, Dividing(), SimpleInferer())
