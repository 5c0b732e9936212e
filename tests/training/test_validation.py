"""Validation scores with a known answer."""

import math

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch import nn

from medseg.labels import LabelTable
from medseg.training.dataset import Example
from medseg.training.validation import mean_of, validation_dice

TABLE = LabelTable.from_entries(
    [
        {"index": index, "name": name, "color": [0, 0, 0]}
        for index, name in enumerate(("one", "two", "absent"), start=1)
    ],
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
        label_table=TABLE,
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
