"""What of a bundle's postprocessing is left to do, and from where a voxel lies in a region."""

import math

import pytest
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    Invertd,
    KeepLargestConnectedComponentd,
    SaveImaged,
)

from medseg.errors import SettingsError
from medseg.inference import RestoreLabelsd, label_postprocessing, region_threshold
from medseg.inference.largest_parts import LargestPartsd
from medseg.transforms import RemoveSmallComponentsd


def test_what_the_engine_does_itself_is_left_out_of_a_bundles_postprocessing():
    clean = RemoveSmallComponentsd("pred", min_volume_mm3=5)
    keep = KeepLargestConnectedComponentd("pred", applied_labels=[1])
    own = [
        Activationsd("pred", softmax=True),
        Invertd("pred", transform=Compose([]), orig_keys="image"),
        AsDiscreted("pred", argmax=True),
        RestoreLabelsd("pred", reference_key="image"),
        clean,
        keep,
        SaveImaged("pred"),
    ]
    kept = label_postprocessing(Compose(own)).transforms
    assert kept[0] is clean
    assert isinstance(kept[1], LargestPartsd)
    assert kept[1].step is keep
    assert len(kept) == 2


def test_a_threshold_of_probabilities_is_one_of_probabilities():
    steps = [Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.3)]
    assert region_threshold(Compose(steps)) == 0.3
    assert region_threshold(Compose([Activationsd("pred", softmax=True), AsDiscreted("pred", argmax=True)])) is None


@pytest.mark.parametrize("logit", [0.0, -2.0, 1.5])
def test_a_threshold_of_logits_is_the_probability_that_belongs_to_it(logit):
    found = region_threshold(Compose([AsDiscreted("pred", threshold=logit)]))
    assert math.log(found / (1 - found)) == pytest.approx(logit)


@pytest.mark.parametrize("threshold", [0, 1])
def test_a_threshold_that_tells_no_voxels_apart_is_refused(threshold):
    with pytest.raises(SettingsError, match="a number between 0 and 1 was expected"):
        region_threshold(Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=threshold)]))
