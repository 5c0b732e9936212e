"""Surface distances: bodies whose distances and areas are known in closed form, and MONAI where definitions meet."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from medseg.errors import ImageError
from medseg.evaluation import hausdorff95_mm, normalised_surface_dice

SPACINGS_MM = [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0), (2.5, 0.5, 1.25)]


def scaled(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The affine of a grid along the patient's axes, its origin somewhere."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-31.0, 12.5, 400.0)
    return affine


def turned(affine: np.ndarray) -> np.ndarray:
    """The same grid turned about an oblique axis, with one axis mirrored."""
    x, y, z = 0.3, -0.5, 0.2
    about_x = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    result = affine.copy()
    result[:3, :3] = about_z @ about_y @ about_x @ np.diag([-1, 1, 1]) @ affine[:3, :3]
    return result


def cuboid(shape: tuple[int, int, int], start: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
    """A box of ``size`` voxels whose lowest corner is at ``start``."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(low, low + length) for low, length in zip(start, size, strict=True))] = True
    return mask


def ball(radius_mm: float, spacing_mm: tuple[float, float, float], half_mm: float) -> np.ndarray:
    """The voxels whose centres lie within ``radius_mm`` of the middle of a cube of edge 2 ``half_mm``."""
    halves = [round(half_mm / size) for size in spacing_mm]
    i, j, k = np.ogrid[tuple(slice(-half, half + 1) for half in halves)]
    return (i * spacing_mm[0]) ** 2 + (j * spacing_mm[1]) ** 2 + (k * spacing_mm[2]) ** 2 <= radius_mm**2


def blob(seed: int) -> np.ndarray:
    """A random body with bays, islands and voxels at the border of the image."""
    noise = np.random.default_rng(seed).standard_normal((22, 19, 16))
    return ndimage.gaussian_filter(noise, 1.5) > 0.12


def cuboid_area_mm2(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> float:
    """The area of a box of voxels whose surface runs half-way to the outer neighbours: edges and corners are cut."""
    edges = [(length - 1) * space for length, space in zip(size, spacing_mm, strict=True)]
    faces = 2 * (edges[0] * edges[1] + edges[0] * edges[2] + edges[1] * edges[2])
    a, b, c = spacing_mm
    bevels = 2 * (edges[0] * math.hypot(b, c) + edges[1] * math.hypot(a, c) + edges[2] * math.hypot(a, b))
    return faces + bevels + math.hypot(a * b, a * c, b * c)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cube_shifted_along_an_axis_is_that_many_millimetres_away(axis, spacing_mm):
    start = [3, 3, 3]
    start[axis] += 2
    here, there = cuboid((16, 16, 16), (3, 3, 3), (9, 9, 9)), cuboid((16, 16, 16), tuple(start), (9, 9, 9))
    assert hausdorff95_mm(here, there, scaled(spacing_mm)) == pytest.approx(2 * spacing_mm[axis])


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_two_single_voxels_are_as_far_apart_as_their_centres(spacing_mm):
    here, there = cuboid((8, 8, 8), (1, 1, 1), (1, 1, 1)), cuboid((8, 8, 8), (3, 5, 2), (1, 1, 1))
    expected = math.hypot(2 * spacing_mm[0], 4 * spacing_mm[1], 1 * spacing_mm[2])
    assert hausdorff95_mm(here, there, scaled(spacing_mm)) == pytest.approx(expected)


def test_two_single_voxels_of_a_sheared_grid_are_as_far_apart_as_their_centres():
    affine = scaled((1.0, 1.0, 2.0))
    affine[1, 2] = 0.7  # a tilted gantry: each slice lies 0.7 mm further back
    here, there = cuboid((4, 4, 6), (1, 1, 1), (1, 1, 1)), cuboid((4, 4, 6), (1, 1, 4), (1, 1, 1))
    assert hausdorff95_mm(here, there, affine) == pytest.approx(3 * math.hypot(0.7, 2.0))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 1.0, 2.5)])
def test_concentric_balls_are_the_difference_of_their_radii_apart(spacing_mm):
    small, large = ball(10, spacing_mm, 18), ball(15, spacing_mm, 18)
    voxel_mm = math.hypot(*spacing_mm)
    assert hausdorff95_mm(small, large, scaled(spacing_mm)) == pytest.approx(5, abs=voxel_mm)
    assert normalised_surface_dice(small, large, scaled(spacing_mm), tolerance_mm=5 + voxel_mm) == 1
    assert normalised_surface_dice(small, large, scaled(spacing_mm), tolerance_mm=5 - voxel_mm) == 0


def test_hd95_is_the_larger_of_the_two_directed_percentiles_and_not_that_of_both_together():
    """Twenty voxels; the other mask adds two more, 5 and 10 mm off: 9 % of its own voxels, 4.8 % of all 42."""
    short = cuboid((30, 1, 1), (0, 0, 0), (20, 1, 1))
    long = short.copy()
    long[[24, 29]] = True
    directed = np.percentile([0.0] * 20 + [5.0, 10.0], 95)
    assert directed > 0
    assert hausdorff95_mm(short, long, scaled((1, 1, 1))) == pytest.approx(directed)
    assert hausdorff95_mm(long, short, scaled((1, 1, 1))) == pytest.approx(directed)


