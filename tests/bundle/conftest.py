"""What the tests of bundles share: the hippocampus bundle with a network that runs in a moment."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from monai.networks.nets import UNet

from medseg.bundle import Bundle, find_bundles, load_bundle
from medseg.training.checkpoint import write_weights

NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}

Change = Callable[[Path, dict[str, object]], None]


@pytest.fixture
def change() -> Change:
    """A function that replaces values at the top of a YAML or JSON file (JSON is YAML)."""

    def replace(path: Path, values: dict[str, object]) -> None:
        content = yaml.safe_load(path.read_text()) | values
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return replace


@pytest.fixture
def folder(tmp_path: Path, change: Change) -> Path:
    """A bundle of one's own to break: tiny network, random weights that are always the same."""
    folder = tmp_path / "tiny"
    shutil.copytree(find_bundles()["swin_unetr_hippocampus"], folder, ignore=shutil.ignore_patterns("models"))
    change(folder / "configs" / "inference.yaml", {"network_def": NETWORK, "roi_size": [16, 16, 16]})
    (folder / "models").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})
    write_weights(network.state_dict(), folder / "models" / "model.safetensors")
    return folder


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    """That bundle, loaded."""
    return load_bundle(folder)
