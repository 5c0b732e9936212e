import hashlib
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from monai.transforms import Compose, EnsureChannelFirst, Invertd, LoadImage, Orientationd, Spacingd

from medseg.errors import GeometryError, ImageError, MedsegError
from medseg.geometry import Geometry, geometry_of
from medseg.io import CaseFiles, ChannelFile, read_case, read_labels, read_volume, write_labels
from medseg.labels import Label, LabelTable
from medseg.segmentation import Segmentation

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
TABLE = LabelTable(labels=(Label(index=1, name="a", color=(1, 2, 3)),))


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def case_of(*paths: Path) -> CaseFiles:
    return CaseFiles("case", tuple(ChannelFile(f"c{index}", path) for index, path in enumerate(paths)))


def test_a_volume_is_contiguous_float32_on_its_grid(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    image = read_volume(save(tmp_path / "x.nii.gz", array))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert np.array_equal(image.numpy()[0], array)
    assert image.affine.dtype == torch.float64
    assert np.array_equal(image.affine.numpy(), AFFINE)


def test_metadata_is_what_monais_transforms_need_and_nothing_of_the_patient(tmp_path):
    meta = read_volume(save(tmp_path / "Jane_Doe.nii.gz", np.zeros((4, 3, 2), np.float32))).meta
    assert set(meta) == {"affine", "original_affine", "spatial_shape", "space", "original_channel_dim"}
    assert np.array_equal(meta["original_affine"], AFFINE)
    assert list(meta["spatial_shape"]) == [4, 3, 2]
    assert "Jane" not in str(meta)


def test_monai_reads_the_same_values_and_grid(tmp_path):
    path = save(tmp_path / "x.nii.gz", np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32))
    theirs = Compose([LoadImage(image_only=True), EnsureChannelFirst()])(path)
    ours = read_volume(path)
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert torch.equal(ours.affine, theirs.affine)
    assert EnsureChannelFirst()(ours).shape == ours.shape


def test_monais_transforms_run_and_are_inverted_onto_the_scans_grid(tmp_path):
    image = read_volume(save(tmp_path / "x.nii.gz", np.random.default_rng(0).normal(size=(8, 7, 6)).astype(np.float32)))
    forward = Compose(
        [Orientationd(keys="image", axcodes="RAS", labels=None), Spacingd(keys="image", pixdim=(2.0, 2.0, 2.0))]
    )
    moved = forward({"image": image})
    assert moved["image"].shape != image.shape
    back = Invertd(keys="image", transform=forward, orig_keys="image")(moved)["image"]
    assert back.shape == image.shape
    assert torch.allclose(back.affine, image.affine)


@pytest.mark.parametrize(("bad", "count"), [((np.nan,), 1), ((np.inf, -np.inf), 2)])
def test_voxels_that_are_no_numbers_are_refused_with_their_count(tmp_path, bad, count):
    array = np.zeros((4, 3, 2), np.float32)
    array.flat[: len(bad)] = bad
    with pytest.raises(ImageError, match=rf"x\.nii\.gz holds {count} voxels that are no finite number"):
        read_volume(save(tmp_path / "x.nii.gz", array))


def test_values_beyond_float32_are_refused(tmp_path):
    array = np.full((4, 3, 2), 1e300)
    with pytest.raises(ImageError, match=r"holds values up to 1e\+300, beyond 32-bit"):
        read_volume(save(tmp_path / "x.nii.gz", array))


def test_an_affine_that_places_nothing_is_refused_with_the_files_name(tmp_path):
    path = save(tmp_path / "x.nii", np.zeros((4, 3, 2), np.float32))
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(content)
    with pytest.raises(GeometryError, match=r"x\.nii: the affine does not place voxels in space"):
        read_volume(path)


def test_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"anything")
    with pytest.raises(ImageError, match=r"x\.jpg"):
        read_volume(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_damaged_headers_are_refused_in_one_line_or_read_and_nothing_else_happens(tmp_path, suffix):
    labels = Segmentation(np.ones((5, 4, 3), np.uint8), Geometry((5, 4, 3), AFFINE), TABLE)
    write_labels(labels, tmp_path / f"whole{suffix}", overwrite=False)
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    random = np.random.default_rng(7)
    refusals = []
    for number in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), 352), size=4):
            damaged[place] = random.integers(0, 256)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(damaged)
        try:
            read_volume(path)
        except MedsegError as error:
            refusals.append(str(error))
    assert refusals
    assert not [message for message in refusals if "\n" in message]


