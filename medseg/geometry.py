"""Where an array lies in the patient: shape and affine, and sampling one grid onto another.

In: images with an affine (voxel index i, j, k → RAS+ millimetres). Out: the same scan on another grid.
Reorientation, change of spacing, cropping and padding are all one resampling between two affines, so going
back to the scan's own grid needs no record of earlier steps.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.errors import GeometryError, ImageError

__all__ = [
    "Geometry",
    "Interpolation",
    "geometry_of",
    "no_overlap",
    "plane_positions",
    "resample_onto",
    "resample_volume",
]

SNAP_VOXELS = 1e-3
"""Coordinates this close to a voxel centre are that centre: float32 affines of one grid differ by as much."""

EDGE_VOXELS = 0.5 + SNAP_VOXELS
"""A point this far outside the outermost voxel centre still lies in that voxel."""

OBLIQUE_COSINE = 1e-4
"""Direction cosines above this off the main axis make a grid oblique (0.006 degrees)."""

SINGULAR = 1e-6
"""Axes that span less than this share of a box of their lengths lie in one plane, to the precision of a header."""

BLOCK_POINTS = 500_000
"""Points sampled at a time on the oblique path; bounds coordinates and neighbours to about 100 MB."""


class Interpolation(Enum):
    """How values between voxel centres are made: ``NEAREST`` for labels, ``LINEAR`` for images and logits."""

    NEAREST = "nearest"
    LINEAR = "linear"


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of an image: shape (I, J, K) and the 4×4 affine, voxel index → RAS+ millimetres.

    Raises:
        GeometryError: an axis is empty, or the affine is not invertible or not finite.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(f"shape {self.shape} found: three axes with at least one voxel each were expected.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not _spans_space(affine[:3, :3]):
            raise GeometryError(
                "the affine does not place voxels in space (not finite, or two axes coincide): "
                "an invertible 4×4 matrix was expected. Repair the header, for example from the original DICOM."
            )

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k."""
        i, j, k = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k

    @cached_property
    def axcodes(self) -> str:
        """The nearest anatomical orientation, for example ``"LPS"``."""
        return "".join(str(code) for code in nib.orientations.aff2axcodes(self.affine))

    @cached_property
    def is_oblique(self) -> bool:
        """Whether the axes of the grid are turned against the patient's axes."""
        cosines = np.abs(self.affine[:3, :3]) / np.array(self.spacing_mm)
        return bool(np.sort(cosines, axis=0)[:2].max() > OBLIQUE_COSINE)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def matches(self, other: "Geometry", *, tolerance_mm: float = 1e-3) -> bool:
        """Whether every voxel of both grids lies in the same place, to ``tolerance_mm`` at the corners."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in self.shape], indexing="ij")).reshape(3, -1)
        corners = np.vstack([corners, np.ones((1, 8))])
        return bool(np.abs((self.affine - other.affine) @ corners)[:3].max() <= tolerance_mm)

    def planes(self, axis: int, first: int, count: int) -> "Geometry":
        """The grid of so many planes across one axis, from the plane ``first`` on."""
        shape = [count if one == axis else size for one, size in enumerate(self.shape)]
        affine = np.array(self.affine)
        affine[:3, 3] += first * affine[:3, axis]
        return Geometry((shape[0], shape[1], shape[2]), affine)

    def describe(self) -> str:
        """One line for a person: shape, spacing, orientation and origin."""
        shape = "×".join(str(size) for size in self.shape)
        spacing = "×".join(f"{size:.4g}" for size in self.spacing_mm)
        origin = ", ".join(f"{value:.2f}" for value in self.affine[:3, 3])
        return (
            f"{shape} voxels of {spacing} mm, {self.axcodes}{' oblique' if self.is_oblique else ''}, origin ({origin})"
        )


def geometry_of(image: MetaTensor) -> Geometry:
    """The grid of an image (C, I, J, K) or of labels (I, J, K)."""
    i, j, k = image.shape[-3:]
    return Geometry((int(i), int(j), int(k)), image.affine.detach().cpu().numpy().astype(np.float64))


def resample_onto(
    image: MetaTensor, target: Geometry, *, interpolation: Interpolation, outside: float | None = None
) -> MetaTensor:
    """The same scan sampled on another grid.

    Args:
        image: (C, I, J, K), any orientation, oblique allowed.
        target: the grid to land on.
        interpolation: ``NEAREST`` for labels, ``LINEAR`` for images.
        outside: the value beyond the scan; absent, the image's minimum.
    Raises:
        GeometryError: the two boxes do not overlap in millimetres.
        ImageError: whole numbers cannot be interpolated linearly, or cannot hold ``outside``.
    """
    source = geometry_of(image)
    fill = float(image.min()) if outside is None else outside
    values = torch.stack(
        [
            resample_volume(channel, source, target, interpolation=interpolation, outside=fill)
            for channel in image.as_tensor()
        ]
    )
    result = MetaTensor(values, meta=dict(image.meta))
    result.affine = torch.from_numpy(target.affine.copy())
    return result


def resample_volume(
    volume: torch.Tensor, source: Geometry, target: Geometry, *, interpolation: Interpolation, outside: float
) -> torch.Tensor:
    """One volume (I, J, K) that lies on ``source``, sampled on ``target``; same dtype and device.

    Where the axes of both grids are parallel each axis is interpolated by itself, which is exact for
    flips, permutations, crops and pads; otherwise points are sampled in blocks of slices.

    Raises:
        GeometryError: the two boxes do not overlap in millimetres.
        ImageError: whole numbers cannot be interpolated linearly, or cannot hold ``outside``.
    """
    _check_values(volume.dtype, interpolation, outside)
    index_map = np.linalg.inv(source.affine) @ target.affine  # target index → source index
    axes = _parallel_axes(index_map, target.shape)
    if axes is None:
        return _sample_oblique(volume, index_map, target, interpolation=interpolation, outside=outside)
    return _sample_parallel(volume, index_map, axes, target, interpolation=interpolation, outside=outside)


def plane_positions(source: Geometry, target: Geometry, *, axis: int) -> tuple[int, NDArray[np.float64]] | None:
    """The target axis that runs along one axis of the source, and where on it each plane of the target lies.

    Positions are indices of the source's planes, fractional where a plane lies between two. None where the grids are
    turned against each other, so that a plane of one meets many of the other.
    """
    index_map = np.linalg.inv(source.affine) @ target.affine
    axes = _parallel_axes(index_map, target.shape)
    return None if axes is None else (axes[axis], _positions(index_map, axis, axes[axis], target.shape[axes[axis]]))


def _positions(index_map: NDArray[np.float64], axis: int, along: int, count: int) -> NDArray[np.float64]:
    """Source indices of the target's planes; what is a whole number but for rounding is made one."""
    positions = index_map[axis, along] * np.arange(count) + index_map[axis, 3]
    rounded = np.round(positions)
    snapped: NDArray[np.float64] = np.where(np.abs(positions - rounded) < SNAP_VOXELS, rounded, positions)
    return snapped


