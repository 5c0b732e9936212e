"""What of a bundle's postprocessing is left to do, and what it asks of the engine.

In: the transforms that a bundle names. Out: those that clean label maps, and how channels become regions.
"""

import math

from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    Invertd,
    KeepLargestConnectedComponentd,
    SaveImaged,
    Transform,
)

from medseg.errors import SettingsError
from medseg.inference.largest_parts import LargestPartsd
from medseg.inference.restore import RestoreLabelsd

__all__ = ["label_postprocessing", "region_threshold"]

REPLACED = (Activationsd, AsDiscreted, Invertd, RestoreLabelsd, SaveImaged)
"""Steps of a bundle's postprocessing that the engine does itself: restoring, choosing the label, writing."""


def label_postprocessing(postprocessing: Compose) -> Compose:
    """The steps of a bundle's postprocessing that clean label maps; the engine does the others itself."""
    kept: list[Transform] = [step for step in postprocessing.transforms if not isinstance(step, REPLACED)]
    return Compose([LargestPartsd(step) if type(step) is KeepLargestConnectedComponentd else step for step in kept])


def region_threshold(postprocessing: Compose) -> float | None:
    """The probability from which a voxel is in a region, where a bundle thresholds its channels; else None.

    A bundle that thresholds logits, without a sigmoid before, means the probability that belongs to that logit.

    Raises:
        SettingsError: the threshold puts every voxel into a region, or none.
    """
    thresholds = [
        float(step.threshold[0])
        for step in postprocessing.transforms
        if isinstance(step, AsDiscreted) and step.threshold and step.threshold[0] is not None
    ]
    if not thresholds:
        return None
    is_of_probabilities = any(isinstance(step, Activationsd) and step.sigmoid[0] for step in postprocessing.transforms)
    found = thresholds[0] if is_of_probabilities else 1 / (1 + math.exp(-thresholds[0]))
    if not 0 < found < 1:
        raise SettingsError(
            f"the model's postprocessing thresholds probabilities at {found:g}: a number between 0 and 1 was expected. "
            "Correct the threshold of its AsDiscreted."
        )
    return found
