"""Edits of a label map: each takes labels (I, J, K) uint8 on the scan's own grid and gives new ones.

Nothing is changed in place, and work is done in the box of what is touched. ``Limits`` says which labels are locked
and which an edit may grow over; every edit keeps to it.
"""

from medseg.review.edits.clean import fill_holes, fill_holes_in_slices, keep_largest, remove_islands
from medseg.review.edits.intensity import allowed_by_intensity
from medseg.review.edits.margin import grow, shrink
from medseg.review.edits.protect import ANY_LABEL, BACKGROUND_ONLY, Limits, keep_protected
from medseg.review.edits.regions import (
    NestedRegion,
    NestedRegions,
    edit_region,
    erase_region,
    nested_regions,
    paint_region,
)
from medseg.review.edits.sides import Sides, middle_x_mm, split_left_right, split_pieces_left_right
from medseg.review.edits.slices import copy_slice, interpolate_slices, replace_between
from medseg.review.edits.smoothing import smooth
from medseg.review.edits.touching import split_at_seeds
from medseg.review.edits.values import merge, swap

__all__ = [
    "ANY_LABEL",
    "BACKGROUND_ONLY",
    "Limits",
    "NestedRegion",
    "NestedRegions",
    "Sides",
    "allowed_by_intensity",
    "copy_slice",
    "edit_region",
    "erase_region",
    "fill_holes",
    "fill_holes_in_slices",
    "grow",
    "interpolate_slices",
    "keep_largest",
    "keep_protected",
    "merge",
    "middle_x_mm",
    "nested_regions",
    "paint_region",
    "remove_islands",
    "replace_between",
    "shrink",
    "smooth",
    "split_at_seeds",
    "split_left_right",
    "split_pieces_left_right",
    "swap",
]