def _spans_space(directions: NDArray[np.float64]) -> bool:
    """Whether three axes lie in no common plane, whatever their lengths: voxels may measure a micrometre."""
    lengths = np.linalg.norm(directions, axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(directions / lengths)) > SINGULAR)


def _check_values(dtype: torch.dtype, interpolation: Interpolation, outside: float) -> None:
    if dtype.is_floating_point:
        return
    if interpolation is Interpolation.LINEAR:
        raise ImageError(
            f"values of type {dtype} cannot be interpolated linearly: use NEAREST for labels, float32 for images."
        )
    if torch.tensor(outside).to(dtype).item() != outside:
        raise ImageError(f"the value {outside:g} outside the image does not fit into {dtype}: choose one that does.")


def _parallel_axes(index_map: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """For each source axis the target axis it runs along, or None where the grids are turned against each other."""
    linear = np.abs(index_map[:3, :3])
    axes = linear.argmax(axis=1)
    if sorted(axes) != [0, 1, 2]:
        return None
    drift = linear * (np.array(shape) - 1)  # how far the other axes move the point over the whole grid
    drift[np.arange(3), axes] = 0
    if drift.max() > SNAP_VOXELS:
        return None
    return int(axes[0]), int(axes[1]), int(axes[2])


def _sample_parallel(
    volume: torch.Tensor,
    index_map: NDArray[np.float64],
    axes: tuple[int, int, int],
    target: Geometry,
    *,
    interpolation: Interpolation,
    outside: float,
) -> torch.Tensor:
    inside: list[torch.Tensor] = []
    given = volume
    for axis, along in enumerate(axes):
        size = volume.shape[axis]
        positions = _positions(index_map, axis, along, target.shape[along])
        within = (positions >= -EDGE_VOXELS) & (positions <= size - 1 + EDGE_VOXELS)
        if not within.any():
            raise no_overlap()
        inside.append(torch.from_numpy(within).to(volume.device))
        volume = _take_along(volume, axis, np.clip(positions, 0, size - 1), interpolation)
    order = [axes.index(along) for along in range(3)]
    result = volume.permute(order).contiguous()
    if result.untyped_storage().data_ptr() == given.untyped_storage().data_ptr():
        result = result.clone()  # the same grid: what is given back must be nobody else's
    for along in range(3):
        beyond = ~inside[order[along]]
        if bool(beyond.any()):
            result.index_fill_(along, beyond.nonzero().flatten(), outside)
    return result


def _take_along(
    volume: torch.Tensor, axis: int, positions: NDArray[np.float64], interpolation: Interpolation
) -> torch.Tensor:
    """Values at the fractional ``positions`` along one axis; whole positions are taken as they are."""
    if interpolation is Interpolation.NEAREST:
        return _planes(volume, axis, _nearest(positions))
    lower = np.floor(positions).astype(np.int64)
    weights = positions - lower
    below = _planes(volume, axis, lower)
    if not weights.any():
        return below
    upper = np.minimum(lower + 1, volume.shape[axis] - 1)
    above = _planes(volume, axis, upper)
    shape = [1, 1, 1]
    shape[axis] = len(positions)
    return torch.lerp(below, above, torch.from_numpy(weights).to(volume).reshape(shape))


def _planes(volume: torch.Tensor, axis: int, numbers: NDArray[np.int64]) -> torch.Tensor:
    """The planes with these numbers along one axis; a view where they follow one another."""
    if (np.diff(numbers) == 1).all():
        return volume.narrow(axis, int(numbers[0]), len(numbers))
    if volume.device.type == "cpu":  # numpy takes elements along the last axis several times as fast as torch
        return torch.from_numpy(np.take(volume.detach().numpy(), numbers, axis))
    return volume.index_select(axis, torch.from_numpy(numbers).to(volume.device))


def _nearest(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    """The nearest voxel; half-way points go up, so that a flip and its inverse are no coin toss."""
    nearest: NDArray[np.int64] = np.floor(positions + 0.5).astype(np.int64)
    return nearest


def _sample_oblique(
    volume: torch.Tensor,
    index_map: NDArray[np.float64],
    target: Geometry,
    *,
    interpolation: Interpolation,
    outside: float,
) -> torch.Tensor:
    result = torch.empty(target.shape, dtype=volume.dtype, device=volume.device)
    matrix = torch.from_numpy(index_map.copy()).to(volume.device)
    last = torch.tensor(volume.shape, dtype=torch.float64, device=volume.device) - 1
    planes = max(BLOCK_POINTS // (target.shape[1] * target.shape[2]), 1)
    found = False
    for start in range(0, target.shape[0], planes):
        stop = min(start + planes, target.shape[0])
        axes = [torch.arange(start, stop), torch.arange(target.shape[1]), torch.arange(target.shape[2])]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).to(volume.device, torch.float64)
        points = grid @ matrix[:3, :3].T + matrix[:3, 3]  # (planes, J, K, 3)
        within = ((points >= -EDGE_VOXELS) & (points <= last + EDGE_VOXELS)).all(dim=-1)
        found = found or bool(within.any())
        points = torch.minimum(points.clamp(min=0), last)
        values = _nearest_at(volume, points) if interpolation is Interpolation.NEAREST else _linear_at(volume, points)
        result[start:stop] = torch.where(within, values, torch.full_like(values, outside))
    if not found:
        raise no_overlap()
    return result


def _nearest_at(volume: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    i, j, k = torch.floor(points + 0.5).long().unbind(dim=-1)
    return volume[i, j, k]


def _linear_at(volume: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    lower = torch.floor(points).long()
    weights = (points - lower).to(volume.dtype)
    upper = torch.minimum(lower + 1, torch.tensor(volume.shape, device=volume.device) - 1)
    (i0, j0, k0), (i1, j1, k1) = lower.unbind(dim=-1), upper.unbind(dim=-1)
    wi, wj, wk = weights.unbind(dim=-1)
    near = torch.lerp(
        torch.lerp(volume[i0, j0, k0], volume[i0, j0, k1], wk),
        torch.lerp(volume[i0, j1, k0], volume[i0, j1, k1], wk),
        wj,
    )
    far = torch.lerp(
        torch.lerp(volume[i1, j0, k0], volume[i1, j0, k1], wk),
        torch.lerp(volume[i1, j1, k0], volume[i1, j1, k1], wk),
        wj,
    )
    return torch.lerp(near, far, wi)


def no_overlap() -> GeometryError:
    """What is raised where two grids lie in different places."""
    return GeometryError(
        "the two grids do not overlap in millimetres: the images show different places, or a header is wrong. "
        "Give images of the same examination."
    )
