"""Review: a person looks at a segmentation, corrects it and decides; no Qt outside ``widgets``."""

from medseg.review.delta import Delta, delta_between
from medseg.review.edits import Limits, NestedRegions, nested_regions
from medseg.review.history import History
from medseg.review.windowing import IntensityWindow, presets

__all__ = [
    "Delta",
    "History",
    "IntensityWindow",
    "Limits",
    "NestedRegions",
    "delta_between",
    "nested_regions",
    "presets",
]
