import dataclasses

import numpy as np
import pytest

from medseg.errors import ImageError
from medseg.io.dicom.grid import SlicePlane, series_affine

AXIAL = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def plane(z: float, **changes: object) -> SlicePlane:
    first = SlicePlane(size=(3, 4), spacing_mm=(1.5, 0.5), orientation=AXIAL, position=np.array([-10.0, -20.0, z]))
    return dataclasses.replace(first, **changes)  # type: ignore[arg-type]


def test_an_axial_stack_has_columns_along_i_rows_along_j_and_its_normal_along_k():
    affine, order, warnings = series_affine("s", [plane(14), plane(10), plane(12)])
    assert order == (1, 2, 0)
    assert warnings == ()
    assert np.array_equal(affine, [[-0.5, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 2, 10], [0, 0, 0, 1]])


def test_an_oblique_stack_follows_its_own_normal():
    turn = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
    orientation = np.array([turn[:, 0], turn[:, 2]])
    normal = np.cross(*orientation)
    planes = [plane(0, orientation=orientation, position=normal * 2.5 * step) for step in (0, 1, 2)]
    affine, order, _ = series_affine("s", planes)
    assert order == (0, 1, 2)
    assert np.allclose(np.diag([-1, -1, 1]) @ affine[:3, 2], normal * 2.5)


def test_rounded_headers_are_regular():
    affine, _, _ = series_affine("s", [plane(z) for z in (0.0, 0.62, 1.25, 1.88, 2.5)])
    assert affine[2, 2] == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ((0, 5, 10, 20), r"slices 3 and 4 of 4 lie 10 mm apart, the others 5 mm"),
        ((0, 2, 4.1, 6), r"is not evenly spaced"),
        ((0, 2, 2, 4), r"holds 4 slices at 3 positions"),
        ((0, 0, 2, 2), r"holds 4 slices at 2 positions: several time points"),
        ((0, 0.002, 2, 2.002), r"holds 4 slices at 2 positions"),
    ],
)
def test_uneven_and_repeated_positions_are_refused(heights, message):
    with pytest.raises(ImageError, match=message) as caught:
        series_affine("s", [plane(z) for z in heights])
    assert "\n" not in str(caught.value)


def test_a_tilted_stack_is_refused_with_its_angle():
    planes = [plane(0, position=np.array([0, -step * np.tan(np.radians(15)) * 2, step * 2])) for step in range(4)]
    with pytest.raises(ImageError, match=r"each slice lies 0\.536 mm beside the one before \(gantry tilt 15"):
        series_affine("s", planes)


def test_a_single_slice_pushed_sideways_is_refused():
    planes = [plane(0), plane(2, position=np.array([-9.0, -20.0, 2.0])), plane(4), plane(6)]
    with pytest.raises(ImageError, match="slices lie up to 1 mm off one straight, even line"):
        series_affine("s", planes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (4, 4)}, "mixes slices of 3×4 and 4×4 pixels"),
        ({"orientation": np.array([[0.0, 1, 0], [0, 0, -1.0]])}, "mixes slices of different orientation"),
        ({"spacing_mm": (1.5, 0.6)}, "mixes pixel spacings 1.5×0.5 and 1.5×0.6 mm"),
    ],
)
def test_slices_that_differ_are_refused(changes, message):
    with pytest.raises(ImageError, match=message):
        series_affine("s", [plane(0), plane(2, **changes)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orientation": np.zeros((2, 3))}, "no pair of unit vectors"),
        ({"orientation": np.array([[1.0, 0, 0], [0.5, 0.87, 0]])}, "no pair of unit vectors"),
        ({"spacing_mm": (0.0, 1.0)}, "positive sizes were expected"),
    ],
)
def test_headers_that_span_no_plane_are_refused(changes, message):
    with pytest.raises(ImageError, match=message):
        series_affine("s", [plane(0, **changes), plane(2, **changes)])


def test_one_slice_is_as_thick_as_its_header_says_with_a_warning():
    affine, _, warnings = series_affine("s", [plane(10, thickness_mm=5.0)])
    assert affine[2, 2] == 5
    assert "there is one slice only" in warnings[0]


def test_one_slice_of_unknown_thickness_is_refused():
    with pytest.raises(ImageError, match="one slice of unknown thickness"):
        series_affine("s", [plane(10)])
