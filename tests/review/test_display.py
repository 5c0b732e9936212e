import itertools

import nibabel as nib
import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.review import PLANES, DisplayGrid

ALL_48_AXCODES = [
    tuple(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
]


def grid_of(axcodes: tuple[str, str, str], *, turn: float = 0.0) -> DisplayGrid:
    directions = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.array([directions[code] for code in axcodes]).T * [0.5, 1.0, 3.0]
    affine[:3, 3] = (11, -7, 40)
    return DisplayGrid(Geometry((4, 5, 6), affine))


@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_the_screen_runs_to_the_head_the_back_and_the_left(axcodes, turn):
    grid = grid_of(axcodes, turn=turn)
    origin = np.array(grid.world_mm((0, 0, 0)))
    for axis, towards in enumerate([(0, 0, 1), (0, -1, 0), (-1, 0, 0)]):
        step = np.array(grid.world_mm(np.eye(3)[axis])) - origin
        assert np.dot(step, towards) / np.linalg.norm(step) > 0.9
        assert np.linalg.norm(step) == pytest.approx(grid.scale_mm[axis])


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_every_voxel_on_the_screen_is_the_voxel_of_the_scan_at_its_index(axcodes):
    grid = grid_of(axcodes)
    scan = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    screen = grid.shown(scan)
    assert screen.shape == grid.shape
    for position in np.ndindex(screen.shape):
        i, j, k = (int(axis) for axis in grid.index_of(position))
        assert screen[position] == scan[i, j, k]
        assert grid.position_of((i, j, k)) == position
    np.testing.assert_array_equal(grid.stored(screen), scan)


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_a_box_on_the_screen_holds_the_voxels_of_its_box_of_the_scan(axcodes):
    grid = grid_of(axcodes)
    scan = np.zeros((4, 5, 6), bool)
    box = (slice(1, 3), slice(0, 2), slice(2, 4))
    grid.shown(scan)[box] = True
    expected = np.zeros_like(scan)
    expected[grid.box_of(box)] = True
    np.testing.assert_array_equal(scan, expected)
    assert grid.shown_box_of(grid.box_of(box)) == box


def test_the_turn_agrees_with_nibabel():
    grid = grid_of(("A", "I", "R"))
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), grid.source.affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt("LPS")
    )
    expected = np.asarray(image.as_reoriented(turn).dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(grid.shown(np.asarray(image.dataobj)), expected)


def test_planes_name_what_lies_at_their_edges():
    axial, coronal, sagittal = PLANES
    assert axial.edges == ("R", "L", "A", "P")  # the patient's right is on the left: seen from the feet
    assert coronal.edges == ("R", "L", "S", "I")
    assert sagittal.edges == ("A", "P", "S", "I")
    assert [plane.order for plane in PLANES] == [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
