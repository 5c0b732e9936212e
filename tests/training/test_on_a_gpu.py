"""Training on a stand-in for a GPU: the losses and weights of the CPU."""

import json

import pytest
import torch
from safetensors.torch import load_file

from medseg.training import train
from medseg.training.checkpoint import read_checkpoint


@pytest.fixture
def trained(gpu_stand_in, bundle_folder, training_data, tmp_path):
    """A function that trains the tiny bundle there, in a folder of that name."""

    def run(name: str, *words: str):
        places = ("--data", training_data / "blocks.json", "--data-root", training_data, "--output", tmp_path / name)
        ended = gpu_stand_in("medseg", "train", bundle_folder, *places, "--device", "cuda", *words)
        assert ended.returncode == 0, ended.stderr
        return tmp_path / name

    return run


def test_a_training_there_is_that_of_the_cpu(trained, bundle, manifest, training_data, tmp_path):
    folder = trained("there")
    train(bundle, manifest, data_root=training_data, output=tmp_path / "here", device=torch.device("cpu"))
    logs = [(one / "log.jsonl").read_text().splitlines() for one in (folder, tmp_path / "here")]
    there, here = ([json.loads(line) for line in log] for log in logs)
    losses, expected = ([event["loss"] for event in log if "loss" in event] for log in (there, here))
    assert losses == pytest.approx(expected, rel=1e-3)
    found, wanted = (load_file(one / "model.safetensors") for one in (folder, tmp_path / "here"))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=2e-3, rtol=1e-2)
    checkpoint = read_checkpoint(folder / "checkpoint.pt")
    assert checkpoint.device == "cuda"
    assert len(checkpoint.gpu_random_state[0]) > 0


@pytest.mark.parametrize("words", [("--set", "cache_gb=0"), ("--set", "precision=bfloat16", "--set", "workers=2")])
def test_examples_kept_in_files_and_half_precision_are_trained_on_there_too(trained, words):
    folder = trained("there", *words)
    assert read_checkpoint(folder / "checkpoint.pt").step == 12
    assert (folder / "model.safetensors").is_file()
