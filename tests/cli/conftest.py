"""What the tests of the command line share: a bundle that runs in a moment, and the command itself."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from monai.networks.nets import UNet

from medseg.bundle import find_bundles
from medseg.training.checkpoint import write_weights

TINY_NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hippocampus bundle with a network of a few hundred weights, drawn at random and always the same."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    shutil.copytree(find_bundles()["swin_unetr_hippocampus"] / "configs", folder / "configs")
    path = folder / "configs" / "inference.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"network_def": TINY_NETWORK, "roi_size": [16, 16, 16]}, sort_keys=False))
    (folder / "models").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(**{key: value for key, value in TINY_NETWORK.items() if key != "_target_"})
    write_weights(network.state_dict(), folder / "models" / "model.safetensors")
    return folder
