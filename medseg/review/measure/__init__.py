"""Measurements of a label map on the scan's own grid: volumes, diameters, differences, places to look at."""

from medseg.review.measure.comparison import LabelChange, compare_labels
from medseg.review.measure.diameters import (
    Diameter,
    LabelSize,
    Lesion,
    Recist,
    axial_axis,
    longest_diameter_3d,
    measure_label,
    measure_lesions,
    recist,
)
from medseg.review.measure.spots import Spot, disagreement_spots, uncertain_spots
from medseg.review.measure.volume import areas_mm2, volumes_ml

__all__ = [
    "Diameter",
    "LabelChange",
    "LabelSize",
    "Lesion",
    "Recist",
    "Spot",
    "areas_mm2",
    "axial_axis",
    "compare_labels",
    "disagreement_spots",
    "longest_diameter_3d",
    "measure_label",
    "measure_lesions",
    "recist",
    "uncertain_spots",
    "volumes_ml",
]
