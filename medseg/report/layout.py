"""Where the panels of a picture go: three planes at one scale, in pixels.

In: the sizes of planes in millimetres. Out: boxes in pixels from the top left corner. The planes stand side by
side, or the second above the third where that makes all of them larger (a slab of few thick slices)::

      name                name          one cell for each plane: its name and the upper letter,
    R ┌──────┐ L        R ┌────┐ L      the panel between two letters, the lower letter
      │      │            │    │
      └──────┘            └────┘
         P                  I
      ├──┤ 50 mm                        one scale bar for all
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SIDE_PX", "PanelBox", "Panels", "lay_out_panels", "nice_length_mm"]

SIDE_PX = 28
ABOVE_PX = 52
BELOW_PX = 28
SCALE_BAR_PX = 34
SMALLEST_CELL_PX = 130
"""The name of a plane above a thin panel needs as much."""

WORTHWHILE_STACKING = 1.15
"""Planes side by side are what readers know; stacked, all of them must be this much larger."""


@dataclass(frozen=True)
class PanelBox:
    """A rectangle in whole pixels from the top left corner of the picture."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Panels:
    """The panels of one set of planes, the pixels for a millimetre in all of them, and the room they take."""

    boxes: tuple[PanelBox, ...]
    px_per_mm: float
    top: int
    width: int
    height: int

    @property
    def scale_bar_y(self) -> int:
        """The height of the scale bar below the panels."""
        return self.top + self.height - SCALE_BAR_PX // 2


def lay_out_panels(
    sizes_mm: Sequence[tuple[float, float]], *, left: int, top: int, width_px: int, height_px: int
) -> Panels:
    """One panel for each plane (width, height), as large as fits.

    Args:
        sizes_mm: one plane or more.
        left: where the first cell begins.
        top: where the first cell begins.
        width_px: room for all cells together.
        height_px: room for the panels themselves.
    """
    beside = [[size] for size in sizes_mm]
    scale = _scale(beside, width_px=width_px, height_px=height_px)
    if len(sizes_mm) < 3:
        return _place(beside, px_per_mm=scale, left=left, top=top)
    stacked = [[sizes_mm[0]], list(sizes_mm[1:])]
    stacked_scale = _scale(stacked, width_px=width_px, height_px=height_px)
    if stacked_scale < WORTHWHILE_STACKING * scale:
        return _place(beside, px_per_mm=scale, left=left, top=top)
    return _place(stacked, px_per_mm=stacked_scale, left=left, top=top)


def nice_length_mm(longest_mm: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no longer than ``longest_mm``."""
    power = 10.0 ** math.floor(math.log10(longest_mm))
    return next((step * power for step in (5, 2) if step * power <= longest_mm), power)


def _scale(columns: Sequence[Sequence[tuple[float, float]]], *, width_px: int, height_px: int) -> float:
    """The largest scale, in pixels per millimetre, at which columns of planes fit."""
    width_mm = sum(max(width for width, _ in column) for column in columns)
    scale = (width_px - 2 * SIDE_PX * len(columns)) / width_mm
    for column in columns:
        between_px = (len(column) - 1) * (ABOVE_PX + BELOW_PX)
        scale = min(scale, (height_px - between_px) / sum(height for _, height in column))
    return scale


def _place(columns: Sequence[Sequence[tuple[float, float]]], *, px_per_mm: float, left: int, top: int) -> Panels:
    boxes = []
    cell_left, bottom = left, top
    for column in columns:
        cell_top, cell_width = top, SMALLEST_CELL_PX
        for width_mm, height_mm in column:
            width, height = max(round(width_mm * px_per_mm), 1), max(round(height_mm * px_per_mm), 1)
            boxes.append(PanelBox(left=cell_left + SIDE_PX, top=cell_top + ABOVE_PX, width=width, height=height))
            cell_top += ABOVE_PX + height + BELOW_PX
            cell_width = max(cell_width, width + 2 * SIDE_PX)
        cell_left += cell_width
        bottom = max(bottom, cell_top)
    return Panels(
        boxes=tuple(boxes), px_per_mm=px_per_mm, top=top, width=cell_left - left, height=bottom - top + SCALE_BAR_PX
    )
