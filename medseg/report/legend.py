"""The legend of a picture: every label with its colour and volume, in as many lines as there is room for.

In: the statistics of the labels and which of them the planes show. Out: lines of text with their colours.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from medseg.labels import LabelTable
from medseg.report.statistics import LabelStatistics

__all__ = ["LegendLine", "format_volume_ml", "legend_lines"]


@dataclass(frozen=True)
class LegendLine:
    """One line: a label with its volume, or a remark without a colour.

    ``is_in_planes``: the label can be seen; ``is_cut``: it reaches the edge of the scan.
    """

    text: str
    volume: str = ""
    color: tuple[int, int, int] | None = None
    is_in_planes: bool = False
    is_cut: bool = False


def legend_lines(
    statistics: Sequence[LabelStatistics], label_table: LabelTable, *, in_planes: Collection[int], room: int
) -> tuple[LegendLine, ...]:
    """The labels found, in the order of the table, then the ones not found; at most ``room`` lines,
    the last of which counts what had no room."""
    colors = {label.index: label.color for label in label_table}
    found = [entry for entry in statistics if entry.voxels]
    absent = [entry for entry in statistics if not entry.voxels]
    lines = [
        LegendLine(
            text=entry.name,
            volume=format_volume_ml(entry.volume_ml),
            color=colors[entry.index],
            is_in_planes=entry.index in in_planes,
            is_cut=bool(entry.touches_border),
        )
        for entry in found
    ]
    if not found:
        lines.append(LegendLine(text="nothing found"))
    lines += [LegendLine(text=entry.name, volume="not found") for entry in (absent if found else ())]
    if len(lines) > room:
        hidden = max(len(found) - room + 1, 0)
        remark = f"and {hidden} more, {len(absent)} not found" if hidden else f"and {len(lines) - room + 1} not found"
        lines = [*lines[: room - 1], LegendLine(text=remark)]
    return tuple(lines)


def format_volume_ml(volume_ml: float) -> str:
    """The volume with three digits that mean something: ``"1532 mL"``, ``"12.3 mL"``, ``"0.0120 mL"``."""
    if volume_ml >= 99.95:  # three digits of it would be written "100."
        return f"{volume_ml:.0f} mL"
    return f"{volume_ml:#.3g} mL" if volume_ml >= 1e-4 else f"{volume_ml:.1e} mL"
