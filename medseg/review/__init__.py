"""Review: a person looks at a segmentation, corrects it and decides; no Qt outside ``widgets``."""

from medseg.review.delta import Delta, delta_between
from medseg.review.display import PLANES, DisplayGrid, Plane
from medseg.review.editor import Change, LabelEditor
from medseg.review.history import History
from medseg.review.strokes import StrokeRules

__all__ = [
    "PLANES",
    "Change",
    "Delta",
    "DisplayGrid",
    "History",
    "LabelEditor",
    "Plane",
    "StrokeRules",
    "delta_between",
]
