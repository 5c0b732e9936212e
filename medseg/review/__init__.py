"""Review: a person looks at a segmentation, corrects it and decides; no Qt outside ``widgets``."""

from medseg.review.delta import Delta, delta_between
from medseg.review.display import PLANES, DisplayGrid, Plane
from medseg.review.editor import Change, ChangeKind, LabelEditor
from medseg.review.edits import Limits, NestedRegions, nested_regions
from medseg.review.history import History
from medseg.review.strokes import StrokeRules
from medseg.review.tools import TOOLS, Amount, Tool, ToolUse, tool_named
from medseg.review.windowing import IntensityWindow, presets

__all__ = [
    "PLANES",
    "TOOLS",
    "Amount",
    "Change",
    "ChangeKind",
    "Delta",
    "DisplayGrid",
    "History",
    "IntensityWindow",
    "LabelEditor",
    "Limits",
    "NestedRegions",
    "Plane",
    "StrokeRules",
    "Tool",
    "ToolUse",
    "delta_between",
    "nested_regions",
    "presets",
    "tool_named",
]
