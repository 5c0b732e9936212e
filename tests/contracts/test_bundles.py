"""Every bundle on disk: MONAI's own tools accept it and give the same labels as medseg."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import verify_metadata, verify_net_in_out

import medseg
from medseg.bundle import differences, find_bundles, load_bundle
from medseg.data import load_manifest

BUNDLES = sorted(find_bundles())
SCHEMA = "metadata_schema.json"


def weights_or_skip(name):
    bundle = load_bundle(name)
    if not bundle.weights_path.is_file():
        pytest.skip(f"{name} has no weights in this checkout")
    return bundle


def test_there_is_a_bundle():
    assert "swin_unetr_hippocampus" in BUNDLES


@pytest.mark.parametrize("name", BUNDLES)
def test_monai_verifies_the_metadata_with_the_schema_at_hand(name, pytestconfig):
    folder = find_bundles()[name]
    schema = pytestconfig.rootpath / "medseg" / "bundle" / SCHEMA
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("name", BUNDLES)
def test_the_schema_refuses_metadata_that_lack_a_field(name, pytestconfig, tmp_path):
    metadata = json.loads((find_bundles()[name] / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]["outputs"]["pred"]["num_channels"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    schema = pytestconfig.rootpath / "medseg" / "bundle" / SCHEMA
    with pytest.raises(ValueError, match="num_channels"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("name", BUNDLES)
def test_monai_verifies_what_goes_in_and_out_of_the_network(name):
    configs = find_bundles()[name] / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.yaml"),
        device="cpu",
    )


@pytest.mark.parametrize("name", BUNDLES)
def test_metadata_say_nothing_else_than_the_configuration(name):
    assert differences(load_bundle(name)) == []


@pytest.mark.parametrize("name", BUNDLES)
def test_weights_fit_into_twelve_megabytes(name):
    assert weights_or_skip(name).weights_path.stat().st_size <= 12e6


MANIFEST_OF = {"hippocampus": "msd_hippocampus", "head_neck_oar": "openkbp"}
"""The data set of the bundles that were trained here, by the end of their names."""

TRAINED = {name: manifest for name in BUNDLES for task, manifest in MANIFEST_OF.items() if name.endswith(f"_{task}")}

CASES = 6
"""Test cases that the quick guard looks at."""


@pytest.mark.parametrize("name", BUNDLES)
def test_labels_are_those_of_the_schema_that_the_bundle_names(name):
    bundle = load_bundle(name)
    assert bundle.label_schema.name == bundle.config["label_schema"]


@pytest.mark.parametrize("name", BUNDLES)
def test_every_overlay_can_be_built(name):
    bundle = load_bundle(name, overlays=("train", "multi_gpu_train"))
    assert load_bundle(name, overlays=("evaluate",)).config["split"] == "test"
    parser = load_bundle(name, overlays=("train",)).parser(device=torch.device("cpu"))
    for part in ("loss", "optimizer", "lr_scheduler", "augmentation", "inferer"):
        load_bundle(name, overlays=("train",)).build(part, parser)
    assert any("train_bundle" in step for step in bundle.config["run"])


@pytest.mark.parametrize(("name", "manifest"), TRAINED.items())
def test_labels_agree_with_those_of_the_manifest(name, manifest):
    ours = [(label.index, label.name) for label in load_bundle(name).label_table]
    assert ours == [(label.index, label.name) for label in load_manifest(manifest).label_table]


@pytest.mark.parametrize(("name", "manifest"), TRAINED.items())
def test_monai_bundle_run_gives_the_same_labels_as_medseg(name, manifest, test_data, tmp_path):
    bundle = weights_or_skip(name)
    case = load_manifest(manifest).locate(test_data, split="test")[0]
    scan = case.images[0]
    words = ["run", "--config_file", "configs/inference.yaml", "--bundle_root", "."]
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", *words, "--image", str(scan), "--output_dir", str(tmp_path)],
        cwd=bundle.folder,
        check=True,
        capture_output=True,
    )
    theirs = nib.load(tmp_path / f"{case.case_id}.nii.gz")
    ours = medseg.segment(scan, bundle=name, device="cpu")
    np.testing.assert_array_equal(np.asarray(theirs.dataobj), ours.labels)
    np.testing.assert_allclose(theirs.affine, ours.geometry.affine, atol=1e-4)
    assert ours.labels.any()


@pytest.mark.parametrize(("name", "manifest"), TRAINED.items())
def test_mean_dice_on_some_test_cases_is_about_what_the_docs_promise(name, manifest, test_data):
    """A quick guard against broken weights; the docs give the figure on all test cases."""
    bundle = weights_or_skip(name)
    runner = medseg.bundle.build_segmenter(bundle, device=medseg.bundle.choose_device("cpu"))
    scores = []
    for case in load_manifest(manifest).locate(test_data, split="test")[:CASES]:
        found = runner(medseg.io.read_volume(case.images[0])).labels
        reference = np.asarray(nib.load(case.label).dataobj)
        for label in bundle.label_table:
            mask, truth = found == label.index, reference == label.index
            if truth.any():
                scores.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    promised = bundle.metadata["eval_metrics"]["mean_dice"]
    assert np.mean(scores) == pytest.approx(promised, abs=0.06)
