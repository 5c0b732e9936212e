"""Training: cases of a manifest → weights for a bundle."""

from medseg.training.loop import Progress, TrainingResult, train
from medseg.training.losses import BoundaryWeightedLoss
from medseg.training.run_bundle import train_bundle
from medseg.training.settings import TrainingSettings, with_settings

__all__ = [
    "BoundaryWeightedLoss",
    "Progress",
    "TrainingResult",
    "TrainingSettings",
    "train",
    "train_bundle",
    "with_settings",
]
