"""Geometry: every orientation comes back voxel for voxel; values between voxels agree with scipy's."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.errors import GeometryError, ImageError
from medseg.geometry import Geometry, Interpolation, geometry_of, resample_onto, resample_volume
from medseg.io import read_volume

NEAREST, LINEAR = Interpolation.NEAREST, Interpolation.LINEAR

ALL_48_AXCODES = sorted("".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes))


def affine_of(*, spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), degrees=(0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = origin_mm
    return affine


OBLIQUE = affine_of(spacing_mm=(0.7, 1.3, 3.1), origin_mm=(-31.5, 12.25, 401.0), degrees=(11, -7, 23))


def random_image(shape=(7, 6, 5), affine=OBLIQUE, *, seed=0) -> MetaTensor:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32))
    return MetaTensor(values, affine=torch.from_numpy(affine.copy()))


def stored_as(image: MetaTensor, axcodes: str) -> MetaTensor:
    """The same scan with its axes stored in another order, by nibabel."""
    nifti = nib.Nifti1Image(image.as_tensor()[0].numpy(), np.asarray(image.affine))
    to = nib.orientations.axcodes2ornt(axcodes)
    turned = nifti.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(nifti.affine), to))
    values = torch.from_numpy(np.array(turned.dataobj))[None]
    return MetaTensor(values, affine=torch.from_numpy(turned.affine))


def scipy_sample(volume: np.ndarray, source: Geometry, target: Geometry, *, order: int) -> np.ndarray:
    """``volume`` on ``target`` by scipy, the border value held beyond the outermost centres."""
    index = np.stack(np.meshgrid(*[np.arange(size) for size in target.shape], indexing="ij"), axis=-1)
    mm = index @ target.affine[:3, :3].T + target.affine[:3, 3]
    inverse = np.linalg.inv(source.affine)
    points = np.moveaxis(mm @ inverse[:3, :3].T + inverse[:3, 3], -1, 0)
    return ndimage.map_coordinates(volume.astype(np.float64), points, order=order, mode="nearest")


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
@pytest.mark.parametrize("interpolation", [NEAREST, LINEAR])
def test_an_oblique_scan_stored_in_any_order_comes_back_voxel_for_voxel(axcodes, interpolation):
    image = random_image()
    stored = stored_as(image, axcodes)
    assert geometry_of(stored).axcodes == axcodes
    there = resample_onto(image, geometry_of(stored), interpolation=interpolation)
    assert torch.equal(there.as_tensor(), stored.as_tensor())
    back = resample_onto(there, geometry_of(image), interpolation=interpolation)
    assert torch.equal(back.as_tensor(), image.as_tensor())
    assert geometry_of(back).matches(geometry_of(image))


@pytest.mark.parametrize("axcodes", ["LPS", "AIR", "SPL"])
def test_a_real_scan_stored_in_another_order_comes_back_voxel_for_voxel(axcodes, test_data: Path):
    image = read_volume(test_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz")
    stored = stored_as(image, axcodes)
    back = resample_onto(stored, geometry_of(image), interpolation=LINEAR)
    assert torch.equal(back.as_tensor(), image.as_tensor())


@pytest.mark.parametrize("interpolation", [NEAREST, LINEAR])
def test_an_affine_rounded_to_float32_still_counts_as_the_same_grid(interpolation):
    image = random_image()
    rounded = Geometry(geometry_of(image).shape, OBLIQUE.astype(np.float32))
    result = resample_onto(image, rounded, interpolation=interpolation)
    assert torch.equal(result.as_tensor(), image.as_tensor())


@pytest.mark.parametrize(
    ("source_affine", "target_affine"),
    [
        (affine_of(spacing_mm=(0.8, 1.1, 5.0)), affine_of(spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.3, 0.4, 0.1))),
        (affine_of(spacing_mm=(1.0, 1.0, 1.0)), affine_of(spacing_mm=(2.0, 0.5, 1.7), origin_mm=(0.5, 0.6, 0.7))),
        (OBLIQUE, OBLIQUE @ affine_of(spacing_mm=(0.9, 0.6, 0.4), origin_mm=(0.2, 0.1, 0.3))),
    ],
    ids=["from thick slices", "to other voxels", "along the axes of an oblique scan"],
)
def test_linear_values_on_parallel_grids_are_those_of_scipy(source_affine, target_affine):
    image = random_image((9, 8, 7), source_affine)
    target = Geometry((6, 8, 9), target_affine)
    found = resample_volume(image.as_tensor()[0], geometry_of(image), target, interpolation=LINEAR, outside=np.nan)
    expected = scipy_sample(image.numpy()[0], geometry_of(image), target, order=1)
    inside = ~np.isnan(found.numpy())
    assert inside.mean() > 0.3
    np.testing.assert_allclose(found.numpy()[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize(("interpolation", "order"), [(LINEAR, 1), (NEAREST, 0)])
@pytest.mark.parametrize("degrees", [(20, 0, 0), (11, -7, 23), (44, 3, 91)])
def test_values_on_turned_grids_are_those_of_scipy(interpolation, order, degrees):
    image = random_image((12, 11, 6), affine_of(spacing_mm=(1.0, 0.9, 2.5)))
    target = Geometry((10, 9, 8), affine_of(spacing_mm=(1.1, 0.8, 1.4), origin_mm=(4.03, 3.06, 2.11), degrees=degrees))
    found = resample_volume(image.as_tensor()[0], geometry_of(image), target, interpolation=interpolation, outside=-99)
    expected = scipy_sample(image.numpy()[0], geometry_of(image), target, order=order)
    inside = found.numpy() != -99
    assert 0.1 < inside.mean() < 1
    np.testing.assert_allclose(found.numpy()[inside], expected[inside], atol=1e-5)


def test_the_turned_path_gives_the_same_in_blocks_as_at_once(monkeypatch):
    image = random_image((12, 11, 6), affine_of(spacing_mm=(1.0, 0.9, 2.5)))
    target = Geometry((10, 9, 8), affine_of(origin_mm=(2, 2, 2), degrees=(30, 20, 10)))
    at_once = resample_onto(image, target, interpolation=LINEAR)
    monkeypatch.setattr("medseg.geometry.BLOCK_POINTS", 100)
    assert torch.equal(resample_onto(image, target, interpolation=LINEAR).as_tensor(), at_once.as_tensor())


@pytest.mark.parametrize("interpolation", [NEAREST, LINEAR])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (0, 0, 1)], ids=["parallel", "turned"])
def test_a_voxel_reaches_half_a_voxel_beyond_its_centre_and_no_further(interpolation, degrees):
    image = MetaTensor(torch.full((1, 3, 3, 3), 7.0), affine=torch.eye(4, dtype=torch.float64))
    start = np.array([-0.6, 1.0, 1.0])
    along = Geometry((5, 1, 1), affine_of(spacing_mm=(0.8, 1, 1), origin_mm=start, degrees=degrees))
    found = resample_onto(image, along, interpolation=interpolation, outside=-1)
    assert found.flatten().tolist() == [-1, 7, 7, 7, -1]  # at -0.6, 0.2, 1.0, 1.8, 2.6


def test_what_lies_outside_takes_the_given_value_or_the_lowest_of_the_image():
    image = random_image((3, 3, 3), np.eye(4))
    wider = Geometry((5, 3, 3), affine_of(origin_mm=(-1, 0, 0)))
    assert resample_onto(image, wider, interpolation=LINEAR, outside=-5)[0, 0].unique().tolist() == [-5]
    lowest = resample_onto(image, wider, interpolation=LINEAR)[0, 4]
    assert lowest.unique().tolist() == [float(image.min())]


@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, 20, 30)], ids=["parallel", "turned"])
def test_grids_of_different_places_are_refused(degrees):
    elsewhere = Geometry((4, 4, 4), affine_of(origin_mm=(500, 0, 0), degrees=degrees))
    with pytest.raises(GeometryError, match="do not overlap in millimetres"):
        resample_onto(random_image(affine=np.eye(4)), elsewhere, interpolation=LINEAR)


@pytest.mark.parametrize("shape", [(1, 6, 5), (7, 1, 5), (7, 6, 1), (1, 1, 1)])
@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAL", "PIR"])
def test_axes_of_one_voxel_survive_any_order(shape, axcodes):
    image = random_image(shape)
    back = resample_onto(stored_as(image, axcodes), geometry_of(image), interpolation=LINEAR)
    assert torch.equal(back.as_tensor(), image.as_tensor())


def test_a_slice_sampled_by_thinner_slices_keeps_its_value_over_its_thickness():
    image = MetaTensor(torch.full((1, 4, 4, 1), 3.0), affine=torch.from_numpy(affine_of(spacing_mm=(1, 1, 5))))
    thinner = Geometry((4, 4, 7), affine_of(spacing_mm=(1, 1, 1), origin_mm=(0, 0, -3)))
    found = resample_onto(image, thinner, interpolation=LINEAR, outside=0)
    assert found[0, 0, 0].tolist() == [0, 3, 3, 3, 3, 3, 0]  # slices at -3 … 3 mm, the image's from -2.5 to 2.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.float32, torch.float64])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (5, 0, 0)], ids=["parallel", "turned"])
def test_nearest_values_keep_their_type(dtype, degrees):
    volume = torch.arange(60).reshape(3, 4, 5).to(dtype)
    grid = Geometry((3, 4, 5), np.eye(4))
    target = Geometry((5, 4, 5), affine_of(origin_mm=(-1, 0, 0), degrees=degrees))
    found = resample_volume(volume, grid, target, interpolation=NEAREST, outside=0)
    assert found.dtype == dtype
    assert found[1].max() > 0


def test_whole_numbers_are_never_interpolated_linearly():
    labels = torch.ones(3, 3, 3, dtype=torch.uint8)
    grid = Geometry((3, 3, 3), np.eye(4))
    with pytest.raises(ImageError, match=r"torch.uint8 cannot be interpolated linearly: use NEAREST"):
        resample_volume(labels, grid, grid, interpolation=LINEAR, outside=0)


def test_an_outside_value_that_would_wrap_around_is_refused():
    labels = torch.ones(3, 3, 3, dtype=torch.uint8)
    grid = Geometry((3, 3, 3), np.eye(4))
    with pytest.raises(ImageError, match=r"-1 outside the image does not fit into torch.uint8"):
        resample_volume(labels, grid, grid, interpolation=NEAREST, outside=-1)


def test_resampling_leaves_the_image_as_it_was_and_warns_of_nothing(recwarn):
    image = MetaTensor(torch.rand(1, 4, 4, 4), affine=torch.eye(4, dtype=torch.float64), meta={"case": "one"})
    before = image.clone()
    result = resample_onto(image, Geometry((6, 4, 4), affine_of(origin_mm=(-1, 0, 0))), interpolation=LINEAR)
    assert torch.equal(image.as_tensor(), before.as_tensor())
    assert torch.equal(image.affine, before.affine)
    assert result.meta["case"] == "one"
    assert [str(warning.message) for warning in recwarn] == []


def test_grids_match_to_a_thousandth_of_a_millimetre_at_every_corner():
    grid = Geometry((100, 100, 100), OBLIQUE)
    assert grid.matches(Geometry((100, 100, 100), OBLIQUE.astype(np.float32)))
    assert not grid.matches(Geometry((100, 100, 99), OBLIQUE))
    stretched = OBLIQUE.copy()
    stretched[:3, 0] *= 1 + 1e-4  # 0.007 mm at the far end
    assert not grid.matches(Geometry((100, 100, 100), stretched))
    assert grid.matches(Geometry((100, 100, 100), stretched), tolerance_mm=0.01)


def test_spacing_volume_and_orientation_are_read_from_an_oblique_affine():
    grid = Geometry((2, 3, 4), OBLIQUE)
    assert grid.spacing_mm == pytest.approx((0.7, 1.3, 3.1))
    assert grid.voxel_volume_mm3 == pytest.approx(0.7 * 1.3 * 3.1)
    assert grid.axcodes == "RAS"
    assert grid.is_oblique


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_a_scan_along_the_axes_is_not_oblique_in_any_order(axcodes):
    straight = stored_as(random_image(affine=affine_of(spacing_mm=(0.7, 1.3, 3.1))), axcodes)
    grid = geometry_of(straight)
    assert not grid.is_oblique
    assert sorted(grid.spacing_mm) == pytest.approx([0.7, 1.3, 3.1])


def test_a_description_says_shape_spacing_orientation_and_origin():
    assert Geometry((2, 3, 4), OBLIQUE).describe() == (
        "2×3×4 voxels of 0.7×1.3×3.1 mm, RAS oblique, origin (-31.50, 12.25, 401.00)"
    )
    assert "oblique" not in Geometry((2, 3, 4), np.eye(4)).describe()


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan), np.eye(3), np.ones((4, 4))],
    ids=["zeros", "flat", "not a number", "three by three", "coinciding axes"],
)
def test_an_affine_that_does_not_place_voxels_is_refused(affine):
    with pytest.raises(GeometryError, match="does not place voxels in space"):
        Geometry((2, 2, 2), affine)


@pytest.mark.parametrize("size_mm", [1e-5, 1e4])
def test_voxels_of_any_size_are_allowed(size_mm):
    assert Geometry((2, 2, 2), np.diag([size_mm, size_mm, size_mm, 1])).spacing_mm == pytest.approx([size_mm] * 3)


@pytest.mark.parametrize("shape", [(2, 2), (2, 0, 2)])
def test_a_shape_without_three_axes_of_voxels_is_refused(shape):
    with pytest.raises(GeometryError, match="three axes with at least one voxel"):
        Geometry(shape, np.eye(4))


def test_a_grid_cannot_be_changed_through_the_affine_it_was_made_of():
    affine = np.eye(4)
    grid = Geometry((2, 2, 2), affine)
    affine[0, 0] = 9
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_sampling_on_a_gpu_gives_the_values_of_the_cpu():
    image = random_image((12, 11, 6), affine_of(spacing_mm=(1.0, 0.9, 2.5)))
    for degrees in ((0, 0, 0), (30, 20, 10)):
        target = Geometry((10, 9, 8), affine_of(origin_mm=(2, 2, 2), degrees=degrees))
        here = resample_onto(image, target, interpolation=LINEAR)
        there = resample_onto(image.to("cuda"), target, interpolation=LINEAR)
        torch.testing.assert_close(there.as_tensor().cpu(), here.as_tensor())
