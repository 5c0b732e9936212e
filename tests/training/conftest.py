"""What the tests of training share: four small scans, their manifest, and the hippocampus recipe made tiny."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg.bundle import Bundle, find_bundles, load_bundle
from medseg.data import DataManifest, load_manifest

NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "dropout": 0.1,  # so that the random state matters
}

TRAINING = {
    "steps": 12,
    "batch_size": 2,
    "learning_rate": 0.001,
    "seed": 7,
    "ema_decay": 0.9,
    "gradient_clip_norm": 1.0,
    "validate_every": 6,
    "checkpoint_every": 4,
}


@pytest.fixture(scope="session")
def training_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four scans of two touching blocks in noise, their labels, and ``blocks.json``."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    case_ids = [f"case_{number}" for number in range(4)]
    for case_id in case_ids:
        labels = np.zeros((20, 18, 17), np.uint8)
        i, j, k = random.integers(3, 8, size=3)
        labels[i : i + 4, j : j + 7, k : k + 6] = 1
        labels[i + 4 : i + 8, j : j + 7, k : k + 6] = 2
        image = random.normal(100, 10, size=labels.shape) + 100 * labels
        for folder, array in (("imagesTr", image.astype(np.float32)), ("labelsTr", labels)):
            (root / "Blocks" / folder).mkdir(parents=True, exist_ok=True)
            path = root / "Blocks" / folder / f"{case_id}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    hippocampus = load_manifest("msd_hippocampus")
    content = {
        "name": "blocks",
        "title": "Blocks",
        "folder": "Blocks",
        "licence": "CC0-1.0",
        "citation": "none",
        "channels": [channel.model_dump() for channel in hippocampus.channels],
        "labels": [label.model_dump() for label in hippocampus.labels],
        "image": "imagesTr/{case_id}.nii.gz",
        "label": "labelsTr/{case_id}.nii.gz",
        "cases": {case_id: {"image_sha256": "0", "label_sha256": "0"} for case_id in case_ids},
        "splits": {"train": case_ids[:3], "validation": case_ids[3:]},
    }
    (root / "blocks.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def manifest(training_data: Path) -> DataManifest:
    """The manifest of the four scans."""
    return load_manifest(training_data / "blocks.json")


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hippocampus bundle with a network of a few hundred weights, windows of 16 voxels and twelve steps."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    shutil.copytree(find_bundles()["swin_unetr_hippocampus"] / "configs", folder / "configs")
    changes = {
        "inference.yaml": {"network_def": NETWORK, "roi_size": [16, 16, 16]},
        "train.yaml": {"training": TRAINING},
    }
    for name, changed in changes.items():
        path = folder / "configs" / name
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changed, sort_keys=False))
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    """The tiny bundle with its training recipe."""
    return load_bundle(bundle_folder, overlays=("train",))
