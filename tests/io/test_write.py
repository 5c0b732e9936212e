import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor

from medseg.errors import OutputError
from medseg.geometry import Geometry, geometry_of
from medseg.io import (
    LABEL_SUFFIXES,
    CaseFiles,
    ChannelFile,
    read_case,
    read_labels,
    read_volume,
    write_image,
    write_labels,
)
from medseg.labels import Label, LabelTable
from medseg.segmentation import Segmentation

TABLE = LabelTable(
    labels=(
        Label(index=1, name="anterior", color=(255, 0, 51)),
        Label(index=3, name="posterior, left", color=(0, 102, 255)),
        Label(index=7, name="absent", color=(1, 2, 3)),
    )
)
SHAPE = (5, 4, 3)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def labels_of(shape=SHAPE):
    labels = np.zeros(shape, np.uint8)
    labels[1:3, 2, :2] = 1
    labels[4, 3, 2] = 3
    return labels


def segmentation(affine=None, shape=SHAPE):
    placed = np.diag([0.7, 0.8, 2.5, 1.0]) if affine is None else affine
    return Segmentation(labels_of(shape), Geometry(shape, placed), TABLE)


def oblique():
    about_x, about_z = np.radians(17), np.radians(31)
    x = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    z = np.array([[np.cos(about_z), -np.sin(about_z), 0], [np.sin(about_z), np.cos(about_z), 0], [0, 0, 1]])
    return z @ x


