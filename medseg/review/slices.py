"""One plane through the layers of a viewer as a picture, drawn without OpenGL.

In: napari's layers, a plane and a point in the viewer's millimetres. Out: RGB bytes, one pixel a voxel of the
reference grid. Three views of napari's own beside the main one would double the time of a slice on a computer that
renders in software; cutting and colouring one plane takes milliseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from medseg.review.display import Plane

__all__ = ["ALWAYS_IN_PLANES", "ViewGrid", "draw_plane"]

Colored = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Red, green and blue of every pixel, (3, rows, columns), and its opacity, (rows, columns); all 0 to 1."""

SHADES = 256

ALWAYS_IN_PLANES = "medseg_in_planes"
"""True in the metadata of a layer that planes show although it is hidden: a scan that would cover its labels in 3D."""


@dataclass(frozen=True)
class ViewGrid:
    """The box of voxels that the views show: shape, voxel size and first voxel's place along z, y and x in mm."""

    shape: tuple[int, ...]
    scale_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]

    @classmethod
    def of(cls, layer: Layer) -> "ViewGrid":
        """The grid of a layer of three axes that is scaled and moved, but not turned."""
        return cls(
            tuple(layer.data.shape),
            tuple(float(step) for step in layer.scale),
            tuple(float(place) for place in layer.translate),
        )

    def nearest(self, point_mm: Sequence[float]) -> tuple[int, ...]:
        """The voxel nearest to a point, within the box."""
        parts = zip(point_mm, self.shape, self.scale_mm, self.origin_mm, strict=True)
        return tuple(int(np.clip(round((at - start) / step), 0, size - 1)) for at, size, step, start in parts)

    def center_mm(self, index: Sequence[float]) -> tuple[float, ...]:
        """Where a voxel's centre lies."""
        return tuple(
            start + step * place for place, step, start in zip(index, self.scale_mm, self.origin_mm, strict=True)
        )


def draw_plane(layers: Iterable[Layer], grid: ViewGrid, plane: Plane, point_mm: Sequence[float]) -> NDArray[np.uint8]:
    """The visible image and labels layers, the later over the earlier, as (rows, columns, 3); row 0 is at the top."""
    vertical, horizontal = plane.shown
    picture = np.zeros((3, grid.shape[vertical], grid.shape[horizontal]), np.float32)  # a plane a colour is faster
    for layer in layers:
        if not _is_shown(layer) or layer.ndim != 3 or not isinstance(layer, Image | Labels):
            continue
        values, inside = _cut(layer, grid, plane, point_mm)
        if values is None:
            continue
        colors, opaque = _label_colors(layer, values) if isinstance(layer, Labels) else _shades(layer, values)
        opaque = opaque * inside if inside is not None else opaque
        if str(layer.blending) != "additive":
            picture *= 1 - opaque
        picture += colors * opaque
    whole = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(whole[::-1] if plane.is_upward else whole)


def _is_shown(layer: Layer) -> bool:
    return bool(layer.visible or layer.metadata.get(ALWAYS_IN_PLANES))


def _cut(
    layer: Layer, grid: ViewGrid, plane: Plane, point_mm: Sequence[float]
) -> tuple[NDArray[Any] | None, NDArray[np.bool_] | None]:
    """The layer's voxels nearest to each pixel of the plane, and which pixels lie in the layer (None: all)."""
    own = ViewGrid.of(layer)
    through = round((point_mm[plane.axis] - own.origin_mm[plane.axis]) / own.scale_mm[plane.axis])
    if not 0 <= through < own.shape[plane.axis]:
        return None, None
    flat = layer.data[tuple(through if axis == plane.axis else slice(None) for axis in range(3))]
    if own == grid:
        return np.ascontiguousarray(flat), None
    indices, within = zip(*(_matching(own, grid, axis) for axis in plane.shown), strict=True)
    return np.asarray(flat)[np.ix_(*indices)], np.logical_and.outer(*within)


def _matching(own: ViewGrid, grid: ViewGrid, axis: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each voxel of ``grid`` along an axis: the nearest of ``own``, and whether there is one."""
    places = grid.origin_mm[axis] + grid.scale_mm[axis] * np.arange(grid.shape[axis])
    index = np.rint((places - own.origin_mm[axis]) / own.scale_mm[axis]).astype(np.intp)
    return np.clip(index, 0, own.shape[axis] - 1), (index >= 0) & (index < own.shape[axis])


def _shades(layer: Image, values: NDArray[Any]) -> Colored:
    low, high = layer.contrast_limits
    index = (values.astype(np.float32) - low) * ((SHADES - 1) / max(high - low, np.finfo(np.float32).tiny)) + 0.5
    shares = np.linspace(0, 1, SHADES) ** layer.gamma
    return _looked_up(layer, layer.colormap.map(shares), np.clip(index, 0, SHADES - 1).astype(np.uint8))


def _label_colors(layer: Labels, values: NDArray[Any]) -> Colored:
    if values.dtype == np.uint8:
        colors, opaque = _looked_up(layer, layer.colormap.map(np.arange(SHADES, dtype=np.uint8)), values)
    else:
        mapped = layer.colormap.map(values).astype(np.float32).transpose(2, 0, 1)
        colors, opaque = mapped[:3], mapped[3] * np.float32(layer.opacity)
    if layer.contour:
        opaque = opaque * _edges(values, int(layer.contour))
    return colors, opaque


def _looked_up(layer: Layer, palette: NDArray[Any], index: NDArray[np.uint8]) -> Colored:
    """Colour and opacity of every pixel, from a palette of ``SHADES`` colours (red, green, blue, opacity)."""
    floats = np.ascontiguousarray(palette, dtype=np.float32)
    colors = np.stack([np.take(channel, index) for channel in floats[:, :3].T])
    return colors, np.take(floats[:, 3] * np.float32(layer.opacity), index)


def _edges(values: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """The pixels less than ``width`` away from another value, along the rows and the columns."""
    edges = np.zeros(values.shape, bool)
    for step in range(1, width + 1):
        edges[step:] |= values[step:] != values[:-step]
        edges[:-step] |= values[:-step] != values[step:]
        edges[:, step:] |= values[:, step:] != values[:, :-step]
        edges[:, :-step] |= values[:, :-step] != values[:, step:]
    return edges