def test_channels_are_stacked_in_the_order_of_the_case(tmp_path, write_scan):
    paths = [write_scan(tmp_path / f"{seed}.nii.gz", seed=seed) for seed in (2, 0, 1)]
    scan = read_case(case_of(*paths))
    assert scan.image.shape == (3, 6, 5, 4)
    for channel, path in enumerate(paths):
        assert torch.equal(scan.image[channel].as_tensor(), read_volume(path)[0].as_tensor())
    assert scan.geometry.matches(geometry_of(read_volume(paths[0])))
    assert scan.case_id == "case"


def test_frames_of_one_file_are_channels(tmp_path, write_scan):
    path = write_scan(tmp_path / "x.nii.gz", shape=(6, 5, 4, 3))
    case = CaseFiles("x", (ChannelFile("b", path, 2), ChannelFile("a", path, 0)), notes=("assumed",))
    scan = read_case(case)
    assert torch.equal(scan.image.as_tensor(), read_volume(path).as_tensor()[[2, 0]])
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert scan.warnings == ("assumed",)


@pytest.mark.parametrize("dtype", ["int16", "uint8", ">i2", "uint16", "float32", "float64", "int32"])
def test_whole_numbers_are_kept_in_16_bits_where_that_is_asked_for(tmp_path, dtype):
    values = np.random.default_rng(4).integers(0, 200, (5, 6, 7)).astype(dtype)
    case = case_of(save(tmp_path / "scan.nii.gz", values))
    kept = read_case(case, compact=True)
    assert kept.image.dtype == torch.int16
    assert kept.image.is_contiguous()
    np.testing.assert_array_equal(kept.image[0].numpy(), values)
    plain = read_case(case)
    assert plain.image.dtype == torch.float32
    assert torch.equal(kept.image.affine, plain.image.affine)
    assert kept.image.meta["space"] == plain.image.meta["space"]


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [(3, 4, torch.int16), (3, 0.5, torch.float32), (0.5, 3, torch.float32), (40000, 3, torch.float32)],
)
def test_channels_are_kept_in_16_bits_where_all_of_them_fit(tmp_path, first, second, dtype):
    types = {int: np.int16, float: np.float32}
    arrays = [np.full((4, 5, 6), one, np.uint16 if one == 40000 else types[type(one)]) for one in (first, second)]
    case = case_of(*(save(tmp_path / f"{number}.nii.gz", array) for number, array in enumerate(arrays)))
    image = read_case(case, compact=True).image
    assert image.dtype == dtype
    assert image[:, 0, 0, 0].tolist() == [first, second]


def test_a_broken_file_is_refused_also_where_it_would_be_kept_in_16_bits(tmp_path):
    values = np.ones((4, 5, 6), dtype=np.float32)
    values[1, 2, 3] = np.nan
    with pytest.raises(ImageError, match="1 voxels"):
        read_case(case_of(save(tmp_path / "scan.nii.gz", values)), compact=True)


def test_the_hash_of_one_file_is_its_own(tmp_path, write_scan):
    path = write_scan(tmp_path / "x.nii.gz")
    assert read_case(case_of(path)).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_of_a_header_with_voxels_apart_covers_both_files(tmp_path):
    SimpleITK.WriteImage(SimpleITK.Image(3, 3, 3, SimpleITK.sitkUInt8), str(tmp_path / "x.mhd"))
    first = read_case(case_of(tmp_path / "x.mhd")).sha256
    (tmp_path / "x.raw").write_bytes(bytes(range(27)))
    assert read_case(case_of(tmp_path / "x.mhd")).sha256 != first


def test_the_hash_of_several_files_does_not_depend_on_their_order(tmp_path, write_scan):
    paths = [write_scan(tmp_path / f"{seed}.nii.gz", seed=seed) for seed in (0, 1)]
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    expected = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert read_case(case_of(*paths)).sha256 == expected
    assert read_case(case_of(*reversed(paths))).sha256 == expected


def test_channels_on_different_grids_are_refused_with_both_grids_named(tmp_path, write_scan):
    first = write_scan(tmp_path / "a.nii.gz")
    other = write_scan(tmp_path / "b.nii.gz", shape=(6, 5, 3))
    with pytest.raises(GeometryError) as caught:
        read_case(case_of(first, other))
    message = str(caught.value)
    assert "c0 (a.nii.gz) has 6×5×4 voxels of 1×1×2 mm, LPS" in message
    assert "c1 (b.nii.gz) has 6×5×3 voxels of 1×1×2 mm, LPS" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_a_shift_of_a_hundredth_of_a_millimetre_is_another_grid(tmp_path, write_scan):
    moved = AFFINE.copy()
    moved[2, 3] = 0.01
    with pytest.raises(GeometryError, match="different grids"):
        read_case(case_of(write_scan(tmp_path / "a.nii.gz"), write_scan(tmp_path / "b.nii.gz", affine=moved)))


