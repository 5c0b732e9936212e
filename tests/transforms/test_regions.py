"""Regions become one label map: the innermost wins, and the scan's grid is kept."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.data import load_schema
from medseg.errors import ImageError, SettingsError
from medseg.transforms import RegionsToLabelsd

BRATS = [[1, 2], [0, 1], [2, 4]]
ORDER = ["tumor_core", "whole_tumor", "enhancing_tumor"]


def test_regions_paint_as_the_label_schema_decodes_them():
    schema = load_schema("brats_2021")
    labels = np.random.default_rng(0).choice(np.array([0, 1, 2, 4], np.uint8), size=(6, 5, 4))
    membership = schema.encode(labels, regions=ORDER)
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    regions = MetaTensor(torch.from_numpy(membership.astype(np.float32)), affine=affine)
    painted = RegionsToLabelsd("pred", paint=BRATS)({"pred": regions})["pred"]
    assert np.array_equal(painted[0].numpy(), labels)
    assert torch.equal(painted.affine, affine)
    assert painted.dtype == torch.uint8


def test_fewer_regions_than_are_painted_are_refused():
    with pytest.raises(ImageError, match="pred has 2 channels"):
        RegionsToLabelsd("pred", paint=BRATS)({"pred": torch.zeros(2, 3, 3, 3)})


@pytest.mark.parametrize("paint", [[], [[0]], [[0, 0]], [[0, 256]]])
def test_pairs_that_paint_no_label_are_refused(paint):
    with pytest.raises(SettingsError, match="pairs of a channel and a label"):
        RegionsToLabelsd("pred", paint=paint)
