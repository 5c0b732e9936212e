"""A bundle over scans: files, tensors, a case with its results, and real scans stored in any order."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import medseg
from medseg.bundle import OutputPaths, Runner, build_segmenter, load_bundle
from medseg.data import load_manifest
from medseg.errors import CaseError, ImageError, OutputError, SettingsError
from medseg.inference import MirrorInferer, Stages
from medseg.io import CaseFiles, ChannelFile, read_volume

CPU = torch.device("cpu")

SHAPE = (20, 18, 12)
"""Voxels of a scan in these tests; they measure 1×1×2 mm."""


def files_of(case_id: str, path: Path) -> CaseFiles:
    return CaseFiles(case_id, (ChannelFile("T1", path),), notes=("something was assumed.",))


def test_a_scan_is_segmented_by_path_in_a_list_and_as_a_tensor_alike(folder, tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz", shape=SHAPE)
    by_path = medseg.segment(path, bundle=folder, device="cpu")
    assert by_path.geometry.shape == SHAPE
    assert by_path.labels.any()
    for image in (str(path), [f"T1={path}"], read_volume(path)):
        assert np.array_equal(medseg.segment(image, bundle=folder, device="cpu").labels, by_path.labels)


def test_more_than_one_case_is_refused(folder, tmp_path, write_scan):
    for name in ("a", "b"):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", shape=SHAPE)
    with pytest.raises(CaseError, match=r"2 cases found: medseg.segment takes one"):
        medseg.segment(tmp_path / "scans", bundle=folder, device="cpu")


def test_a_tensor_of_another_kind_is_refused(folder):
    with pytest.raises(ImageError, match="the image has 2 channels"):
        medseg.segment(MetaTensor(torch.rand(2, 8, 8, 8)), bundle=folder, device="cpu")


def test_a_run_leaves_labels_record_picture_and_statistics(bundle, tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz", shape=SHAPE)
    files = OutputPaths.beside(tmp_path / "out.nii.gz")
    heard = []
    stages = Stages(windows=lambda done, total: heard.append((done, total)))
    result = Runner(bundle, device=CPU).run(files_of("scan", path), files, overwrite=False, stages=stages)
    assert all(file.stat().st_size > 0 for file in files.all)
    written = nib.load(files.labels)
    assert np.array_equal(np.asarray(written.dataobj), result.segmentation.labels)
    np.testing.assert_allclose(written.affine, nib.load(path).affine)
    record = json.loads(files.record.read_text())
    assert record["case_id"] == "scan"
    assert record["bundle"]["name"] == "tiny"
    assert record["settings"]["roi_size"] == [16, 16, 16]
    assert record["warnings"] == ["something was assumed."]
    assert {"read", "preprocess", "infer", "restore", "postprocess", "report"} <= record["stage_s"].keys()
    assert heard[-1][0] == heard[-1][1] > 1
    assert record["windows"] == {"count": heard[-1][1], "reused": 0}
    shown = json.loads(json.dumps(result.as_json()))
    assert shown["files"]["labels"] == str(files.labels)
    assert shown["warnings"] == ["something was assumed."]


def test_a_scan_far_larger_than_those_of_the_training_draws_a_warning(bundle, tmp_path, write_scan):
    path = write_scan(tmp_path / "mni.nii.gz", shape=(16, 16, 40), affine=np.diag([-1.0, -1.0, 4.0, 1.0]))
    files = OutputPaths.beside(tmp_path / "out.nii.gz")
    result = Runner(bundle, device=CPU).run(files_of("scan", path), files, overwrite=False)
    assert result.warnings[-1].startswith("the scan covers 16×16×160 mm, and tiny was trained on regions of at most")
    assert json.loads(files.record.read_text())["warnings"] == list(result.warnings)


def test_a_result_that_exists_stays_and_no_half_result_appears_beside_it(bundle, tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz", shape=SHAPE)
    files = OutputPaths.beside(tmp_path / "out.nii.gz")
    files.labels.write_bytes(b"earlier")
    with pytest.raises(OutputError, match=r"out.nii.gz exists already"):
        Runner(bundle, device=CPU).run(files_of("scan", path), files, overwrite=False)
    assert files.labels.read_bytes() == b"earlier"


def stored_as(image: MetaTensor, axcodes: str) -> MetaTensor:
    """The same scan with its axes stored in another order, by nibabel."""
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy(), np.asarray(image.affine))
    to = nib.orientations.axcodes2ornt(axcodes)
    turned = nifti.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(nifti.affine), to))
    return MetaTensor(torch.from_numpy(np.array(turned.dataobj))[None], affine=torch.from_numpy(turned.affine))


def test_the_order_of_the_axes_changes_no_voxel_of_a_real_hippocampus(test_data):
    bundle = load_bundle("swin_unetr_hippocampus")
    if not bundle.weights_path.is_file():
        pytest.skip("swin_unetr_hippocampus has no weights in this checkout")
    segmenter = Runner(bundle, device=CPU).segmenter
    case = load_manifest("msd_hippocampus").locate(test_data, split="test")[0]
    image = read_volume(case.images[0])
    expected = segmenter(image).labels
    assert set(np.unique(expected)) == {0, 1, 2}
    labels = MetaTensor(torch.from_numpy(expected).float()[None], affine=image.affine)
    for axcodes in ("LIP", "ASR"):
        found = segmenter(stored_as(image, axcodes))
        assert np.array_equal(found.labels, stored_as(labels, axcodes).numpy()[0]), axcodes


def test_mirror_images_are_averaged_along_the_axes_that_the_bundle_names(folder):
    named = load_bundle(folder).with_config(mirror_axes=[0, 2])
    inferer = build_segmenter(named, device=CPU, mirror=True).inferer
    assert isinstance(inferer, MirrorInferer)
    assert inferer.axes == (0, 2)


def test_a_bundle_of_left_and_right_organs_is_not_mirrored():
    bundle = load_bundle("dformer_head_neck_oar")
    with pytest.raises(SettingsError, match="dformer_head_neck_oar names no mirror_axes"):
        build_segmenter(bundle, device=CPU, mirror=True)
