"""What decides a training: the same in every process, and another one for every change that would change the result."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DiceCELoss
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from torch import nn

from medseg.bundle import load_bundle
from medseg.training.identity import described, differences, digests_of

PARTS = ("network", "preprocessing", "augmentation", "inferer", "loss", "optimizer", "lr_scheduler")

DIGESTS_OF_A_BUNDLE = """
import sys
import torch
from medseg.bundle import load_bundle
from medseg.training.identity import digests_of

bundle = load_bundle(sys.argv[1], overlays=("train",))
parser = bundle.parser(device=torch.device("cpu"))
print(digests_of({name: bundle.build(name, parser) for name in sys.argv[2:]}))
"""


def test_the_parts_of_a_recipe_have_the_same_digests_in_another_process(bundle_folder):
    bundle = load_bundle(bundle_folder, overlays=("train",))
    parser = bundle.parser(device=torch.device("cpu"))
    own = digests_of({name: bundle.build(name, parser) for name in PARTS})
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS_OF_A_BUNDLE, str(bundle_folder), *PARTS],
        env={**os.environ, "PYTHONHASHSEED": "5", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(own)


def network(channels: int = 4, dropout: float = 0.1) -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, channels, 3), nn.Dropout(dropout))


def optimizer(**settings: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network().parameters(), **settings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (network(), network(channels=5)),
        (network(), network(dropout=0.2)),
        (DiceCELoss(softmax=True), DiceCELoss(softmax=True, lambda_dice=0.5)),
        (DiceCELoss(weight=torch.tensor([1.0, 2.0])), DiceCELoss(weight=torch.tensor([1.0, 3.0]))),
        (optimizer(lr=0.1), optimizer(lr=0.2)),
        (optimizer(weight_decay=0.1), optimizer(weight_decay=0.2)),
        (Compose([RandFlipd("image", prob=0.5)]), Compose([RandFlipd("image", prob=0.4)])),
        (Compose([RandFlipd("image")]), Compose([RandFlipd("image"), RandGaussianNoised("image")])),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (lambda volume: volume > 1, lambda volume: volume > 2),
        (lambda volume: volume.min(), lambda volume: volume.max()),
        ({"a": np.arange(3)}, {"a": np.arange(3) + 1}),
        ({1, 2}, {1, 3}),
        (torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.float16)),
        (torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(2.0, dtype=torch.bfloat16)),
        (MetaTensor(torch.eye(2)), MetaTensor(torch.zeros(2, 2))),
        (torch.zeros(0), torch.zeros(0, 1)),
        (torch.float16, torch.float32),
    ],
)
def test_whatever_was_built_otherwise_is_described_otherwise(one, other):
    assert described(one) == described(one)
    assert described(one) != described(other)


def test_values_that_change_with_use_are_not_part_of_the_description():
    with torch.random.fork_rng():
        first, second = network(), network()
    assert not torch.equal(first[0].weight, second[0].weight)
    assert described(first) == described(second.eval())
    noise = RandGaussianNoised("image")
    before = described(noise)
    noise.set_random_state(seed=3)
    assert described(noise) == before


def test_a_thing_that_holds_itself_is_described_to_an_end():
    circle: list[object] = [1]
    circle.append(circle)
    assert described(circle) == [1, "list"]


def test_differences_are_named_with_their_values_where_those_are_short():
    before = {"the setting steps": "12", "the split": "a", "loss": "b", "loss, as built": "c"}
    assert differences(before, before) == ""
    assert differences(before, before | {"the setting steps": "13"}) == "the setting steps (12, now 13)"
    assert differences(before, before | {"loss": "x", "loss, as built": "y"}) == "loss"
    assert differences(before, before | {"loss, as built": "y"}) == "loss, as built"
    changed = dict.fromkeys(before, "z") | {"the setting patience": "3"}
    expected = "the setting steps (12, now z), the split, loss, 1 more"
    assert differences(before, changed) == expected
