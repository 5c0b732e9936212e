"""Where the panels of a picture go: rows of planes at one scale each, in pixels.

In: the sizes of planes in millimetres. Out: boxes in pixels from the top left corner::

      name                name          one cell for each plane: its name and the upper letter,
    R ┌──────┐ L        R ┌────┐ L      the panel between two letters, the lower letter
      │      │            │    │
      └──────┘            └────┘
         P                  I
      ├──┤ 50 mm                        one scale bar for the row
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PanelBox", "Row", "fit_scale", "lay_out_row", "nice_length_mm"]

SIDE_PX = 28
ABOVE_PX = 52
BELOW_PX = 28
SCALE_BAR_PX = 34
SMALLEST_CELL_PX = 130
"""The name of a plane above a thin panel needs as much."""


@dataclass(frozen=True)
class PanelBox:
    """A rectangle in whole pixels from the top left corner of the picture."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """The panels of one row and the pixels that stand for a millimetre in all of them."""

    panels: tuple[PanelBox, ...]
    px_per_mm: float
    top: int
    width: int
    height: int

    @property
    def scale_bar_y(self) -> int:
        """The height of the scale bar below the panels."""
        return self.top + self.height - SCALE_BAR_PX // 2


def fit_scale(sizes_mm: Sequence[tuple[float, float]], *, width_px: int, height_px: int) -> float:
    """The largest scale (pixels per millimetre) at which planes (width, height) fit side by side."""
    sides_px = 2 * SIDE_PX * len(sizes_mm)
    widest = (width_px - sides_px) / sum(width for width, _ in sizes_mm)
    return min(widest, height_px / max(height for _, height in sizes_mm))


def lay_out_row(sizes_mm: Sequence[tuple[float, float]], *, px_per_mm: float, left: int, top: int) -> Row:
    """One panel for each plane (width, height), tops aligned, the first one's cell at ``left``, ``top``."""
    panels = []
    cell_left = left
    for width_mm, height_mm in sizes_mm:
        width, height = max(round(width_mm * px_per_mm), 1), max(round(height_mm * px_per_mm), 1)
        panels.append(PanelBox(left=cell_left + SIDE_PX, top=top + ABOVE_PX, width=width, height=height))
        cell_left += max(width + 2 * SIDE_PX, SMALLEST_CELL_PX)
    tallest = max(panel.height for panel in panels)
    return Row(
        panels=tuple(panels),
        px_per_mm=px_per_mm,
        top=top,
        width=cell_left - left,
        height=ABOVE_PX + tallest + BELOW_PX + SCALE_BAR_PX,
    )


def nice_length_mm(longest_mm: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no longer than ``longest_mm``."""
    power = 10.0 ** math.floor(math.log10(longest_mm))
    return next((step * power for step in (5, 2, 1) if step * power <= longest_mm), power)
