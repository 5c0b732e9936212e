"""A dark figure that is addressed in pixels from its top left corner.

In: texts, lines and arrays with their place in pixels. Out: a matplotlib figure, whose pixels are those of the PNG.
Matplotlib's figure is used by itself, without pyplot: no window, no state shared between threads. Fonts and
colours are all given here, so that a reader's own matplotlib settings change nothing.
"""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from medseg.report.layout import PanelBox

__all__ = ["BRIGHT", "DIM", "PLAIN", "Canvas", "shorten"]

BACKGROUND = "#14171c"
BRIGHT = "#f4f6f8"
PLAIN = "#c9d0d8"
DIM = "#8b95a1"

DPI = 100
POINTS_PER_PX = 72 / DPI
FONT = "DejaVu Sans"
"""Comes with matplotlib, so every machine draws the same letters; it has no Chinese, Japanese or Korean ones."""

LETTER_WIDTH = 0.58
"""Mean width of a letter of ``FONT`` as a share of its size."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A figure of ``width`` × ``height`` pixels; drawing adds to it."""

    figure: Figure
    width: int
    height: int

    @classmethod
    def blank(cls, *, width: int, height: int) -> "Canvas":
        """A dark canvas with nothing on it."""
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUND)
        FigureCanvasAgg(figure)
        return cls(figure, width, height)

    def text(self, text: str, *, left: float, top: float, size: int = 13, color: str = PLAIN, **style: Any) -> None:
        """A line of text whose anchor lies at ``left``, ``top``; ``size`` is the height of the font in pixels."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            fontsize=size * POINTS_PER_PX,
            fontfamily=FONT,
            color=color,
            parse_math=False,  # a case may be called "$1"
            **({"ha": "left", "va": "center"} | style),
        )

    def line(self, *, xs: tuple[float, float], ys: tuple[float, float], color: str = PLAIN) -> None:
        """A straight line from (xs[0], ys[0]) to (xs[1], ys[1])."""
        self.figure.add_artist(
            Line2D(
                [x / self.width for x in xs],
                [1 - y / self.height for y in ys],
                color=color,
                linewidth=2 * POINTS_PER_PX,
                solid_capstyle="butt",
            )
        )

    def swatch(
        self, *, left: float, top: float, side: float, color: tuple[float, float, float], is_filled: bool
    ) -> None:
        """A small square of a label's colour, hollow where ``is_filled`` is false."""
        self.figure.add_artist(
            Rectangle(
                (left / self.width, 1 - (top + side) / self.height),
                side / self.width,
                side / self.height,
                transform=self.figure.transFigure,
                facecolor=color if is_filled else "none",
                edgecolor=color,
                linewidth=2 * POINTS_PER_PX,
            )
        )

    def axes(self, box: PanelBox, *, columns: int, rows: int) -> Axes:
        """Axes over ``box`` whose data are voxel borders: (0, 0) top left, (columns, rows) bottom right."""
        axes = self.figure.add_axes(
            (
                box.left / self.width,
                1 - (box.top + box.height) / self.height,
                box.width / self.width,
                box.height / self.height,
            )
        )
        axes.set_axis_off()
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        axes.set_autoscale_on(False)
        return axes


def shorten(text: str, *, width_px: float, size: int) -> str:
    """The text on one line, cut with an ellipsis where it would be wider than ``width_px``."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    letters = max(int(width_px / (size * LETTER_WIDTH)), 1)
    return line if len(line) <= letters else line[: letters - 1] + "…"
