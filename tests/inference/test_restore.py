"""From logits back to the scan: the right label in the right place, whatever the network's grid was."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, Orientationd, Spacingd
from scipy.spatial.transform import Rotation

from medseg.errors import ImageError
from medseg.geometry import Geometry, Interpolation, geometry_of, resample_volume
from medseg.inference import RestoreLabelsd, preprocess, restore_labels, scan_geometry

RADIUS_MM = 11.3


def turned_affine(spacing_mm, *, origin_mm=(-20.0, 7.0, 33.0), degrees=(8, -12, 15)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = origin_mm
    return affine


def centres_mm(geometry: Geometry) -> np.ndarray:
    """(I, J, K, 3): where each voxel's centre lies."""
    index = np.stack(np.meshgrid(*[np.arange(size) for size in geometry.shape], indexing="ij"), axis=-1)
    return index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]


def middle_mm(geometry: Geometry) -> np.ndarray:
    return geometry.affine[:3, :3] @ ((np.array(geometry.shape) - 1) / 2) + geometry.affine[:3, 3]


def depth_mm(geometry: Geometry, centre_mm: np.ndarray) -> np.ndarray:
    """How deep each voxel lies inside a sphere; negative outside."""
    return RADIUS_MM - np.linalg.norm(centres_mm(geometry) - centre_mm, axis=-1)


def logits_of(scores: np.ndarray, geometry: Geometry) -> MetaTensor:
    return MetaTensor(torch.from_numpy(scores.astype(np.float32)), affine=torch.from_numpy(geometry.affine.copy()))


@pytest.mark.parametrize("degrees", [(0, 0, 0), (8, -12, 15)], ids=["parallel", "turned"])
def test_the_running_arg_max_is_the_arg_max_of_all_classes(degrees):
    source = Geometry((8, 9, 7), turned_affine((2.0, 1.5, 3.0), degrees=degrees))
    scan = Geometry((14, 12, 17), turned_affine((1.0, 0.9, 1.1), origin_mm=(-19, 8, 34), degrees=(0, 0, 0)))
    logits = logits_of(np.random.default_rng(0).normal(size=(5, *source.shape)), source)
    resampled = [
        resample_volume(channel, source, scan, interpolation=Interpolation.LINEAR, outside=float("nan"))
        for channel in logits.as_tensor()
    ]
    every = torch.stack(resampled)
    seen = ~every[0].isnan()
    labels = restore_labels(logits, scan)
    assert seen.float().mean() > 0.2
    assert torch.equal(labels[seen].long(), every.argmax(dim=0)[seen])
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) == {0, 1, 2, 3, 4}


def test_what_the_network_did_not_see_is_background():
    scan = Geometry((10, 10, 10), np.eye(4))
    seen = Geometry((4, 4, 4), turned_affine((1, 1, 1), origin_mm=(3, 3, 3), degrees=(0, 0, 0)))
    logits = logits_of(np.stack([np.full((4, 4, 4), -50.0), np.full((4, 4, 4), -40.0)]), seen)
    expected = np.zeros((10, 10, 10), np.uint8)
    expected[3:7, 3:7, 3:7] = 1
    assert np.array_equal(restore_labels(logits, scan).numpy(), expected)


