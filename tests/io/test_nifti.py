import gzip
import struct

import nibabel as nib
import numpy as np
import psutil
import pytest

from medseg.errors import ImageError
from medseg.io.nifti import load_nifti, nifti_channels


def values(shape=(4, 3, 2), dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path, *, sform=None, qform=None, array=None, base=(2.0, 3.0, 4.0)):
    image = nib.Nifti1Image(values() if array is None else array, None)
    image.header.set_zooms(base[: image.ndim])
    image.set_sform(sform, code=0 if sform is None else 2)
    image.set_qform(qform, code=0 if qform is None else 1)
    nib.save(image, path)
    return path


SFORM = np.diag([-1.0, -1.0, 2.0, 1.0])
SHIFTED = SFORM + np.array([[0, 0, 0, 7.0], [0] * 4, [0] * 4, [0] * 4])


def test_the_sform_is_used_where_it_is_set(tmp_path):
    stored = load_nifti(save(tmp_path / "x.nii.gz", sform=SFORM, qform=SFORM))
    assert np.array_equal(stored.affine, SFORM)
    assert stored.warnings == ()


def test_the_qform_is_used_where_the_sform_is_not_set(tmp_path):
    stored = load_nifti(save(tmp_path / "x.nii.gz", qform=SHIFTED))
    assert np.allclose(stored.affine, SHIFTED, atol=1e-5)
    assert stored.warnings == ()


def test_where_both_disagree_the_sform_wins_and_the_largest_distance_is_told(tmp_path):
    stored = load_nifti(save(tmp_path / "x.nii.gz", sform=SFORM, qform=SHIFTED))
    assert np.array_equal(stored.affine, SFORM)
    assert stored.warnings == ("x.nii.gz: sform and qform place the same voxel up to 7 mm apart; the sform was used.",)


def test_a_difference_below_a_hundredth_of_a_millimetre_is_no_disagreement(tmp_path):
    near = SFORM.copy()
    near[0, 3] += 0.009
    assert load_nifti(save(tmp_path / "x.nii.gz", sform=SFORM, qform=near)).warnings == ()


def test_a_header_without_placement_is_read_by_its_voxel_sizes_with_a_warning(tmp_path):
    stored = load_nifti(save(tmp_path / "x.nii.gz"))
    assert np.array_equal(np.abs(np.diag(stored.affine)[:3]), [2, 3, 4])
    assert "left and right cannot be known" in stored.warnings[0]


def test_a_broken_qform_beside_a_good_sform_is_told(tmp_path):
    path = save(tmp_path / "x.nii", sform=SFORM, qform=SFORM)
    content = bytearray(path.read_bytes())
    content[256:268] = struct.pack("<3f", 2.0, 2.0, 2.0)  # quatern_b, c, d: longer than a unit quaternion
    path.write_bytes(content)
    stored = load_nifti(path)
    assert np.array_equal(stored.affine, SFORM)
    assert "inf mm apart" in stored.warnings[0]


def test_integers_are_scaled_by_slope_and_intercept(tmp_path):
    image = nib.Nifti1Image(values(), SFORM)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "x.nii.gz")
    path = tmp_path / "x.nii.gz"
    with gzip.open(path) as file:
        content = bytearray(file.read())
    content[112:120] = struct.pack("<2f", 0.5, -3.0)  # nibabel resets them on saving
    path.write_bytes(gzip.compress(bytes(content)))
    assert np.array_equal(load_nifti(path).array[0], values() * 0.5 - 3)


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [
        ((4, 3, 2), (1, 4, 3, 2)),
        ((4, 3, 2, 1), (1, 4, 3, 2)),
        ((4, 3, 2, 5), (5, 4, 3, 2)),
        ((4, 3, 2, 1, 5), (5, 4, 3, 2)),
    ],
)
def test_the_last_axis_of_a_4d_or_vector_image_becomes_the_channels(tmp_path, shape, channels_first):
    path = save(tmp_path / "x.nii.gz", sform=SFORM, array=values(shape), base=(1.0,) * len(shape))
    stored = load_nifti(path)
    assert stored.array.shape == channels_first
    assert nifti_channels(path) == channels_first[0]
    assert np.array_equal(stored.array[0], values(shape).reshape(4, 3, 2, -1)[..., 0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3), r"is a 2D image of 4×3 pixels: a 3D scan was expected"),
        ((4, 3, 2, 2, 2), r"has 5 axes \(4×3×2×2×2\)"),
        ((4, 3, 2, 2, 1, 3), r"has 6 axes"),
    ],
)
def test_images_of_other_dimensions_are_refused_with_their_shape(tmp_path, shape, message):
    path = save(tmp_path / "x.nii.gz", sform=SFORM, array=values(shape), base=(1.0,) * len(shape))
    for read in (load_nifti, nifti_channels):
        with pytest.raises(ImageError, match=message):
            read(path)


def test_an_axis_without_voxels_is_refused(tmp_path):
    path = save(tmp_path / "x.nii", sform=SFORM)
    content = bytearray(path.read_bytes())
    content[42:44] = struct.pack("<h", 0)  # dim[1]
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"shape 0×3×2: an axis without voxels"):
        load_nifti(path)


def test_colours_are_refused(tmp_path):
    colours = np.zeros((4, 3, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageError, match=r"holds colours \(RGB\)"):
        load_nifti(save(tmp_path / "x.nii.gz", sform=SFORM, array=colours))


def test_complex_values_are_refused(tmp_path):
    with pytest.raises(ImageError, match="holds complex64 values: real numbers were expected"):
        load_nifti(save(tmp_path / "x.nii.gz", sform=SFORM, array=values(dtype=np.complex64)))


@pytest.mark.parametrize(("unit", "name"), [("meter", "metres"), ("micron", "micrometres")])
def test_other_units_than_millimetres_are_refused(tmp_path, unit, name):
    image = nib.Nifti1Image(values(), SFORM)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "x.nii.gz")
    with pytest.raises(ImageError, match=f"in {name}: millimetres were expected"):
        load_nifti(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text and no image\n" * 40, b"\x1f\x8b\x08\x00garbage"])
def test_other_files_by_the_name_of_an_image_are_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read as NIfTI") as caught:
        load_nifti(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_files_cut_short_are_refused_in_one_line(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path / name, sform=SFORM, array=noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match="damaged, cut short, or another kind of file") as caught:
        load_nifti(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.nii\.gz does not exist"):
        load_nifti(tmp_path / "absent.nii.gz")


def test_a_header_that_claims_more_voxels_than_memory_holds_is_refused(tmp_path):
    path = save(tmp_path / "x.nii", sform=SFORM)
    content = bytearray(path.read_bytes())
    content[42:48] = struct.pack("<3h", 32767, 32767, 32767)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ImageError, match=r"32767×32767×32767 voxels, more than fit into memory"):
        load_nifti(tmp_path / "x.nii.gz")


def test_a_packed_file_that_claims_more_voxels_than_there_is_memory_for_is_not_unpacked(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((2000, 2000, psutil.virtual_memory().available // (2000 * 2000 * 4)))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock))
    with pytest.raises(ImageError, match="more than fit into memory"):
        load_nifti(path)