def test_a_4d_file_for_one_channel_is_refused_with_the_choice(tmp_path, write_scan):
    path = write_scan(tmp_path / "x.nii.gz", shape=(6, 5, 4, 3))
    with pytest.raises(ImageError, match=re.escape("holds 3 channels: one was expected for c0. Choose one with c0=x")):
        read_case(case_of(path))


def test_a_frame_that_is_not_there_is_refused(tmp_path, write_scan):
    path = write_scan(tmp_path / "x.nii.gz", shape=(6, 5, 4, 3))
    with pytest.raises(ImageError, match="has no channel #3 for a: #0 to #2 were expected"):
        read_case(CaseFiles("x", (ChannelFile("a", path, 3),)))


def test_a_conflict_in_the_header_is_a_warning_of_the_scan(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 3, 2), np.uint8), AFFINE)
    image.set_sform(AFFINE, code=1)
    image.set_qform(np.eye(4), code=1)
    nib.save(image, tmp_path / "x.nii.gz")
    (warning,) = read_case(case_of(tmp_path / "x.nii.gz")).warnings
    assert "the sform was used" in warning


@pytest.mark.parametrize(
    ("highest", "dtype"), [(255, torch.uint8), (256, torch.uint16), (65535, torch.uint16), (65536, torch.uint32)]
)
def test_labels_have_the_smallest_unsigned_type_that_holds_them(tmp_path, highest, dtype):
    array = np.zeros((4, 3, 2), np.int32)
    array[1, 2, 1] = highest
    labels = read_labels(save(tmp_path / "x.nii.gz", array))
    assert labels.dtype == dtype
    assert labels.shape == (1, 4, 3, 2)
    assert int(labels.as_tensor().long().max()) == highest


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    array = np.zeros((4, 3, 2))
    array[0] = 1.00000001
    labels = read_labels(save(tmp_path / "x.nii.gz", array))
    assert labels.dtype == torch.uint8
    assert labels.as_tensor().unique().tolist() == [0, 1]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_fractions_are_no_labels(tmp_path, value):
    array = np.zeros((4, 3, 2), np.float32)
    array[0, 0] = value
    with pytest.raises(ImageError, match="holds 2 voxels that are no whole number: labels were expected"):
        read_labels(save(tmp_path / "x.nii.gz", array))


def test_negative_labels_are_refused(tmp_path):
    with pytest.raises(ImageError, match="holds the label -1: whole numbers from 0 were expected"):
        read_labels(save(tmp_path / "x.nii.gz", np.full((4, 3, 2), -1, np.int16)))


def test_labels_with_channels_are_refused(tmp_path):
    with pytest.raises(ImageError, match="holds 2 channels: one label a voxel was expected"):
        read_labels(save(tmp_path / "x.nii.gz", np.zeros((4, 3, 2, 2), np.uint8)))


@pytest.mark.realdata
def test_real_channels_on_one_grid_are_a_scan(test_data):
    folder = test_data / "BraTS" / "expert" / "BraTS2021_00006"
    scan = read_case(case_of(folder / "BraTS2021_00006_t1.nii.gz", folder / "BraTS2021_00006_flair.nii.gz"))
    assert scan.image.shape == (2, 240, 240, 155)
    assert scan.geometry.axcodes == "LPS"
    assert scan.warnings == ()


@pytest.mark.realdata
def test_real_channels_on_two_grids_are_refused(test_data):
    folder = test_data / "ISLES22" / "sub-strokecase0009"
    with pytest.raises(GeometryError, match=r"112×112×73 voxels of 2×2×2 mm.*512×512×29 voxels of 0\.4492"):
        read_case(case_of(folder / "sub-strokecase0009_dwi.nii.gz", folder / "sub-strokecase0009_flair.nii.gz"))


@pytest.mark.realdata
def test_every_real_hippocampus_label_is_read_as_three_labels(test_data):
    for path in sorted((test_data / "Task04_Hippocampus" / "labelsTr").glob("[!.]*.nii.gz")):
        assert read_labels(path).as_tensor().unique().tolist() == [0, 1, 2]


@pytest.mark.realdata
def test_a_real_nrrd_lies_where_its_label_map_lies(test_data):
    image = read_volume(test_data / "PyRadiomics" / "brain1_image.nrrd")
    labels = read_labels(test_data / "PyRadiomics" / "brain1_label.nrrd")
    assert image.shape == labels.shape == (1, 256, 256, 25)
    assert geometry_of(image).matches(geometry_of(labels))
    assert geometry_of(image).axcodes == "LAS"
