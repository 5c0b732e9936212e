"""New bundles: every decision follows from the training cases, and the bundle verifies and trains as it is."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose

from medseg.bundle import build_segmenter, create_bundle, differences, load_bundle, verify_bundle
from medseg.data import DataManifest, data_fingerprint, load_manifest
from medseg.errors import BundleError, DataError, GeometryError, OutputError
from medseg.io import read_volume
from medseg.networks import network_names
from medseg.training import train, with_settings
from medseg.transforms import stack_slices

CPU = torch.device("cpu")


def entry(index, name, **more):
    return {"index": index, "name": name, "color": [255, 0, 0], **more}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Six scans of 40×30×20 voxels of 1.5×1.5×3 mm, stored as LPS, with a left and a right block; its manifest."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for number in range(6):
        labels = np.zeros((40, 30, 20), np.uint8)
        labels[8:14, 10:16, 6:11] = 2  # LPS: small indices lie on the right
        labels[26:32, 10:16, 6:11] = 1
        image = random.normal(40, 10, labels.shape) + 100 * (labels > 0)
        image[:, :3] = -1000
        for folder, array in (("imagesTr", image.astype(np.float32)), ("labelsTr", labels)):
            (root / "Blocks" / folder).mkdir(parents=True, exist_ok=True)
            affine = np.diag([-1.5, -1.5, 3.0, 1.0])
            nib.save(nib.Nifti1Image(array, affine), root / "Blocks" / folder / f"case_{number}.nii.gz")
    content = {
        "name": "blocks",
        "title": "Blocks",
        "folder": "Blocks",
        "licence": "CC0-1.0",
        "citation": "none",
        "channels": [{"name": "CT", "modality": "CT"}],
        "labels": [entry(1, "left_block", laterality="left"), entry(2, "right_block", laterality="right")],
        "image": "imagesTr/{case_id}.nii.gz",
        "label": "labelsTr/{case_id}.nii.gz",
        "cases": {f"case_{number}": {} for number in range(6)},
        "splits": {"train": [f"case_{number}" for number in range(4)], "validation": ["case_4"], "test": ["case_5"]},
    }
    (root / "blocks.json").write_text(json.dumps(content))
    return load_manifest(root / "blocks.json"), root


def test_the_fingerprint_is_in_the_patients_axes(blocks):
    manifest, root = blocks
    found = data_fingerprint(manifest, root)
    assert found.spacing_mm == (1.5, 1.5, 3.0)
    assert found.extent_mm == (60.0, 40.5, 60.0)  # without the air in front of the patient
    assert found.labels_extent_mm == (36.0, 9.0, 15.0)
    assert found.cases == 4
    assert found.label_presence == {"left_block": 1.0, "right_block": 1.0}
    assert found.label_ml["left_block"] == pytest.approx(6 * 6 * 5 * 1.5 * 1.5 * 3 / 1000)
    low, high, mean, _ = found.intensities[0]
    assert low < mean < high
    assert mean == pytest.approx(140, abs=2)


def test_labels_on_a_grid_of_their_own_are_taken_where_they_lie(blocks, tmp_path):
    """Every second voxel of the labels along each axis, half a voxel off: the same places in millimetres."""
    manifest, root = blocks
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data" / "Blocks" / "labelsTr" / "case_0.nii.gz"
    stored = nib.load(path)
    affine = stored.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
    affine[:2, 3] += stored.affine[[0, 1], [0, 1]] / 2
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj)[::2, ::2].copy(), affine), path)
    assert data_fingerprint(manifest, tmp_path / "data") == data_fingerprint(manifest, root)


@pytest.mark.parametrize(
    ("value", "origin", "expected"),
    [(9, 0, "case case_0: label value 9 is unknown"), (1, 5000, "case case_0: the two grids do not overlap")],
)
def test_a_case_whose_labels_cannot_be_used_is_named(value, origin, expected, blocks, tmp_path):
    manifest, root = blocks
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data" / "Blocks" / "labelsTr" / "case_0.nii.gz"
    stored = nib.load(path)
    values, affine = np.array(stored.dataobj), stored.affine.copy()
    values[0, 0, 0] = value
    affine[:3, 3] += origin
    nib.save(nib.Nifti1Image(values, affine), path)
    with pytest.raises((DataError, GeometryError), match=expected):
        data_fingerprint(manifest, tmp_path / "data")


def test_labels_whose_values_leave_one_out_are_refused_for_a_network_has_a_channel_for_each(blocks, tmp_path):
    manifest, root = blocks
    content = manifest.model_dump()
    content["labels"][1]["index"] = 7
    gap = DataManifest.from_mapping(content, source="test")
    for number in range(6):
        path = root / "Blocks" / "labelsTr" / f"case_{number}.nii.gz"
        there = tmp_path / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        stored = nib.load(path)
        values = np.array(stored.dataobj)
        nib.save(nib.Nifti1Image(np.where(values == 2, 7, values).astype(np.uint8), stored.affine), there)
    shutil.copytree(root / "Blocks" / "imagesTr", tmp_path / "Blocks" / "imagesTr")
    with pytest.raises(DataError, match=r"blocks have the values 1, 7: 1 to 2 were expected, .* Renumber them"):
        create_bundle(gap, data_root=tmp_path, network="swin_unetr", output=tmp_path / "new", device=CPU)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("network", network_names())
def test_a_new_bundle_verifies_trains_and_segments_without_an_edit(network, blocks, tmp_path):
    manifest, root = blocks
    folder = tmp_path / f"{network}_blocks"
    plan = create_bundle(manifest, data_root=root, network=network, output=folder, device=CPU)
    assert [check.found for check in verify_bundle(load_bundle(folder)) if not check.is_passed] == []
    assert differences(load_bundle(folder)) == []
    assert plan.mirrored_axes == ()  # there are left and right
    assert "RandFlipd" not in (folder / "configs" / "train.yaml").read_text()
    recipe = with_settings(load_bundle(folder, overlays=("train",)), ["steps=2", "validate_every=2"])
    train(recipe, manifest, data_root=root, output=folder / "models", device=CPU)
    scan = manifest.locate(root, split="test")[0]
    image = read_volume(scan.images[0])
    assert build_segmenter(load_bundle(folder), device=CPU)(image).labels.shape == (40, 30, 20)
    assert all(check.is_passed for check in verify_bundle(load_bundle(folder)))


def test_what_is_neither_left_nor_right_may_be_mirrored(test_data, tmp_path):
    manifest = load_manifest("msd_hippocampus")
    folder = tmp_path / "new"
    plan = create_bundle(manifest, data_root=test_data, network="transunet", output=folder, device=CPU)
    assert plan.mirrored_axes == (0,)
    assert plan.slice_axis == 0  # sagittal: a crop is cut across its thinnest side
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert load_bundle(folder).label_schema.name == "msd_hippocampus"


def test_a_head_and_neck_bundle_keeps_left_and_right(test_data, tmp_path):
    manifest = load_manifest("openkbp")
    plan = create_bundle(manifest, data_root=test_data, network="dformer", output=tmp_path / "new", device=CPU)
    assert plan.is_ct
    assert plan.mirrored_axes == ()
    assert plan.roi_size[0] * plan.spacing_mm[0] > 250  # both parotid glands in one window
    assert all(check.is_passed for check in verify_bundle(load_bundle(tmp_path / "new")))


def test_slices_are_turned_within_their_plane_so_that_a_thin_slab_keeps_its_labels(blocks, tmp_path):
    manifest, root = blocks
    create_bundle(manifest, data_root=root, network="transunet", output=tmp_path / "new", device=CPU)
    bundle = load_bundle(tmp_path / "new", overlays=("train",))
    augmentation = bundle.build("augmentation", bundle.parser(device=CPU)).set_random_state(0)
    everywhere = torch.ones(1, 96, 96, 40)
    kept = []
    for _ in range(10):
        for crop in augmentation({"image": everywhere.clone(), "label": everywhere.clone()}):
            width, height = crop["label"].shape[1:]
            middle = crop["label"][:, width // 3 : -width // 3, height // 3 : -height // 3]
            kept.append(float(middle.mean()))  # no turn within the slice loses any of it
    assert min(kept) == 1.0


def test_what_lies_at_the_border_of_a_crop_is_still_there_when_it_was_turned(blocks, tmp_path):
    manifest, root = blocks
    create_bundle(manifest, data_root=root, network="dformer", output=tmp_path / "new", device=CPU)
    bundle = load_bundle(tmp_path / "new", overlays=("train",))
    parser = bundle.parser(device=CPU)
    augmentation = bundle.build("augmentation", parser).set_random_state(0)
    everywhere = torch.ones(1, 128, 128, 128)
    crops = [crop for _ in range(10) for crop in augmentation({"image": everywhere, "label": everywhere})]
    assert {crop["image"].shape[1:] for crop in crops} == {tuple(bundle.entry("roi_size"))}
    kept = torch.tensor([float(crop["label"].mean()) for crop in crops])
    assert kept.mean() > 0.95  # 0.91 where crops are turned at their own size; the rest lies beyond the scan
    assert kept.min() > 0.85


@pytest.mark.parametrize("network", ["dformer", "transunet"])
def test_training_sees_a_scan_to_its_very_border(network, blocks, tmp_path):
    manifest, root = blocks
    create_bundle(manifest, data_root=root, network=network, output=tmp_path / "new", device=CPU)
    bundle = load_bundle(tmp_path / "new", overlays=("train",))
    parser = bundle.parser(device=CPU)
    crop_size = parser.get_parsed_content("crop_size")
    scan = torch.zeros(1, *(size + size // 4 for size in crop_size))
    scan[:, 0, 0, 0] = 1  # a label in the outermost corner
    steps = bundle.build("augmentation", parser).set_random_state(0).transforms
    cuts = [step for step in steps if not type(step).__name__.startswith(("RandAffine", "RandFlip", "Central"))]
    seen = [
        float(crop["label"].max()) for _ in range(3) for crop in Compose(cuts)({"image": scan, "label": scan.clone()})
    ]
    assert max(seen) == 1


@pytest.mark.parametrize("n_slices", [1, 2, 7])
def test_the_first_and_the_last_slice_are_learnt_as_often_as_any_and_look_as_where_the_model_is_used(
    n_slices, blocks, tmp_path
):
    manifest, root = blocks
    create_bundle(manifest, data_root=root, network="transunet", output=tmp_path / "new", device=CPU)
    bundle = load_bundle(tmp_path / "new", overlays=("train",))
    parser = bundle.parser(device=CPU)
    axis, context = bundle.config["slice_axis"], bundle.config["context_slices"]
    sizes = [n_slices if one == axis else 64 for one in range(3)]
    scan = torch.ones(1, *sizes)
    scan *= torch.arange(1, n_slices + 1).reshape([-1 if one == axis else 1 for one in range(3)])  # its number
    expected = stack_slices(scan, axis=axis, context=context, numbers=range(n_slices))[:, :, 32, 32]
    steps = bundle.build("augmentation", parser).set_random_state(0).transforms
    cuts = Compose([step for step in steps if type(step).__name__.endswith(("Padd", "Labeld", "Cropd", "Sliced"))])
    for wanted in {0, n_slices // 2, n_slices - 1}:
        label = torch.zeros_like(scan)
        label.select(axis + 1, wanted).copy_((torch.arange(64 * 64) == 64 * 32 + 32).reshape(64, 64))
        crops = [crop for _ in range(30) for crop in cuts({"image": scan, "label": label})]
        central = [crop for crop in crops if crop["label"].any()]
        assert len(central) / len(crops) >= 0.5, wanted  # two of three lie around the label
        for crop in central:
            assert torch.equal(crop["image"][:, 24, 24], expected[wanted])


def test_an_existing_folder_and_an_unknown_network_are_refused_and_nothing_is_left(blocks, tmp_path):
    manifest, root = blocks
    with pytest.raises(OutputError, match="exists: choose another name"):
        create_bundle(manifest, data_root=root, network="dformer", output=tmp_path, device=CPU)
    with pytest.raises(BundleError, match="no network 'unet': expected one of att_swin_unet"):
        create_bundle(manifest, data_root=root, network="unet", output=tmp_path / "new", device=CPU)
    assert list(tmp_path.iterdir()) == []
