"""The grid of a DICOM series: from where each slice lies to one affine, or a refusal.

In: the planes of all slices, in any order. Out: the affine (index → RAS millimetres), the order of the slices
along their normal, and warnings. A DICOM plane, seen along its normal::

    position ─▶ ●────────▶ orientation[0], i, steps of spacing_mm[1] (between columns)
                │
                ▼ orientation[1], j, steps of spacing_mm[0] (between rows)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.io.itk_image import LPS_TO_RAS

__all__ = ["SlicePlane", "series_affine"]

RELATIVE_TOLERANCE = 0.01
"""Slice distances may differ by this share of the distance: headers are rounded."""

ABSOLUTE_TOLERANCE_MM = 0.01
"""… or by this much, whichever is more."""

DIRECTION_TOLERANCE = 1e-3
"""Direction cosines of one series differ by less than this (0.06 degrees)."""


@dataclass(frozen=True, eq=False)
class SlicePlane:
    """Where one slice lies, in LPS millimetres as DICOM writes it.

    ``size`` is (rows, columns); ``spacing_mm`` between rows, then between columns; ``orientation`` (2, 3) the
    directions along a row and down a column; ``position`` (3,) the centre of the first pixel; ``thickness_mm``
    the slice's own statement of its distance to the next, 0 where it makes none.
    """

    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    orientation: NDArray[np.float64]
    position: NDArray[np.float64]
    thickness_mm: float = 0.0

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector at right angles to the slice."""
        normal: NDArray[np.float64] = np.cross(self.orientation[0], self.orientation[1])
        return normal / np.linalg.norm(normal)


def series_affine(
    name: str, planes: Sequence[SlicePlane]
) -> tuple[NDArray[np.float64], tuple[int, ...], tuple[str, ...]]:
    """The affine of the stack, the indices of ``planes`` in stacking order, and warnings.

    The step from slice to slice is the measured one, from the first position to the last, not the header's
    slice thickness, which says how thick a slice is and not how far the next one lies.

    Raises:
        ImageError: the planes differ in size, spacing or orientation, or are not evenly spaced along their normal.
    """
    first = planes[0]
    _check_directions(name, first)
    for plane in planes[1:]:
        _check_alike(name, first, plane)
    depths = np.array([plane.position @ first.normal for plane in planes])
    order = tuple(int(index) for index in np.argsort(depths, kind="stable"))
    positions = np.array([planes[index].position for index in order])
    step, warnings = _step(name, positions, depths[list(order)], first)
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[0] * first.spacing_mm[1]
    affine[:3, 1] = first.orientation[1] * first.spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return LPS_TO_RAS @ affine, order, warnings


def _check_directions(name: str, plane: SlicePlane) -> None:
    lengths = np.linalg.norm(plane.orientation, axis=1)
    slant = abs(float(plane.orientation[0] @ plane.orientation[1]))
    if not np.isfinite(plane.orientation).all() or np.abs(lengths - 1).max() > 0.01 or slant > 0.01:
        raise ImageError(
            f"{name}: the orientation in the headers is no pair of unit vectors at right angles. "
            "Export the original series."
        )
    if min(plane.spacing_mm) <= 0:
        raise ImageError(f"{name}: the pixel spacing is {plane.spacing_mm} mm: positive sizes were expected.")


def _check_alike(name: str, first: SlicePlane, other: SlicePlane) -> None:
    if first.size != other.size:
        raise ImageError(
            f"{name} mixes slices of {_times(first.size)} and {_times(other.size)} pixels: one size was expected. "
            "Separate the two into folders of their own."
        )
    if np.abs(first.orientation - other.orientation).max() > DIRECTION_TOLERANCE:
        raise ImageError(
            f"{name} mixes slices of different orientation (a localizer, or several stacks): parallel slices were "
            "expected. Separate them into folders of their own."
        )
    if not np.allclose(first.spacing_mm, other.spacing_mm, rtol=1e-4, atol=0):
        raise ImageError(
            f"{name} mixes pixel spacings {_times(first.spacing_mm)} and {_times(other.spacing_mm)} mm: one was "
            "expected. Separate the two into folders of their own."
        )


def _step(
    name: str, positions: NDArray[np.float64], depths: NDArray[np.float64], first: SlicePlane
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The vector from one slice to the next, in LPS millimetres."""
    if len(positions) == 1:
        if first.thickness_mm <= 0:
            raise ImageError(
                f"{name} holds one slice of unknown thickness: a volume was expected. Give the whole series."
            )
        warning = (
            f"{name}: there is one slice only; its thickness, {first.thickness_mm:.4g} mm, is what its header says."
        )
        return first.normal * first.thickness_mm, (warning,)
    distances = np.diff(depths)
    usual = float(np.median(distances))
    tolerance = max(RELATIVE_TOLERANCE * usual, ABSOLUTE_TOLERANCE_MM)
    _check_no_position_twice(name, depths)
    worst = int(np.abs(distances - usual).argmax())
    if abs(distances[worst] - usual) > tolerance:
        raise ImageError(
            f"{name} is not evenly spaced: slices {worst + 1} and {worst + 2} of {len(depths)} lie "
            f"{distances[worst]:.4g} mm apart, the others {usual:.4g} mm: slices are missing or were taken unevenly. "
            "Give the complete series, or resample it with a tool that knows such series."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = float(np.linalg.norm(step - (step @ first.normal) * first.normal))
    if sideways > tolerance:
        angle = np.degrees(np.arctan2(sideways, step @ first.normal))
        raise ImageError(
            f"{name} is tilted: each slice lies {sideways:.3g} mm beside the one before (gantry tilt {angle:.1f}°): "
            "slices stacked along their normal were expected. Correct the tilt first, for example with dcm2niix."
        )
    line = positions[0] + np.arange(len(positions))[:, None] * step
    stray = float(np.linalg.norm(positions - line, axis=1).max())
    if stray > tolerance:
        raise ImageError(
            f"{name}: slices lie up to {stray:.3g} mm off one straight, even line: a regular stack was expected. "
            "Give the original series, or resample it with a tool that knows such series."
        )
    return step, ()


def _check_no_position_twice(name: str, depths: NDArray[np.float64]) -> None:
    distinct = 1 + int((np.diff(depths) > ABSOLUTE_TOLERANCE_MM).sum())
    if distinct < len(depths):
        raise ImageError(
            f"{name} holds {len(depths)} slices at {distinct} positions: several time points, echoes or phases, or "
            "the same slice twice. Put each volume into a folder of its own."
        )


def _times(values: Sequence[float]) -> str:
    return "×".join(f"{value:.4g}" for value in values)
