"""Transforms: what MONAI lacks, as ordinary MONAI transforms that a bundle names with ``_target_``."""

from medseg.transforms.components import FillHolesd, RemoveSmallComponentsd, fill_holes, remove_small_components
from medseg.transforms.masking import RandMaskPatchesd
from medseg.transforms.regions import RegionsToLabelsd
from medseg.transforms.slices import CentralSliced, check_slices, mirror_slices, stack_slices

__all__ = [
    "CentralSliced",
    "FillHolesd",
    "RandMaskPatchesd",
    "RegionsToLabelsd",
    "RemoveSmallComponentsd",
    "check_slices",
    "fill_holes",
    "mirror_slices",
    "remove_small_components",
    "stack_slices",
]
