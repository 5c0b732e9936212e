"""Examples and batches: labels on the image's grid, and crops that depend on seed and step alone."""

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    NormalizeIntensityd,
    Orientationd,
    RandSpatialCropSamplesd,
    Spacingd,
)

from medseg.data import DataCase, convert_labels, load_schema
from medseg.errors import DataError, GeometryError, ImageError
from medseg.geometry import geometry_of
from medseg.inference import preprocess
from medseg.training import dataset
from medseg.training.dataset import Batches, prepare_examples
from medseg.training.example import Example
from medseg.transforms import CentralSliced

ROAD = Compose([Orientationd("image", "RAS", labels=None), Spacingd("image", (1, 1, 1), mode="bilinear")])


def constant_examples(count: int) -> list[Example]:
    """Examples of one voxel, each with its own number as image and label."""
    return [
        Example(
            str(number),
            MetaTensor(torch.full((1, 1, 1, 1), float(number))),
            MetaTensor(torch.full((1, 1, 1, 1), number)),
        )
        for number in range(count)
    ]


def test_labels_lie_on_the_grid_of_the_preprocessed_image_voxel_for_voxel(training_data, manifest):
    cases = manifest.locate(training_data, split="train")
    examples = list(prepare_examples(cases, ROAD, channel_names=["T1"]))
    assert [example.case_id for example in examples] == ["case_0", "case_1", "case_2"]
    for case, example in zip(cases, examples, strict=True):
        stored = np.asarray(nib.load(case.label).dataobj)  # stored as LPS
        assert geometry_of(example.image).axcodes == "RAS"
        assert geometry_of(example.label).matches(geometry_of(example.image))
        assert np.array_equal(example.label.numpy()[0], stored[::-1, ::-1])
        assert example.label.dtype == torch.uint8


def test_a_scan_too_large_for_the_device_is_preprocessed_on_the_cpu(training_data, manifest, monkeypatch):
    def with_little_room(image, road):
        asked.append(image.device.type)
        if image.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return preprocess(image, road)

    asked: list[str] = []
    monkeypatch.setattr(dataset, "preprocess", with_little_room)
    cases = manifest.locate(training_data, split="train")[:1]
    (found,) = prepare_examples(cases, ROAD, channel_names=["T1"], device=torch.device("meta"))
    (expected,) = prepare_examples(cases, ROAD, channel_names=["T1"])
    assert asked == ["meta", "cpu", "cpu"]
    assert torch.equal(found.image, expected.image)


def test_batches_are_augmented_on_the_device_and_lie_there():
    seen: list[str] = []

    def noticed(data):
        seen.extend(data[key].device.type for key in ("image", "label"))
        return data

    batch = Batches(constant_examples(2), Compose([noticed]), batch_size=2, seed=1, device=torch.device("meta")).at(0)
    assert set(seen) == {batch.images.device.type, batch.labels.device.type} == {"meta"}


