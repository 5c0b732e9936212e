"""Bundles in the style of MONAI's model zoo run unchanged: JSON, its own reader and writer, removed arguments."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import SegResNet, UNet
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

from medseg.bundle import build_segmenter, load_bundle, segment
from medseg.errors import BundleError
from medseg.geometry import geometry_of
from medseg.inference import restore_regions
from medseg.io import resolve_cases
from medseg.networks import SwinUNETR

CPU = torch.device("cpu")
DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
BRATS_DECODE = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
SWIN = {"_target_": "SwinUNETR", "img_size": 32, "in_channels": 1, "out_channels": 3, "feature_size": 12}
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
SEGRESNET = {
    "_target_": "SegResNet",
    "blocks_down": [1, 1],
    "blocks_up": [1],
    "init_filters": 8,
    "in_channels": 4,
    "out_channels": 3,
}


def transforms(*steps):
    return {"_target_": "Compose", "transforms": list(steps)}


def step(name, keys, **arguments):
    return {"_target_": name, "keys": keys, **arguments}


def channel_def(*names):
    return {str(index): name for index, name in enumerate(names)}


def zoo_bundle(folder, *, network, inputs, outputs, last_steps, modality="CT"):
    """A bundle written as the zoo writes them, weights and all."""
    config = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "dataset_dir": "/workspace/data",
        "device": DEVICE,
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": transforms(
            step("LoadImaged", "image", reader="ITKReader"),
            step("EnsureChannelFirstd", "image"),
            step("Orientationd", "image", axcodes="RAS"),
            step("Spacingd", "image", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
            step("NormalizeIntensityd", "image", channel_wise=True),
            step("EnsureTyped", "image"),
        ),
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 2, "overlap": 0.25},
        "postprocessing": transforms(
            *last_steps,
            step("SaveImaged", "pred", output_dir="@output_dir", output_dtype="$numpy.float32"),
        ),
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"}],
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@evaluator.run()"],
    }
    metadata = {
        "version": "0.1.0",
        "network_data_format": {
            "inputs": {
                "image": {"modality": modality, "num_channels": len(inputs), "channel_def": channel_def(*inputs)}
            },
            "outputs": {"pred": {"num_channels": len(outputs), "channel_def": channel_def(*outputs)}},
        },
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return folder


def chosen_labels():
    invert = step("Invertd", "pred", transform="@preprocessing", orig_keys="image", nearest_interp=False)
    return [step("Activationsd", "pred", softmax=True), invert, step("AsDiscreted", "pred", argmax=True)]


def regions(*last):
    invert = step("Invertd", "pred", transform="@preprocessing", orig_keys="image", meta_keys="pred_meta_dict")
    return [step("Activationsd", "pred", sigmoid=True), invert, step("AsDiscreted", "pred", threshold=0.5), *last]


@pytest.fixture
def organs(tmp_path):
    """A folder like the zoo's spleen bundle, with two organs."""
    folder = zoo_bundle(
        tmp_path / "organs",
        network=UNET,
        inputs=["image"],
        outputs=["background", "Left Kidney", "spleen"],
        last_steps=chosen_labels(),
    )
    torch.manual_seed(0)
    torch.save(UNet(3, 1, 3, [4, 8], [2], norm="batch").state_dict(), folder / "models" / "model.pt")
    return folder


@pytest.fixture
def tumour(tmp_path):
    """A folder like the zoo's BraTS bundle: four channels in, three nested regions out."""
    folder = zoo_bundle(
        tmp_path / "tumour",
        network=SEGRESNET,
        inputs=["T1c", "T1", "T2", "FLAIR"],
        outputs=["Tumor core", "Whole tumor", "Enhancing tumor"],
        last_steps=regions(step("Lambdad", "pred", func=BRATS_DECODE)),
        modality="MR",
    )
    torch.manual_seed(0)
    network = SegResNet(blocks_down=[1, 1], blocks_up=[1], init_filters=8, in_channels=4, out_channels=3)
    torch.save({"state_dict": network.state_dict()}, folder / "models" / "model.pt")
    return folder


def test_channels_and_labels_come_from_the_metadata(organs):
    bundle = load_bundle(organs)
    assert [(channel.name, channel.modality) for channel in bundle.channels] == [("image", "CT")]
    assert [(label.index, label.name) for label in bundle.label_table] == [(1, "left_kidney"), (2, "spleen")]


