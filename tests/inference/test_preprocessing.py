"""A scan on the network's grid: a bundle's transforms, whole or a few planes at a time."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    ConcatItemsd,
    CopyItemsd,
    CropForegroundd,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SpatialResample,
    ToDeviced,
)

from medseg.errors import ImageError
from medseg.inference import prepared, preprocess

CT = {"a_min": -175, "a_max": 250, "b_min": 0.0, "b_max": 1.0, "clip": True}
TURNED = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def image_of(shape=(1, 6, 5, 4)) -> MetaTensor:
    values = torch.from_numpy(np.random.default_rng(1).normal(5, 2, size=shape).astype(np.float32))
    return MetaTensor(values, affine=torch.diag(torch.tensor([-1.0, -1, 2, 1], dtype=torch.float64)))


def scan_of(shape, directions, *, seed=0) -> MetaTensor:
    random = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions, random.normal(0, 100, 3)
    return MetaTensor(
        torch.from_numpy(random.normal(0, 300, shape).astype(np.float32)), affine=torch.from_numpy(affine)
    )


def whole(image: MetaTensor, road: Compose) -> MetaTensor:
    """What MONAI makes of the whole image at once."""
    data = {"image": image.clone()}
    for step in road.transforms:
        data = step(data)
    return data["image"]


@pytest.fixture
def parts(monkeypatch):
    """Volumes are cut into parts of a few planes."""
    monkeypatch.setattr(prepared, "PART_VOXELS", 3000)


def test_the_reader_that_a_bundle_names_is_left_out():
    road = Compose([LoadImaged(keys="image", ensure_channel_first=True), Orientationd("image", "RAS", labels=None)])
    image = image_of()
    assert torch.equal(preprocess(image, road).as_tensor(), image.as_tensor().flip(1, 2))


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [Orientationd("image", "RAS", labels=None)],
        [NormalizeIntensityd("image", nonzero=True, channel_wise=True)],
        [Spacingd("image", (0.9, 1.1, 1.3)), ScaleIntensityRanged("image", **CT), CropForegroundd("image", "image")],
    ],
)
@pytest.mark.usefixtures("parts")
def test_a_scan_kept_in_integers_is_prepared_as_in_floating_point_and_stays_as_it_was(steps):
    values = torch.from_numpy(np.random.default_rng(2).integers(-300, 500, (1, 20, 19, 18))).to(torch.int16)
    affine = torch.diag(torch.tensor([-1.0, -1, 2, 1], dtype=torch.float64))
    kept = MetaTensor(values.clone(), affine=affine)
    prepared = preprocess(kept, Compose(steps))
    expected = preprocess(MetaTensor(values.float(), affine=affine), Compose(steps))
    assert prepared.dtype == torch.float32
    assert torch.equal(prepared.as_tensor(), expected.as_tensor())
    assert torch.equal(prepared.affine, expected.affine)
    assert torch.equal(kept.as_tensor(), values)


def test_preprocessing_that_writes_in_place_leaves_the_scan_as_it_was():
    image = image_of((2, 6, 5, 4))
    before = image.as_tensor().clone()
    prepared = preprocess(image, Compose([NormalizeIntensityd("image", nonzero=True, channel_wise=True)]))
    assert torch.equal(image.as_tensor(), before)
    assert not torch.equal(prepared.as_tensor(), before)
    assert image.applied_operations == []


def test_a_crop_does_not_keep_the_whole_scan_in_memory():
    image = image_of((1, 40, 40, 40)) - 1000
    image[:, 10:14, 10:15, 10:16] = 50
    road = Compose([CropForegroundd("image", source_key="image", select_fn=lambda hu: hu > -500, allow_smaller=True)])
    prepared = preprocess(image, road)
    assert prepared.shape == (1, 4, 5, 6)
    assert prepared.untyped_storage().nbytes() == prepared.nbytes
    assert torch.equal(
        prepared.affine[:3, 3], (image.affine @ torch.tensor([10.0, 10, 10, 1], dtype=torch.float64))[:3]
    )


def test_a_crop_that_leaves_nothing_says_so():
    air = image_of() - 1000
    road = Compose([CropForegroundd("image", source_key="image", select_fn=lambda hu: hu > -500, allow_smaller=True)])
    with pytest.raises(ImageError, match="leaves nothing of the scan"):
        preprocess(air, road)
    further = [ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0, 1), EnsureTyped("image")]
    with pytest.raises(ImageError, match="leaves nothing of the scan"):  # not in the words of a step after it
        preprocess(air, Compose([*road.transforms, *further]))


DIRECTIONS = {
    "upright": np.diag([0.8, 0.9, 2.0]),
    "flipped": np.diag([-0.8, -0.9, 2.0]),
    "permuted": np.diag([0.7, 1.1, 3.0])[:, [2, 0, 1]],
    "oblique": TURNED * [0.8, 0.9, 2.5],
}


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("padding_mode", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS)
def test_resampling_a_few_planes_at_a_time_gives_what_monai_gives_at_once(directions, padding_mode):
    image = scan_of((2, 41, 33, 27), directions)
    for spacing in ([1.5, 1.5, 2.0], [0.6, 2.0, 0.5], [1.0, 0.9, 4.0]):
        road = Compose([Spacingd("image", pixdim=spacing, mode="bilinear", padding_mode=padding_mode)])
        found, expected = preprocess(image, road), whole(image, road)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert torch.allclose(found.affine, expected.affine, rtol=0, atol=1e-9)
        assert torch.allclose(found.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-3)  # of values around 300


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(
    "settings",
    [{"align_corners": True}, {"diagonal": True}, {"mode": "nearest"}, {"mode": 3}, {"recompute_affine": True}],
    ids=str,
)
def test_what_cannot_be_resampled_in_parts_is_resampled_at_once(settings):
    image = scan_of((1, 41, 33, 27), DIRECTIONS["oblique"])
    if settings.get("mode") == 3:
        settings = {**settings, "padding_mode": "nearest"}
    road = Compose([Spacingd("image", pixdim=[1.5, 1.5, 2.0], **settings)])
    assert torch.equal(preprocess(image, road).as_tensor(), whole(image, road).as_tensor())


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_spacing_with_a_diagonal_affine_gives_what_monai_gives_on_scans_stored_in_any_order(directions):
    image = scan_of((1, 41, 33, 27), directions)
    road = Compose([Spacingd("image", pixdim=[1.5, 1.5, 2.0], mode="bilinear", diagonal=True)])
    found, expected = preprocess(image, road), whole(image, road)
    assert found.shape == expected.shape
    assert torch.allclose(found.affine, expected.affine, rtol=0, atol=1e-9)
    assert torch.allclose(found.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-3)  # of values around 300


@pytest.mark.usefixtures("parts")
def test_a_ct_through_all_its_steps_in_parts_is_as_monai_makes_it_and_the_scan_stays_as_it_was():
    image = scan_of((1, 41, 33, 27), DIRECTIONS["flipped"])
    before, affine = image.as_tensor().clone(), image.affine.clone()
    steps = [
        Orientationd("image", "RAS", labels=None),
        Spacingd("image", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
        ScaleIntensityRanged("image", **CT),
        CropForegroundd("image", source_key="image", allow_smaller=True),
        EnsureTyped("image", track_meta=True),
    ]
    for road in (Compose(steps), Compose(steps[2:])):
        found, expected = preprocess(image, road), whole(image, road)
        assert torch.allclose(found.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-6)
        assert torch.allclose(found.affine, expected.affine, rtol=0, atol=1e-9)
        assert torch.equal(image.as_tensor(), before)
        assert torch.equal(image.affine, affine)


@pytest.mark.usefixtures("parts")
def test_monai_is_given_no_more_than_a_few_planes_of_a_long_scan(monkeypatch):
    given = []
    resample = SpatialResample.__call__
    monkeypatch.setattr(
        SpatialResample, "__call__", lambda self, img, **how: given.append(img) or resample(self, img, **how)
    )
    image = scan_of((1, 90, 30, 30), DIRECTIONS["upright"])
    preprocess(image, Compose([Spacingd("image", pixdim=[1.5, 1.5, 2.0], mode="bilinear")]))
    resampled = [one for one in given if one.shape[1] < 90]  # the whole was given to ask for the result's size
    assert len(given) - len(resampled) <= 1
    assert len(resampled) > 5
    assert max(one.shape[1] for one in resampled) < 30


@pytest.mark.usefixtures("parts")
def test_what_a_transform_keeps_beside_the_image_is_there_for_those_that_follow():
    image = scan_of((1, 41, 33, 27), DIRECTIONS["upright"])
    steps = [
        CopyItemsd("image", names="raw"),
        ScaleIntensityRanged("image", **CT),
        ConcatItemsd(["image", "raw"], name="image"),
    ]
    for road in (Compose(steps), Compose([Orientationd("image", "LPS", labels=None), *steps])):
        assert torch.equal(preprocess(image, road).as_tensor(), whole(image, road).as_tensor())


@pytest.mark.usefixtures("parts")
def test_a_transform_of_several_images_is_left_to_monai():
    image = scan_of((1, 41, 33, 27), DIRECTIONS["upright"])
    road = Compose([ScaleIntensityRanged(["image", "label"], **CT, allow_missing_keys=True)])
    assert torch.equal(preprocess(image, road).as_tensor(), whole(image, road).as_tensor())


@pytest.mark.parametrize("part_voxels", [3000, prepared.PART_VOXELS], ids=["in parts", "at once"])
def test_a_transform_that_would_only_note_itself_down_is_carried_out(monkeypatch, part_voxels):
    monkeypatch.setattr(prepared, "PART_VOXELS", part_voxels)
    image = scan_of((1, 41, 33, 27), DIRECTIONS["flipped"])
    steps = [
        Orientationd("image", "RAS", labels=None, lazy=True),
        Spacingd("image", pixdim=[1.5, 1.5, 2.0], mode="bilinear", lazy=True),
    ]
    found, expected = preprocess(image, Compose(steps)), Compose(steps)({"image": image.clone()})["image"]
    assert found.shape == expected.shape
    assert not found.pending_operations
    assert torch.allclose(found.affine, expected.affine, rtol=0, atol=1e-9)
    assert torch.allclose(found.as_tensor(), expected.as_tensor(), rtol=0, atol=1e-3)  # of values around 300


@pytest.mark.parametrize("settings", [{"track_meta": False}, {"data_type": "numpy"}], ids=str)
def test_a_step_that_forgets_where_the_voxels_lie_but_moves_none_does_no_harm(settings):
    road = Compose([EnsureTyped("image", **settings), ScaleIntensityRanged("image", **CT)])
    image = image_of()
    found = preprocess(image, road)
    assert torch.equal(found.affine, image.affine)
    assert torch.equal(found.as_tensor(), whole(image, Compose(road.transforms[1:])).as_tensor())


def test_a_step_that_loses_the_scans_place_in_space_is_named():
    with pytest.raises(ImageError, match="after Lambdad"):
        preprocess(image_of(), Compose([Lambdad("image", lambda image: image.numpy(), track_meta=False)]))


@pytest.mark.parametrize("carrier", [EnsureTyped("image", device="cuda"), ToDeviced("image", device="cuda")])
def test_a_bundle_that_names_another_device_does_not_carry_the_scan_there(carrier):
    image = image_of()
    found = preprocess(image, Compose([carrier, ScaleIntensityRanged("image", **CT)]))
    torch.testing.assert_close(found, whole(image, Compose([ScaleIntensityRanged("image", **CT)])))
    assert carrier.converter.device == "cuda"  # the bundle's own transform is as it was