def test_frames_of_one_file_become_channels(tmp_path: Path):
    frames = np.random.default_rng(0).normal(size=(5, 4, 3, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, np.eye(4)), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    case = DataCase("one", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz")
    (example,) = prepare_examples([case], ROAD, channel_names=["flair", "t1"])
    assert np.array_equal(example.image.numpy(), np.stack([frames[..., 0], frames[..., 1]]))


def test_a_file_of_more_frames_than_the_data_set_has_channels_is_refused(tmp_path: Path):
    frames = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, np.eye(4)), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    case = DataCase("one", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz")
    with pytest.raises(ImageError, match=r"image\.nii\.gz holds 3 channels: 2 were expected\. Fetch the file again"):
        list(prepare_examples([case], ROAD, channel_names=["flair", "t1"], wanted_channels=["t1"]))


def test_a_case_that_cannot_be_used_is_named(tmp_path: Path):
    far_away = np.eye(4)
    far_away[:3, 3] = 1000
    for name, array, affine in (
        ("scan", np.ones((5, 4, 3), np.float32), np.eye(4)),
        ("labels", np.ones((5, 4, 3), np.uint8), far_away),
    ):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    case = DataCase("the_seventh", (tmp_path / "scan.nii.gz",), tmp_path / "labels.nii.gz")
    with pytest.raises(GeometryError, match="case the_seventh: the two grids do not overlap in millimetres"):
        list(prepare_examples([case], ROAD, channel_names=["T1"]))
    nothing = Compose([CropForegroundd("image", "image", select_fn=lambda hu: hu > 5, allow_smaller=True)])
    with pytest.raises(ImageError, match="case the_seventh: the model's cropping leaves nothing of the scan"):
        list(prepare_examples([case], nothing, channel_names=["T1"]))
    schema = load_schema("msd_hippocampus")
    nib.save(nib.Nifti1Image(np.full((5, 4, 3), 9, np.uint8), np.eye(4)), tmp_path / "labels.nii.gz")
    with pytest.raises(DataError, match="case the_seventh: label value 9 is unknown to the schema msd_hippocampus"):
        list(
            prepare_examples(
                [case], ROAD, channel_names=["T1"], relabel=partial(convert_labels, source=schema, target=schema)
            )
        )


@pytest.fixture(scope="module")
def real_batches(bundle, training_data, manifest):
    """Makes ``Batches`` of the three scans with the recipe's own augmentation."""
    parser = bundle.parser(device=torch.device("cpu"))
    road, augmentation = bundle.build("preprocessing", parser), bundle.build("augmentation", parser)
    examples = list(prepare_examples(manifest.locate(training_data, split="train"), road, channel_names=["T1"]))
    return lambda seed: Batches(examples, augmentation, batch_size=2, seed=seed)


def test_a_batch_depends_on_seed_and_step_alone(real_batches):
    expected = real_batches(7).at(5)
    other = real_batches(7)
    for step in (9, 0, 5, 3):
        batch = other.at(step)
        is_same = torch.equal(batch.images, expected.images) and torch.equal(batch.labels, expected.labels)
        assert is_same == (step == 5)
    assert not torch.equal(real_batches(8).at(5).images, expected.images)


def test_a_batch_has_the_shapes_and_types_that_the_loss_takes(real_batches):
    batch = real_batches(7).at(0)
    assert batch.images.shape == batch.labels.shape == (2, 1, 16, 16, 16)
    assert batch.images.dtype == batch.labels.dtype == torch.float32
    assert set(batch.labels.unique().tolist()) <= {0, 1, 2}
    assert type(batch.images) is torch.Tensor


def test_drawing_leaves_the_examples_as_they_were(bundle):
    augmentation = bundle.build("augmentation", bundle.parser(device=torch.device("cpu")))
    example = Example("one", MetaTensor(torch.rand(1, 18, 18, 18)), MetaTensor(torch.ones(1, 18, 18, 18)))
    before = example.image.clone(), example.label.clone()
    batches = Batches([example], augmentation, batch_size=1, seed=0)
    for step in range(4):
        batches.at(step)
    assert torch.equal(example.image, before[0])
    assert torch.equal(example.label, before[1])
    assert example.image.applied_operations == []
    assert example.label.applied_operations == []


def test_an_augmentation_that_writes_in_place_leaves_the_examples_as_they_were():
    example = Example("one", MetaTensor(torch.rand(1, 4, 4, 4)), MetaTensor(torch.ones(1, 4, 4, 4)))
    before = example.image.clone()
    Batches([example], Compose([NormalizeIntensityd("image", nonzero=True)]), batch_size=1, seed=0).at(0)
    assert torch.equal(example.image, before)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_example_comes_up_once_in_each_round(batch_size):
    batches = Batches(constant_examples(5), Compose([]), batch_size=batch_size, seed=1)
    drawn = [int(image) for step in range(15 // batch_size) for image in batches.at(step).images.flatten()]
    rounds = [drawn[start : start + 5] for start in range(0, len(drawn) - 4, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_image_and_label_of_an_example_stay_together():
    batch = Batches(constant_examples(5), Compose([]), batch_size=5, seed=1).at(0)
    assert torch.equal(batch.images, batch.labels)


def test_an_augmentation_that_cuts_several_crops_fills_the_batch_with_all_of_them():
    examples = [
        Example(str(number), MetaTensor(torch.full((1, 6, 6, 6), float(number))), MetaTensor(torch.ones(1, 6, 6, 6)))
        for number in range(3)
    ]
    augmentation = Compose(
        [
            RandSpatialCropSamplesd(["image", "label"], roi_size=(3, 4, 4), num_samples=5, random_size=False),
            CentralSliced(["image", "label"], axis=0, context=1),
        ]
    )
    batch = Batches(examples, augmentation, batch_size=2, seed=1).at(0)
    assert batch.images.shape == (10, 3, 4, 4)
    assert batch.labels.shape == (10, 1, 4, 4)
    assert sorted({float(image.unique()) for image in batch.images}) == sorted(
        {float(image.flatten()[0]) for image in (batch.images[0], batch.images[5])}
    )
