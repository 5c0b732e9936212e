"""Two processes and one: the same losses, and the same weights to rounding."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from medseg.bundle import load_bundle
from medseg.errors import SettingsError
from medseg.training import train
from medseg.training.distributed import World

LOSS = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True, "include_background": False}
"""A mean over samples: a Dice over the whole batch would not be a mean of its shares."""


@pytest.fixture
def plain_bundle(bundle_folder: Path, tmp_path: Path) -> Path:
    """The tiny bundle without dropout, whose random numbers would differ, with a loss that is a mean over samples."""
    folder = tmp_path / "plain"
    (folder / "configs").mkdir(parents=True)
    for path in (bundle_folder / "configs").iterdir():
        (folder / "configs" / path.name).write_bytes(path.read_bytes())
    for name, change in (("inference.yaml", None), ("train.yaml", {"loss": LOSS})):
        path = folder / "configs" / name
        config = yaml.safe_load(path.read_text())
        if change is None:
            config["network_def"]["dropout"] = 0.0
        else:
            config |= change
        path.write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def losses(output: Path) -> list[float]:
    events = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


def test_two_processes_learn_what_one_learns(plain_bundle, manifest, training_data, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    cpu = torch.device("cpu")
    train(load_bundle(plain_bundle, overlays=("train",)), manifest, data_root=training_data, output=alone, device=cpu)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "medseg", "--quiet", "train"]
    data = ["--data", str(training_data / "blocks.json"), "--data-root", str(training_data), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, *words, str(plain_bundle), *data, "--output", str(together)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert losses(together) == pytest.approx(losses(alone), rel=1e-4)
    expected = load_file(alone / "model.safetensors")
    for name, value in load_file(together / "model.safetensors").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-3)  # kept in half precision


def test_a_batch_that_cannot_be_shared_is_refused():
    assert World(rank=1, size=2).share(torch.arange(4)).tolist() == [1, 3]
    with pytest.raises(SettingsError, match="a batch of 3 cannot be shared by 2 processes"):
        World(rank=0, size=2).share(torch.arange(3))
