"""Training: cases of a manifest → weights for a bundle."""

from medseg.training.loop import Progress, TrainingResult, train
from medseg.training.losses import BoundaryWeightedLoss
from medseg.training.settings import TrainingSettings, with_settings

__all__ = ["BoundaryWeightedLoss", "Progress", "TrainingResult", "TrainingSettings", "train", "with_settings"]