def test_one_stray_voxel_among_hundreds_does_not_move_hd95():
    body = cuboid((40, 20, 20), (2, 2, 2), (10, 10, 10))
    with_stray = body.copy()
    with_stray[39, 19, 19] = True
    assert hausdorff95_mm(with_stray, body, scaled((1, 1, 1))) == 0


def test_the_border_of_the_image_is_a_boundary():
    whole = np.ones((7, 7, 7), dtype=bool)
    without_a_slice = cuboid((7, 7, 7), (1, 0, 0), (6, 7, 7))
    assert hausdorff95_mm(without_a_slice, whole, scaled((2, 1, 1))) == pytest.approx(2)
    assert normalised_surface_dice(whole, whole, scaled((2, 1, 1)), tolerance_mm=0) == 1


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("size", [(1, 1, 1), (4, 4, 4), (6, 2, 3)])
def test_surface_dice_weights_each_surface_by_its_area_in_square_millimetres(size, spacing_mm):
    """A voxel that both masks hold, and a box far away that only the prediction holds."""
    reference = cuboid((30, 30, 30), (1, 1, 1), (1, 1, 1))
    prediction = reference | cuboid((30, 30, 30), (20, 20, 20), size)
    shared, lonely = cuboid_area_mm2((1, 1, 1), spacing_mm), cuboid_area_mm2(size, spacing_mm)
    expected = 2 * shared / (2 * shared + lonely)
    found = normalised_surface_dice(prediction, reference, scaled(spacing_mm), tolerance_mm=1)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("tolerance_mm", "expected"), [(3.0, 1.0), (2.9, 0.5), (2.0, 0.5), (1.9, 0.0)])
def test_a_surface_exactly_at_the_tolerance_agrees(tolerance_mm, expected):
    """Two voxels three apart: their near faces are 2 mm apart, their far ones 3 mm from the other's nearest.

    The spacing came out of a 32-bit header a little too large.
    """
    here, there = cuboid((8, 3, 3), (1, 1, 1), (1, 1, 1)), cuboid((8, 3, 3), (4, 1, 1), (1, 1, 1))
    affine = scaled((float(np.float32(1.0000001)), 1.0, 1.0))
    assert normalised_surface_dice(here, there, affine, tolerance_mm=tolerance_mm) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_both_agree_with_monai_where_the_definitions_are_the_same(seed, spacing_mm):
    prediction, reference = blob(seed), blob(seed + 10) | blob(seed)
    batch = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference)]
    monai_hd95 = compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=spacing_mm)
    monai_nsd = compute_surface_dice(
        *batch, class_thresholds=[1.1], include_background=True, spacing=spacing_mm, use_subvoxels=True
    )
    affine = scaled(spacing_mm)
    assert hausdorff95_mm(prediction, reference, affine) == pytest.approx(float(monai_hd95), rel=1e-5)
    found = normalised_surface_dice(prediction, reference, affine, tolerance_mm=1.1)
    assert 0.05 < found < 0.95
    assert found == pytest.approx(float(monai_nsd), rel=1e-5)


def test_turning_and_mirroring_the_grid_changes_nothing():
    prediction, reference, affine = blob(3), blob(4), scaled((0.8, 1.1, 2.0))
    assert hausdorff95_mm(prediction, reference, turned(affine)) == pytest.approx(
        hausdorff95_mm(prediction, reference, affine)
    )
    assert normalised_surface_dice(prediction, reference, turned(affine), tolerance_mm=1.5) == pytest.approx(
        normalised_surface_dice(prediction, reference, affine, tolerance_mm=1.5)
    )


def test_a_margin_of_background_and_swapping_the_masks_change_nothing():
    affine = scaled((1.0, 1.0, 2.0))
    found = [
        (hausdorff95_mm(one, other, affine), normalised_surface_dice(one, other, affine, tolerance_mm=1))
        for padding, swapped in product((0, 4), (False, True))
        for one, other in [[np.pad(mask, padding) for mask in (blob(5), blob(6))][:: -1 if swapped else 1]]
    ]
    for pair in found[1:]:
        assert pair == pytest.approx(found[0])


def test_an_empty_mask_is_refused_by_name():
    body, nothing = cuboid((4, 4, 4), (1, 1, 1), (2, 2, 2)), np.zeros((4, 4, 4), dtype=bool)
    with pytest.raises(ImageError, match="mask of the prediction is empty"):
        hausdorff95_mm(nothing, body, scaled((1, 1, 1)))
    with pytest.raises(ImageError, match="mask of the reference is empty"):
        normalised_surface_dice(body, nothing, scaled((1, 1, 1)), tolerance_mm=1)
