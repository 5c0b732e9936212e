"""Training: cases of a manifest → weights for a bundle."""

from medseg.training.cross_validation import Candidate, CrossValidation, cross_validate
from medseg.training.loop import Progress, TrainingResult, train
from medseg.training.losses import BoundaryWeightedLoss, MaskedReconstructionLoss
from medseg.training.pretraining import pretrain
from medseg.training.run_bundle import train_bundle
from medseg.training.settings import TrainingSettings, with_settings

__all__ = [
    "BoundaryWeightedLoss",
    "Candidate",
    "CrossValidation",
    "MaskedReconstructionLoss",
    "Progress",
    "TrainingResult",
    "TrainingSettings",
    "cross_validate",
    "pretrain",
    "train",
    "train_bundle",
    "with_settings",
]
