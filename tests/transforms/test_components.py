"""Cleaning label maps: each label by itself, volumes in mm³, and no label taken for another."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponentd

from medseg.errors import ImageError, SettingsError
from medseg.transforms import FillHolesd, RemoveSmallComponentsd

ANISOTROPIC = np.diag([-1.0, 2.0, 3.0, 1.0])
"""Voxels of 6 mm³."""


def label_map(labels: np.ndarray, affine: np.ndarray = ANISOTROPIC) -> MetaTensor:
    values = torch.from_numpy(labels.astype(np.uint8))[None]
    return MetaTensor(values, affine=torch.from_numpy(affine.copy()), meta={"case": "one"})


def two_labels_with_islands() -> np.ndarray:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:5, 1:5, 1:5] = 1  # 64 voxels
    labels[8:10, 8:10, 8:10] = 1  # 8 voxels, 48 mm³
    labels[1:4, 8:11, 1:4] = 2  # 27 voxels
    labels[11, 0, 0] = 2  # 1 voxel, 6 mm³, at the corner of the scan
    labels[5, 5, 5] = 2  # 1 voxel that touches label 1 at a corner
    return labels


def box_with_a_hole(size: int = 9, *, fill: int = 0) -> np.ndarray:
    labels = np.zeros((size, size, size), np.uint8)
    labels[1:-1, 1:-1, 1:-1] = 1
    labels[3:6, 3:6, 3:6] = fill
    return labels


def counts(image: MetaTensor) -> dict[int, int]:
    values, numbers = np.unique(image.numpy(), return_counts=True)
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True) if value}


@pytest.mark.parametrize(
    ("min_volume_mm3", "expected"),
    [
        (6.0, {1: 72, 2: 29}),
        (6.1, {1: 72, 2: 27}),
        (48.0, {1: 72, 2: 27}),
        (48.1, {1: 64, 2: 27}),
        (163.0, {1: 64}),
        (1e6, {}),
    ],
)
def test_islands_below_the_volume_go_label_by_label(min_volume_mm3, expected):
    labels = label_map(two_labels_with_islands())
    cleaned = RemoveSmallComponentsd(keys="pred", min_volume_mm3=min_volume_mm3)({"pred": labels})["pred"]
    assert counts(cleaned) == expected


def test_an_island_that_hangs_on_by_a_corner_is_no_island():
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[0:2, 0:2, 0:2] = 1
    labels[2, 2, 2] = 1
    cleaned = RemoveSmallComponentsd(keys="pred", min_volume_mm3=7.0)({"pred": label_map(labels, np.eye(4))})["pred"]
    assert counts(cleaned) == {1: 9}


def test_an_affine_in_float32_does_not_remove_an_island_of_exactly_the_volume():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0] = 1
    rounded = np.diag([0.7, 1.3, 3.1, 1.0]).astype(np.float32).astype(np.float64)
    cleaned = RemoveSmallComponentsd(keys="pred", min_volume_mm3=0.7 * 1.3 * 3.1)({"pred": label_map(labels, rounded)})
    assert counts(cleaned["pred"]) == {1: 1}


def test_a_hole_takes_the_label_around_it():
    filled = FillHolesd(keys="pred")({"pred": label_map(box_with_a_hole())})["pred"]
    assert counts(filled) == {1: 343}


def test_another_label_inside_stays_what_it_is():
    labels = box_with_a_hole(fill=2)
    labels[4, 4, 4] = 0  # a hole in label 2
    labels[2, 2, 2] = 0  # a hole in label 1, touching label 2 at a corner only
    filled = FillHolesd(keys="pred")({"pred": label_map(labels)})["pred"]
    assert counts(filled) == {1: 343 - 27, 2: 27}


def test_background_between_two_labels_stays_background():
    labels = box_with_a_hole()
    labels[2, 3:6, 3:6] = 2  # one wall of the hole
    filled = FillHolesd(keys="pred")({"pred": label_map(labels)})["pred"]
    assert np.array_equal(filled.numpy()[0], labels)


def test_a_cavity_that_is_open_to_the_border_of_the_scan_is_no_hole():
    labels = np.ones((5, 5, 5), np.uint8)
    labels[2, 2, :3] = 0
    filled = FillHolesd(keys="pred")({"pred": label_map(labels)})["pred"]
    assert np.array_equal(filled.numpy()[0], labels)


def test_a_wall_that_closes_by_edges_only_still_closes():
    labels = np.zeros((5, 5, 3), np.uint8)
    labels[1:4, 1:4, :] = 1
    labels[1, 1, 1] = labels[2, 2, 1] = 0  # the corner of the wall is missing; the hole meets it by an edge
    filled = FillHolesd(keys="pred")({"pred": label_map(labels)})["pred"].numpy()[0]
    assert filled[2, 2, 1] == 1
    assert filled[1, 1, 1] == 0


@pytest.mark.parametrize(("max_volume_mm3", "voxels"), [(161.9, 316), (162.0, 343), (None, 343)])
def test_holes_are_filled_up_to_a_volume(max_volume_mm3, voxels):
    filled = FillHolesd(keys="pred", max_volume_mm3=max_volume_mm3)({"pred": label_map(box_with_a_hole())})["pred"]
    assert counts(filled) == {1: voxels}


TRANSFORMS = [RemoveSmallComponentsd(keys="pred", min_volume_mm3=50), FillHolesd(keys="pred")]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_a_cleaned_map_keeps_type_place_and_notes_and_the_given_one_is_untouched(transform):
    labels = label_map(two_labels_with_islands())
    before = labels.as_tensor().clone()
    cleaned = transform({"pred": labels, "image": "kept"})
    assert cleaned["image"] == "kept"
    assert cleaned["pred"].dtype == torch.uint8
    assert cleaned["pred"].shape == labels.shape
    assert torch.equal(cleaned["pred"].affine, labels.affine)
    assert cleaned["pred"].meta["case"] == "one"
    assert torch.equal(labels.as_tensor(), before)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 1, 4)])
def test_an_empty_map_of_any_shape_stays_empty(transform, shape):
    assert counts(transform({"pred": label_map(np.zeros(shape))})["pred"]) == {}


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(1, 3, 3, 3), label_map(np.zeros((3, 3, 3))).float(), label_map(np.zeros((3, 3, 3)))[0], "labels"],
    ids=["no affine", "logits", "no channel", "text"],
)
def test_what_is_no_label_map_is_refused(transform, wrong):
    with pytest.raises(ImageError, match=r"pred holds .*whole numbers \(1, I, J, K\) with an affine were expected"):
        transform({"pred": wrong})


def test_a_volume_that_is_not_above_zero_is_refused():
    with pytest.raises(SettingsError, match="min_volume_mm3 is 0: a volume above 0"):
        RemoveSmallComponentsd(keys="pred", min_volume_mm3=0)
    with pytest.raises(SettingsError, match="max_volume_mm3 is -1: a volume above 0"):
        FillHolesd(keys="pred", max_volume_mm3=-1)


def test_monais_largest_component_works_label_by_label_on_the_maps_of_the_engine():
    keep = KeepLargestConnectedComponentd(keys="pred", applied_labels=[1, 2], is_onehot=False, independent=True)
    kept = keep({"pred": label_map(two_labels_with_islands())})["pred"]
    assert counts(kept) == {1: 64, 2: 27}
    assert kept.dtype == torch.uint8
