"""The largest part of each label, looked for within its box: the labels are MONAI's."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponentd

from medseg.inference import largest_parts
from medseg.inference.largest_parts import LargestPartsd


def labels_of(seed: int, *, density: float, dtype=torch.uint8) -> MetaTensor:
    """Labels 0, 1, 2, 3 and 200 in lumps, of which some are as large as others."""
    random = np.random.default_rng(seed)
    values = random.choice(np.array([0, 1, 2, 3, 200], np.uint8), (7, 6, 5), p=[1 - density, *[density / 4] * 4])
    lumps = values.repeat(random.integers(1, 3), 0).repeat(random.integers(1, 3), 2)
    return MetaTensor(torch.from_numpy(lumps)[None].to(dtype), affine=torch.eye(4))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("applied", [None, [1], [3, 200, 1], [2, 17], 3])
@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("connectivity", [None, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_the_parts_that_stay_are_those_that_monai_keeps(seed, applied, independent, connectivity, count):
    step = KeepLargestConnectedComponentd(
        "pred",
        applied_labels=applied,
        independent=independent,
        connectivity=connectivity,
        num_components=count,
        is_onehot=[None, False][seed % 2],
    )
    labels = labels_of(seed, density=[0.2, 0.5, 0.9][seed % 3])
    expected = step({"pred": labels.clone()})["pred"]
    found = LargestPartsd(step)({"pred": labels.clone()})["pred"]
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert torch.equal(found.affine, labels.affine)
    assert found.dtype == expected.dtype == torch.uint8


@pytest.mark.parametrize(
    ("labels", "settings"),
    [
        (labels_of(1, density=0.5, dtype=torch.float32), {"applied_labels": [1, 2]}),
        (labels_of(2, density=0.5), {"applied_labels": [0, 1]}),
        (MetaTensor((torch.rand(3, 6, 6, 6) > 0.6).to(torch.uint8)), {"applied_labels": [0, 2]}),
        (MetaTensor((torch.rand(1, 6, 6, 6) > 0.6).to(torch.uint8)), {"applied_labels": [0], "is_onehot": True}),
    ],
)
def test_what_is_no_plain_label_map_is_left_to_monai(labels, settings):
    step = KeepLargestConnectedComponentd("pred", **settings)
    expected = step({"pred": labels.clone()})["pred"]
    assert torch.equal(LargestPartsd(step)({"pred": labels.clone()})["pred"].as_tensor(), expected.as_tensor())


@pytest.mark.parametrize("independent", [True, False])
def test_where_no_label_is_named_all_stay(independent):
    labels = labels_of(3, density=0.5)
    step = KeepLargestConnectedComponentd("pred", applied_labels=[], independent=independent)
    assert torch.equal(LargestPartsd(step)({"pred": labels.clone()})["pred"].as_tensor(), labels.as_tensor())


def test_only_the_labels_boxes_are_looked_at(monkeypatch):
    looked_at = []

    class Watched(largest_parts.KeepLargestConnectedComponent):
        def __call__(self, img):
            looked_at.append(tuple(img.shape))
            return super().__call__(img)

    step = KeepLargestConnectedComponentd("pred", applied_labels=[1, 2, 5])
    monkeypatch.setattr(largest_parts, "KeepLargestConnectedComponent", Watched)
    labels = torch.zeros((1, 30, 30, 30), dtype=torch.uint8)
    labels[0, 3:5, 4:8, 5:6] = 1
    labels[0, 20, 20, 20] = labels[0, 22, 20, 20] = 2
    found = LargestPartsd(step)({"pred": labels.clone()})["pred"]
    assert looked_at == [(1, 2, 4, 1), (1, 3, 1, 1)]
    assert int((found == 2).sum()) == 1
    assert int((found == 1).sum()) == 8
