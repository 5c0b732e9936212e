"""Transforms: what MONAI lacks, as ordinary MONAI transforms that a bundle names with ``_target_``."""

from medseg.transforms.components import FillHolesd, RemoveSmallComponentsd, fill_holes, remove_small_components

__all__ = ["FillHolesd", "RemoveSmallComponentsd", "fill_holes", "remove_small_components"]
