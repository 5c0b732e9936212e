"""Both roads through one bundle, in processes of their own: several channels, regions, random weights."""

from importlib import import_module

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg.benchmark import compare
from medseg.bundle import find_bundles, load_bundle
from medseg.errors import SettingsError
from medseg.io import CaseFiles, resolve_cases

NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 4,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}


@pytest.fixture
def bundle(tmp_path):
    """The BraTS bundle, four channels and nested regions, with a network that runs in a moment."""
    source = find_bundles()["swin_unetr_brats"]
    folder = tmp_path / "tiny_brats"
    (folder / "configs").mkdir(parents=True)
    for path in (source / "configs").iterdir():
        (folder / "configs" / path.name).write_bytes(path.read_bytes())
    path = folder / "configs" / "inference.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"network_def": NETWORK, "roi_size": [16, 16, 16]}, sort_keys=False))
    return load_bundle(folder)


@pytest.fixture
def case(bundle, tmp_path, write_scan):
    folder = tmp_path / "BraTS19_CBICA_ABC_1"
    for number, channel in enumerate(("flair", "t1", "t1ce", "t2")):
        path = write_scan(folder / f"BraTS19_CBICA_ABC_1_{channel}.nii.gz", shape=(24, 22, 20))
        image = nib.load(path)
        values = np.roll(np.asanyarray(image.dataobj), number, axis=0)
        values[:4] = 0  # air around the brain
        nib.save(nib.Nifti1Image(values, image.affine), path)
    (found,) = resolve_cases([str(folder)], channels=bundle.channel_specs)
    assert isinstance(found, CaseFiles)
    return folder, found


def test_a_runtime_that_nobody_knows_is_refused_before_anything_is_measured(bundle, case, monkeypatch):
    road = import_module("medseg.benchmark.compare")  # the package gives the function under that name
    monkeypatch.setattr(road, "run_process", lambda *_, **__: pytest.fail("something was run"))
    folder, files = case
    with pytest.raises(SettingsError, match="runtime 'caffe' is unknown"):
        compare(bundle, [str(folder)], files, runtimes=["torch", "caffe"], device="cpu", repeats=1)


def test_four_channels_and_nested_regions_get_the_same_labels_on_both_roads(bundle, case):
    folder, files = case
    found = compare(bundle, [str(folder)], files, runtimes=["torch"], device="cpu", repeats=1)
    (ours,) = found.ours
    assert found.weights == "random"
    assert ours.label_agreement > 0.999
    assert ours.first is not None
    for path in (found.stock, ours):
        assert path.median("seconds") > 0
        assert path.median("peak_mb") > 50
        assert sum(path.median_stages().values()) > 0
    values = found.as_json()
    assert values["ours"][0]["seconds_ratio"] == found.ratio(ours, "seconds")
