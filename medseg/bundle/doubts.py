"""What speaks against a scan for a model, though it can be computed: words for the person and the run record."""

from medseg.bundle.load import Bundle
from medseg.io import Scan

__all__ = ["doubts"]

EXTENT_FACTOR = 2
"""A scan this many times longer than the longest of the training data draws a warning."""

TOLD_APART = {"CT", "MR", "PT", "US", "NM", "XA", "MG", "CR", "DX"}
"""Modalities of DICOM that are never another; a secondary capture (``OT``) may show any."""


def doubts(bundle: Bundle, scan: Scan) -> tuple[str, ...]:
    """One line for each doubt about a scan as read; none where the scan says nothing against it."""
    return (*_modality_doubts(bundle, scan), *_extent_doubts(bundle, scan))


def _modality_doubts(bundle: Bundle, scan: Scan) -> list[str]:
    """A word on channels that a scanner of another kind took: a network finds something in any image."""
    return [
        f"channel {channel.name} is of modality {found}, and {bundle.name} was trained on {channel.modality}: its "
        f"labels mean nothing there. Give it the {channel.modality}."
        for channel, found in zip(bundle.channels, scan.modalities, strict=False)
        if found != channel.modality and {found, channel.modality} <= TOLD_APART
    ]


def _extent_doubts(bundle: Bundle, scan: Scan) -> list[str]:
    """A word when a scan shows far more than the bundle was trained on: intensities are scaled over the whole scan."""
    trained = bundle.config.get("largest_extent_mm")
    if trained is None:
        return []
    extent = [size * step for size, step in zip(scan.geometry.shape, scan.geometry.spacing_mm, strict=True)]
    if max(extent) <= EXTENT_FACTOR * max(trained):
        return []
    found, limit = ("×".join(f"{size:.0f}" for size in sizes) for sizes in (extent, trained))
    return [
        f"the scan covers {found} mm, and {bundle.name} was trained on regions of at most {limit} mm: "
        "crop it to the region of interest, or expect poor labels."
    ]
