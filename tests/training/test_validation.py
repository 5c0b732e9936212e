"""Validation scores with a known answer."""

import math

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch import nn

from medseg.data import LabelSchema, load_schema
from medseg.training import validation
from medseg.training.example import Example
from medseg.training.validation import mean_of, validation_dice

SCHEMA = LabelSchema.from_mapping(
    {
        "name": "test",
        "title": "test",
        "source": "test",
        "labels": [
            {"index": index, "name": name, "color": [0, 0, 0]}
            for index, name in enumerate(("one", "two", "absent"), start=1)
        ],
    },
    source="test",
)


class Echo(nn.Module):
    """A network that finds the label each voxel is bright by."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-(x - label).abs() for label in range(4)], dim=1)


def example_of(predicted: list[int], reference: list[int]) -> Example:
    image = MetaTensor(torch.tensor(predicted, dtype=torch.float32).reshape(1, -1, 1, 1))
    label = MetaTensor(torch.tensor(reference, dtype=torch.uint8).reshape(1, -1, 1, 1))
    return Example("case", image, label)


def test_dice_is_the_mean_over_the_cases_that_have_the_label():
    examples = [
        example_of([1, 1, 0, 0], [1, 0, 0, 0]),  # one: 2/3
        example_of([1, 0, 2, 0], [0, 0, 2, 0]),  # one: 0, two: 1
    ]
    heard = []
    dice = validation_dice(
        examples,
        Echo(),
        SimpleInferer(),
        schema=SCHEMA,
        progress=lambda stage, done, total: heard.append((stage, done, total)),
    )
    assert dice["one"] == pytest.approx(1 / 3, abs=1e-5)
    assert dice["two"] == 1
    assert math.isnan(dice["absent"])
    assert heard == [("validate", 1, 2), ("validate", 2, 2)]


def test_the_mean_leaves_out_labels_that_nobody_has():
    assert mean_of({"one": 0.5, "two": 1.0, "absent": math.nan}) == 0.75


def test_the_mean_of_nothing_is_never_the_best():
    assert mean_of({"absent": math.nan}) == 0.0


class Memberships(nn.Module):
    """A network of three regions: the whole tumour is found right, the core and the enhancing tumour are not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x - 5, x - 0.5, x - 5], dim=1)


def test_a_network_of_regions_is_scored_by_region():
    dice = validation_dice(
        [example_of([0, 1, 1, 1], [0, 1, 2, 4])],
        Memberships(),
        SimpleInferer(),
        schema=load_schema("brats_2021"),
        regions=["tumor_core", "whole_tumor", "enhancing_tumor"],
    )
    assert dice == {"tumor_core": 0.0, "whole_tumor": 1.0, "enhancing_tumor": 0.0}


def test_a_scan_that_the_gpu_has_no_room_for_goes_there_window_by_window(monkeypatch):
    """The device without values stands for the GPU: a volume that was sent there could not be read back."""
    predict = validation.predict_logits
    taken = []

    class ThereAndBack(Echo):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            taken.append(x.device.type)
            return super().forward(bright)

    def with_little_room(image, network, inferer):
        if image.device.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(image, network, inferer)

    monkeypatch.setattr(validation, "predict_logits", with_little_room)
    example = example_of([1, 1, 0, 0], [1, 1, 0, 0])
    bright = example.image.as_tensor()[None]
    device = torch.device("meta")
    dice = validation_dice([example], ThereAndBack(), SimpleInferer(), schema=SCHEMA, device=device)
    assert dice["one"] == 1
    assert taken == ["meta"]