def all_48_affines():
    """Every order and sign of the axes, straight and turned about two axes, far from the origin."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            axes = np.zeros((3, 3))
            axes[list(order), range(3)] = np.array(signs) * (0.4883, 0.9765625, 3.3)
            for turn in (np.eye(3), oblique()):
                affine = np.eye(4)
                affine[:3, :3] = turn @ axes
                affine[:3, 3] = (-412.345678, 287.654321, -1023.456789)
                yield affine


def seen_by_simpleitk(path):
    """Labels (I, J, K) and the affine in RAS, as another program sees them."""
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, LPS @ affine, image


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_labels_come_back_on_the_exact_grid_from_all_48_orientations_straight_and_oblique(tmp_path, suffix):
    for number, affine in enumerate(all_48_affines()):
        path = tmp_path / f"{number}{suffix}"
        write_labels(segmentation(affine), path, overwrite=False)
        labels = read_labels(path)
        assert np.array_equal(labels.numpy()[0], labels_of())
        assert np.abs(labels.affine.numpy() - affine).max() < 1e-4


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_simpleitk_sees_the_same_labels_in_the_same_place(tmp_path, suffix):
    for number, affine in enumerate(all_48_affines()):
        path = tmp_path / f"{number}{suffix}"
        write_labels(segmentation(affine), path, overwrite=False)
        labels, placed, image = seen_by_simpleitk(path)
        assert image.GetPixelID() == SimpleITK.sitkUInt8
        assert np.array_equal(labels, labels_of())
        assert np.abs(placed - affine).max() < 1e-4


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_nifti_headers_say_millimetres_and_scanner_twice(tmp_path, suffix):
    write_labels(segmentation(), tmp_path / f"x{suffix}", overwrite=False)
    header = nib.load(tmp_path / f"x{suffix}").header
    assert header.get_data_dtype() == np.uint8
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)


def test_a_sheared_grid_has_no_qform_since_that_cannot_hold_it(tmp_path):
    affine = np.array([[1, 0.2, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    write_labels(segmentation(affine), tmp_path / "x.nii.gz", overwrite=False)
    header = nib.load(tmp_path / "x.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    assert np.allclose(header.get_sform(), affine, atol=1e-6)


def test_what_is_written_never_warns_when_read(tmp_path):
    for number, affine in enumerate(all_48_affines()):
        path = tmp_path / f"{number}.nii.gz"
        write_labels(segmentation(affine, shape=(400, 4, 3)), path, overwrite=False)
        assert read_case(CaseFiles("x", (ChannelFile("c", path),))).warnings == ()


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_equal_results_are_equal_files(tmp_path, suffix):
    for name in ("a", "b"):
        write_labels(segmentation(), tmp_path / f"{name}{suffix}", overwrite=False)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_seg_nrrd_holds_slicers_names_colours_and_extents(tmp_path):
    write_labels(segmentation(), tmp_path / "x.seg.nrrd", overwrite=False)
    _, _, image = seen_by_simpleitk(tmp_path / "x.seg.nrrd")
    found = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    assert {key: value for key, value in found.items() if key.startswith("Segment0_")} == {
        "Segment0_ID": "Segment_1",
        "Segment0_Name": "anterior",
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": "1 0 0.2",
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Extent": "1 2 2 2 0 1",
    }
    assert found["Segment1_Name"] == "posterior, left"
    assert found["Segment1_LabelValue"] == "3"
    assert found["Segment1_Extent"] == "4 4 3 3 2 2"
    assert found["Segment2_Extent"] == "0 -1 0 -1 0 -1"
    assert found["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert found["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"


def test_plain_nrrd_holds_no_segments(tmp_path):
    write_labels(segmentation(), tmp_path / "x.nrrd", overwrite=False)
    _, _, image = seen_by_simpleitk(tmp_path / "x.nrrd")
    assert not [key for key in image.GetMetaDataKeys() if key.startswith("Segment")]


@pytest.mark.parametrize("name", ["x.mhd", "x.png", "x", "x.nii.bz2"])
def test_other_formats_are_refused_with_the_list(tmp_path, name):
    with pytest.raises(
        OutputError, match=r"names no format that is written: \.nii\.gz, \.nii, \.seg\.nrrd, \.nrrd, \.mha"
    ):
        write_labels(segmentation(), tmp_path / name, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_another_type_are_refused_instead_of_cast(tmp_path):
    wrong = Segmentation(labels_of().astype(np.int64), Geometry(SHAPE, np.eye(4)), TABLE)
    with pytest.raises(OutputError, match="labels are int64: uint8 was expected"):
        write_labels(wrong, tmp_path / "x.nii.gz", overwrite=False)


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_an_existing_file_is_replaced_only_when_asked(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_labels(segmentation(), path, overwrite=False)
    assert path.read_text() == "mine"
    write_labels(segmentation(), path, overwrite=True)
    assert read_labels(path).shape == (1, *SHAPE)


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_a_full_disk_is_one_line_and_no_half_file(tmp_path, full_disk, suffix):
    noise = np.random.default_rng(0).integers(0, 2, (80, 80, 80)).astype(np.uint8)
    large = Segmentation(noise, Geometry((80, 80, 80), np.eye(4)), TABLE)
    with pytest.raises(OutputError) as caught:
        write_labels(large, tmp_path / f"x{suffix}", overwrite=False)
    assert str(caught.value) == (
        f"{tmp_path}/x{suffix} cannot be written: the file is larger than this disk or account allows. "
        "Raise the limit or choose another disk."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_images_come_back_with_their_values_and_grid(tmp_path, suffix, dtype):
    affine = next(itertools.islice(all_48_affines(), 1, None))
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *SHAPE)) * 100).to(dtype)
    image = MetaTensor(values, affine=torch.from_numpy(affine))
    write_image(image, tmp_path / f"x{suffix}", overwrite=False)
    back = read_volume(tmp_path / f"x{suffix}")
    assert torch.equal(back.as_tensor(), values.float())
    assert np.abs(geometry_of(back).affine - affine).max() < 1e-4


@pytest.mark.parametrize("values", [torch.zeros(2, 3, 3, 3), torch.zeros(1, 3, 3, 3, dtype=torch.int64)])
def test_images_that_no_format_holds_are_refused(tmp_path, values):
    with pytest.raises(OutputError, match=r"one channel \(1, I, J, K\) of uint8, .* was expected"):
        write_image(MetaTensor(values, affine=torch.eye(4)), tmp_path / "x.nii.gz", overwrite=False)


@pytest.mark.realdata
@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_labels_of_a_real_scan_overlay_it_in_another_program(test_data, tmp_path, suffix):
    scan = test_data / "AMOS22_slabs" / "imagesTr" / "amos_0001_slab.nii.gz"
    labels = read_labels(test_data / "AMOS22_slabs" / "labelsTr" / "amos_0001_slab.nii.gz").numpy()[0]
    path = tmp_path / f"x{suffix}"
    write_labels(Segmentation(labels, geometry_of(read_volume(scan)), TABLE), path, overwrite=False)
    theirs, placed, _ = seen_by_simpleitk(path)
    _, expected, _ = seen_by_simpleitk(scan)
    assert np.array_equal(theirs, labels)
    assert np.abs(placed - expected).max() < 1e-4