@pytest.mark.parametrize("axcodes", ["RAS", "LPI", "SPL"])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (3.0, 2.0, 1.5)])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (8, -12, 15)], ids=["straight", "oblique"])
def test_a_sphere_found_on_the_networks_grid_lies_where_it_should_on_the_scan(axcodes, spacing_mm, degrees):
    scan = Geometry((33, 36, 30), turned_affine((1.0, 1.0, 1.0), degrees=degrees))
    image = MetaTensor(torch.zeros(1, *scan.shape), affine=torch.from_numpy(scan.affine.copy()))
    road = Compose([Orientationd("image", axcodes, labels=None), Spacingd("image", spacing_mm, mode="bilinear")])
    network_grid = geometry_of(preprocess(image, road))
    assert network_grid.axcodes == axcodes
    assert network_grid.spacing_mm == pytest.approx(spacing_mm)

    centre = middle_mm(scan) + np.array([0.4, -0.3, 0.2])
    found = depth_mm(network_grid, centre)
    labels = restore_labels(logits_of(np.stack([np.zeros_like(found), found]), network_grid), scan).numpy()

    expected = depth_mm(scan, centre) > 0
    dice = 2 * (expected & (labels == 1)).sum() / (expected.sum() + (labels == 1).sum())
    shift_mm = centres_mm(scan)[labels == 1].mean(axis=0) - centres_mm(scan)[expected].mean(axis=0)
    assert dice > 0.97
    assert np.abs(shift_mm).max() < 0.05
    if spacing_mm == (1.0, 1.0, 1.0):
        assert dice == 1


def test_a_label_map_cannot_name_more_than_256_classes():
    grid = Geometry((1, 1, 1), np.eye(4))
    with pytest.raises(ImageError, match="257 classes found: a uint8 label map holds 256 at most"):
        restore_labels(logits_of(np.zeros((257, 1, 1, 1)), grid), grid)


def read_by_monai(path: Path) -> MetaTensor:
    return LoadImaged(keys="image", image_only=True, ensure_channel_first=True)({"image": path})["image"]


def test_the_grid_of_the_file_is_known_after_preprocessing(tmp_path, write_scan):
    affine = turned_affine((0.7, 1.3, 3.1))
    image = read_by_monai(write_scan(tmp_path / "scan.nii.gz", shape=(6, 5, 4), affine=affine))
    prepared = preprocess(image, Compose([Orientationd("image", "LSP", labels=None), Spacingd("image", (1, 1, 1))]))
    assert scan_geometry(prepared).matches(Geometry((6, 5, 4), affine))


def test_an_image_that_does_not_say_which_file_it_was_is_refused():
    with pytest.raises(ImageError, match=r"the image carries no '(spatial_shape|original_affine)': read it with"):
        scan_geometry(MetaTensor(torch.zeros(1, 2, 2, 2)))


def test_the_transform_for_bundles_gives_the_labels_of_the_engine(tmp_path, write_scan, recwarn):
    path = write_scan(tmp_path / "scan.nii.gz", shape=(12, 11, 9), affine=turned_affine((0.7, 1.3, 3.1)))
    image = read_by_monai(path)
    scan = geometry_of(image)
    prepared = preprocess(image, Compose([Orientationd("image", "RAS", labels=None), Spacingd("image", (1, 1, 1))]))
    scores = np.random.default_rng(3).normal(size=(3, *prepared.shape[1:]))
    logits = logits_of(scores, geometry_of(prepared))
    recwarn.clear()
    restored = RestoreLabelsd(keys="pred", reference_key="image")({"pred": logits, "image": prepared})["pred"]
    assert [str(warning.message) for warning in recwarn if "affine" in str(warning.message)] == []
    assert torch.equal(restored.as_tensor()[0], restore_labels(logits, scan))
    assert geometry_of(restored).matches(scan)
    assert restored.dtype == torch.uint8
    assert len(set(restored.unique().tolist())) == 3


def test_the_transform_for_bundles_reads_logits_without_an_affine_as_lying_on_the_image(tmp_path, write_scan):
    image = read_by_monai(write_scan(tmp_path / "scan.nii.gz", shape=(4, 4, 4)))
    prepared = preprocess(image, Compose([Orientationd("image", "RAS", labels=None)]))
    logits = torch.zeros(2, 4, 4, 4)
    logits[1, 0] = 1
    restored = RestoreLabelsd(keys="pred", reference_key="image")({"pred": logits, "image": prepared})["pred"]
    assert nib.aff2axcodes(restored.affine.numpy()) == ("L", "P", "S")
    assert restored[0, 3].unique().tolist() == [1]
    assert restored[0, :3].unique().tolist() == [0]
