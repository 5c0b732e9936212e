"""One scan from Python: files and tensors, real scans stored in any order, mirror images."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import medseg
from medseg.bundle import Runner, build_segmenter, load_bundle
from medseg.data import load_manifest
from medseg.errors import CaseError, ImageError, SettingsError
from medseg.inference import MirrorInferer
from medseg.io import read_volume

CPU = torch.device("cpu")

SHAPE = (20, 18, 12)
"""Voxels of a scan in these tests; they measure 1×1×2 mm."""


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
