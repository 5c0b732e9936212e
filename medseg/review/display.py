"""From a scan's own grid to what a screen shows, and back, voxel for voxel.

In: an array (I, J, K) on any grid. Out: the same voxels with their axes turned so that the first runs towards the
patient's head (S), the second to the back (P), the third to the left (L): the order in which napari shows slices,
axial ones as radiologists look at them, from the feet. Axes are exchanged and mirrored, nothing is resampled, so
every edit has exactly one voxel to go back to, on oblique and anisotropic grids too::

        scan (I, J, K), say RAS                 screen (z, y, x)
        i → R    j → A    k → S         ⇄       z → S    y → P    x → L
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

__all__ = ["PLANES", "DisplayGrid", "Plane"]

Scalar = TypeVar("Scalar", bound=np.generic)
Box = tuple[slice, slice, slice]

TOWARDS: Final = "SPL"
"""Where the screen's axes z, y and x run to."""

OPPOSITE: Final = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}


@dataclass(frozen=True)
class Plane:
    """One of the three planes through a scan, as it is shown.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``.
        axis: the screen's axis that runs through the plane: 0 is z, 1 is y, 2 is x.
        shown: the screen's axes from top to bottom, or bottom to top, and from left to right.
        is_upward: whether the first of them grows upwards: heads are shown at the top.
    """

    name: str
    axis: int
    shown: tuple[int, int]
    is_upward: bool

    @property
    def order(self) -> tuple[int, int, int]:
        """The order of the axes that napari's ``dims`` take."""
        return (self.axis, *self.shown)

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """What lies at the left, right, top and bottom of the picture: ``("R", "L", "A", "P")`` of an axial one."""
        vertical, horizontal = TOWARDS[self.shown[0]], TOWARDS[self.shown[1]]
        top, bottom = (vertical, OPPOSITE[vertical]) if self.is_upward else (OPPOSITE[vertical], vertical)
        return OPPOSITE[horizontal], horizontal, top, bottom


PLANES: Final = (
    Plane("axial", axis=0, shown=(1, 2), is_upward=False),
    Plane("coronal", axis=1, shown=(0, 2), is_upward=True),
    Plane("sagittal", axis=2, shown=(0, 1), is_upward=True),
)


@dataclass(frozen=True)
class DisplayGrid:
    """How the voxels of one grid lie on the screen.

    ``source`` is the scan's own grid; indices of it are (i, j, k), those of the screen (z, y, x).
    """

    source: Geometry

    @cached_property
    def _turns(self) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """For z, y and x: the axis of the scan that runs along it, and whether it runs the other way."""
        codes = nib.orientations.io_orientation(self.source.affine)  # scan axis → (RAS axis, direction)
        axes, flips = [], []
        for letter in TOWARDS:
            ras = {"L": 0, "P": 1, "S": 2}[letter]
            axis = int(np.flatnonzero(codes[:, 0] == ras)[0])
            wanted = 1 if letter == "S" else -1
            axes.append(axis)
            flips.append(bool(codes[axis, 1] != wanted))
        return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        z, y, x = (self.source.shape[axis] for axis in self._turns[0])
        return z, y, x

    @property
    def scale_mm(self) -> tuple[float, float, float]:
        """Voxel size along z, y and x."""
        z, y, x = (self.source.spacing_mm[axis] for axis in self._turns[0])
        return z, y, x

    @property
    def axes(self) -> tuple[int, int, int]:
        """The scan's axes along z, y and x."""
        return self._turns[0]

    def shown(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The array (I, J, K) as (Z, Y, X): a view of the same memory."""
        axes, flips = self._turns
        return array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

    def stored(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The array (Z, Y, X) as (I, J, K): a view of the same memory, the way back from ``shown``."""
        axes, flips = self._turns
        turned = array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        return turned.transpose(tuple(int(axis) for axis in np.argsort(axes)))

    def index_of(self, position: Sequence[float]) -> tuple[float, float, float]:
        """The scan's index (i, j, k), fractional, of a point (z, y, x) in the screen's indices."""
        index = [0.0, 0.0, 0.0]
        for place, axis, flip in zip(position, *self._turns, strict=True):
            index[axis] = self.source.shape[axis] - 1 - place if flip else place
        return index[0], index[1], index[2]

    def position_of(self, index: Sequence[float]) -> tuple[float, float, float]:
        """The point (z, y, x) on the screen of the scan's index (i, j, k)."""
        axes, flips = self._turns
        z, y, x = (
            self.source.shape[axis] - 1 - index[axis] if flip else index[axis]
            for axis, flip in zip(axes, flips, strict=True)
        )
        return z, y, x

    def world_mm(self, position: Sequence[float]) -> tuple[float, float, float]:
        """The patient's coordinates (x, y, z), RAS+ millimetres, of a point (z, y, x) in the screen's indices."""
        x, y, z = (self.source.affine @ [*self.index_of(position), 1.0])[:3]
        return float(x), float(y), float(z)

    def box_of(self, box: Box) -> Box:
        """The box of the scan's indices that a box of the screen's indices covers."""
        starts = self.index_of([part.start for part in box])
        stops = self.index_of([part.stop - 1 for part in box])
        i, j, k = (
            slice(int(min(start, stop)), int(max(start, stop)) + 1) for start, stop in zip(starts, stops, strict=True)
        )
        return i, j, k

    def shown_box_of(self, box: Box) -> Box:
        """The box of the screen's indices that a box of the scan's indices covers."""
        starts = self.position_of([part.start for part in box])
        stops = self.position_of([part.stop - 1 for part in box])
        z, y, x = (
            slice(int(min(start, stop)), int(max(start, stop)) + 1) for start, stop in zip(starts, stops, strict=True)
        )
        return z, y, x