def test_reading_restoring_and_writing_are_ours(organs, write_scan, tmp_path):
    bundle = load_bundle(organs)
    path = write_scan(tmp_path / "scan.nii.gz", shape=(20, 24, 18))
    result = segment(path, bundle=organs)
    assert result.labels.shape == (20, 24, 18)
    assert set(np.unique(result.labels)) <= {0, 1, 2}
    names = [type(entry).__name__ for entry in bundle.build("preprocessing", bundle.parser(device=CPU)).transforms]
    assert "LoadImaged" not in names


def test_a_swin_unetr_with_a_removed_argument_gets_the_merging_it_was_trained_with(tmp_path):
    folder = zoo_bundle(
        tmp_path / "swin",
        network=SWIN,
        inputs=["image"],
        outputs=["background", "a", "b"],
        last_steps=chosen_labels(),
    )
    bundle = load_bundle(folder)
    network = bundle.build("network_def", bundle.parser(device=CPU))
    assert isinstance(network, SwinUNETR)
    assert (network.config.merging, network.config.feature_size, network.config.out_channels) == ("legacy", 12, 3)
    assert any("img_size" in note for note in bundle.notes)


def test_weights_of_monais_swin_unetr_load_into_ours(tmp_path, write_scan):
    folder = zoo_bundle(
        tmp_path / "swin", network=SWIN, inputs=["image"], outputs=["background", "a", "b"], last_steps=chosen_labels()
    )
    torch.save(MonaiSwinUNETR(1, 3, feature_size=12).state_dict(), folder / "models" / "model.pt")
    path = write_scan(tmp_path / "scan.nii.gz", shape=(20, 24, 18))
    assert segment(path, bundle=folder).labels.shape == (20, 24, 18)


def test_regions_become_the_values_that_the_bundle_gives_them(tumour):
    labels = {label.index: label.name for label in load_bundle(tumour).label_table}
    assert labels == {1: "tumor_core", 2: "whole_tumor", 4: "enhancing_tumor"}


def test_overlapping_regions_are_restored_one_by_one_and_then_decoded(tumour):
    segmenter = build_segmenter(load_bundle(tumour), device=CPU)
    assert segmenter.region_threshold == 0.5
    torch.manual_seed(1)
    image = MetaTensor(torch.rand(4, 24, 20, 16), affine=torch.eye(4, dtype=torch.float64))
    values = set(np.unique(segmenter(image).labels))
    assert values <= {0, 1, 2, 4}
    logits = MetaTensor(torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 3, 3, 3), affine=torch.eye(4))
    found = restore_regions(logits, geometry_of(logits), threshold=0.5)
    assert found[0].all()
    assert not found[1].any()


def test_regions_that_never_become_labels_are_refused(tmp_path):
    folder = zoo_bundle(
        tmp_path / "open", network=SEGRESNET, inputs=["a", "b", "c", "d"], outputs=["x", "y", "z"], last_steps=regions()
    )
    with pytest.raises(BundleError, match="regions x, y, z do not each become a label"):
        load_bundle(folder)


def test_brats_files_are_found_by_the_names_in_the_metadata(tumour, tmp_path):
    case = tmp_path / "BraTS_1"
    case.mkdir()
    for word in ("t1", "t1ce", "t2", "flair"):
        (case / f"BraTS_1_{word}.nii.gz").touch()
    (found,) = resolve_cases([case], channels=load_bundle(tumour).channel_specs)
    assert [channel.path.name for channel in found.channels] == [
        f"BraTS_1_{word}.nii.gz" for word in ("t1ce", "t1", "t2", "flair")
    ]


@pytest.mark.parametrize(
    "formats",
    [
        None,
        [1],
        {"inputs": [1], "outputs": None},
        {"inputs": {"image": None}, "outputs": {"pred": {"channel_def": ["background", "a", "b"]}}},
    ],
)
def test_metadata_of_no_known_form_name_no_labels_and_that_is_told(organs, formats):
    (organs / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": formats}))
    with pytest.raises(BundleError, match="has no 'labels'"):
        build_segmenter(load_bundle(organs), device=CPU)
