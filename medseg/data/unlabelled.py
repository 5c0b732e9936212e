"""Images of a data set that have no labels: none of them is used, so that a person is told of them in one line."""

from typing import Final, Literal

from medseg.data.manifest import DataManifest

__all__ = ["images_without_labels"]

SHOWN_NAMES: Final = 5
"""Cases spelled out; the rest are counted."""

PURPOSE: Final = {"train": "for training", "test": "for test"}


def images_without_labels(manifest: DataManifest, split: Literal["train", "test"]) -> str:
    """How many there are, and the first of them; empty where there is none."""
    names = manifest.unlabelled.get(split, ())
    if not names:
        return ""
    images = "1 image" if len(names) == 1 else f"{len(names)} images"
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"{images} {PURPOSE[split]} without labels: {', '.join(names[:SHOWN_NAMES])}{more}"
