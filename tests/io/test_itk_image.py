import importlib.util

import numpy as np
import pytest
import SimpleITK

from medseg.errors import ImageError
from medseg.io.itk_image import itk_channels, load_itk, load_with_itk_extra

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)  # (K, J, I), as SimpleITK has it


def save(path, array=ARRAY, *, is_vector=False, compress=True):
    image = SimpleITK.GetImageFromArray(array, isVector=is_vector)
    if image.GetDimension() == 3:
        image.SetSpacing((0.123456789012345, 1.5, 2))
        image.SetOrigin((-123.45678901234, 4, 5))
        image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    SimpleITK.WriteImage(image, str(path), useCompression=compress)
    return path


def nrrd(path, header, data):
    path.write_bytes(b"NRRD0004\n" + header.encode() + b"encoding: raw\n\n" + data)
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_values_and_grid_come_back_channels_first_in_ras(tmp_path, suffix):
    stored = load_itk(save(tmp_path / f"x{suffix}"))
    assert stored.array.shape == (1, 4, 3, 2)
    assert stored.array.dtype == np.int16
    assert np.array_equal(stored.array[0], ARRAY.transpose(2, 1, 0))
    expected = [[0, -1.5, 0, 123.45678901234], [-0.123456789012345, 0, 0, -4], [0, 0, -2, 5], [0, 0, 0, 1]]
    assert np.allclose(stored.affine, expected, atol=1e-12)
    assert stored.warnings == ()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_vector_components_become_channels(tmp_path, suffix):
    array = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 2)
    path = save(tmp_path / f"x{suffix}", array, is_vector=True)
    assert itk_channels(path) == 2
    assert np.array_equal(load_itk(path).array, array.transpose(3, 2, 1, 0))


def test_a_fourth_axis_becomes_the_channels(tmp_path):
    array = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    path = save(tmp_path / "x.mha", array)
    assert itk_channels(path) == 2
    stored = load_itk(path)
    assert np.array_equal(stored.array, array.transpose(0, 3, 2, 1))
    assert np.array_equal(stored.affine, np.diag([-1, -1, 1, 1]))


def test_one_channel_is_counted_from_the_header(tmp_path):
    assert itk_channels(save(tmp_path / "x.nrrd")) == 1


def test_an_nrrd_without_space_is_read_with_a_warning(tmp_path):
    path = nrrd(tmp_path / "x.nrrd", "type: uint8\ndimension: 3\nsizes: 2 2 2\nspacings: 1 2 3\n", bytes(8))
    assert load_itk(path).warnings == (
        "x.nrrd: the header names no space, so left and right cannot be known; LPS was assumed.",
    )


def test_shear_is_kept(tmp_path):
    header = (
        "type: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
        "space directions: (1,0,0) (0.3,1,0) (0,0,2)\nspace origin: (1,2,3)\n"
    )
    affine = load_itk(nrrd(tmp_path / "x.nrrd", header, bytes(8))).affine
    assert np.allclose(affine[:3], [[-1, -0.3, 0, -1], [0, -1, 0, -2], [0, 0, 2, 3]])


def test_colours_are_refused(tmp_path):
    header = (
        "type: uint8\ndimension: 4\nspace: right-anterior-superior\nsizes: 3 2 2 2\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,2)\nkinds: RGB-color domain domain domain\nspace origin: (1,2,3)\n"
    )
    with pytest.raises(ImageError, match="holds colours"):
        load_itk(nrrd(tmp_path / "x.nrrd", header, bytes(24)))


def test_complex_values_are_refused(tmp_path):
    path = save(tmp_path / "x.nrrd", ARRAY.astype(np.complex64))
    with pytest.raises(ImageError, match="holds complex values"):
        load_itk(path)


@pytest.mark.parametrize("array", [ARRAY[0], np.zeros((3, 4, 3), np.uint8)])
def test_2d_images_are_refused(tmp_path, array):
    path = save(tmp_path / "x.mha", array, is_vector=array.shape[-1] == 3)
    with pytest.raises(ImageError, match=r"is a 2D image of 4×3 pixels"):
        load_itk(path)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha", "x.mhd"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 40])
def test_other_files_by_the_name_of_an_image_are_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match="damaged, cut short, or another kind of file") as caught:
        load_itk(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha"])
@pytest.mark.parametrize("compress", [True, False])
def test_files_cut_short_are_refused_in_one_line(tmp_path, capfd, name, compress):
    noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / name, noise, compress=compress)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ImageError, match="damaged, cut short, or another kind of file") as caught:
        load_itk(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_voxels_apart_that_are_cut_short_or_absent_are_refused(tmp_path, capfd):
    path = save(tmp_path / "x.mhd", compress=False)
    (tmp_path / "x.raw").write_bytes(bytes(10))
    with pytest.raises(ImageError, match=r"x\.mhd holds 10 bytes of voxels, 48 were expected"):
        load_itk(path)
    (tmp_path / "x.raw").unlink()
    with pytest.raises(ImageError, match=r"x\.mhd names x\.raw for its voxels, which does not exist"):
        load_itk(path)
    assert capfd.readouterr().err == ""


def test_an_empty_axis_is_refused(tmp_path):
    path = nrrd(tmp_path / "x.nrrd", "type: uint8\ndimension: 3\nsizes: 2 0 2\n", b"")
    with pytest.raises(ImageError, match="axis 1 size is zero"):
        load_itk(path)


@pytest.mark.parametrize("load", [load_itk, itk_channels, load_with_itk_extra])
def test_a_file_that_does_not_exist_is_named(tmp_path, load):
    with pytest.raises(ImageError, match=r"absent\.mha does not exist"):
        load(tmp_path / "absent.mha")


@pytest.mark.skipif(importlib.util.find_spec("itk") is not None, reason="itk is installed")
def test_other_formats_name_the_extra_that_may_read_them(tmp_path):
    (tmp_path / "x.mgz").write_bytes(b"anything")
    with pytest.raises(ImageError, match=r'x\.mgz is none of NIfTI, .*pip install "medseg\[itk\]"'):
        load_with_itk_extra(tmp_path / "x.mgz")


@pytest.mark.skipif(importlib.util.find_spec("itk") is None, reason="needs the itk extra")
def test_formats_that_only_itk_knows_are_read_on_the_same_grid(tmp_path):
    path = save(tmp_path / "x.vtk")
    stored = load_with_itk_extra(path)
    assert np.array_equal(stored.array[0], ARRAY.transpose(2, 1, 0))
    assert np.allclose(np.abs(stored.affine[:3, 3]), [123.45678901234, 4, 5])
