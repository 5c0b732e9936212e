"""Words on a scan that a model can compute and was not made for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.bundle import load_bundle
from medseg.bundle.doubts import doubts
from medseg.geometry import Geometry
from medseg.io import Scan

CT_MODEL, MR_MODEL = "swin_unetr_btcv", "swin_unetr_brats"


def scan_of(*modalities: str, shape=(8, 8, 8)) -> Scan:
    geometry = Geometry(shape, np.eye(4))
    return Scan("case", MetaTensor(torch.zeros(len(modalities), *shape)), geometry, "0" * 64, modalities=modalities)


@pytest.mark.parametrize("modality", ["MR", "PT", "US"])
def test_a_series_of_another_modality_draws_a_warning_that_names_both(modality):
    (said,) = doubts(load_bundle(CT_MODEL), scan_of(modality))
    assert said.startswith(f"channel CT is of modality {modality}, and swin_unetr_btcv was trained on CT")
    assert said.endswith("Give it the CT.")


@pytest.mark.parametrize("modality", ["CT", "", "OT", "SC", "DOE^JANE"])
def test_the_right_one_and_what_says_nothing_draw_none(modality):
    assert doubts(load_bundle(CT_MODEL), scan_of(modality)) == ()


def test_each_channel_is_looked_at():
    bundle = load_bundle(MR_MODEL)
    names = [channel.name for channel in bundle.channels]
    (said,) = doubts(bundle, scan_of("MR", "CT", "", "MR"))
    assert said.startswith(f"channel {names[1]} is of modality CT")


def test_a_scan_far_longer_than_any_of_the_training_draws_a_warning():
    bundle = load_bundle(CT_MODEL)
    bundle = replace(bundle, config={**bundle.config, "largest_extent_mm": [10, 10, 20]})
    assert doubts(bundle, scan_of("CT", shape=(10, 10, 40))) == ()
    (said,) = doubts(bundle, scan_of("CT", shape=(10, 10, 41)))
    assert said.startswith("the scan covers 10×10×41 mm")
