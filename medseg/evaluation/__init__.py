"""Evaluation: predictions against references, case by case and label by label, with the definitions named."""

from medseg.evaluation.evaluate import evaluate_pairs
from medseg.evaluation.pairs import Pair, pair_files
from medseg.evaluation.results import Evaluation, LabelScore, Outcome, check_targets, write_evaluation
from medseg.evaluation.statistics import Summary, summarise
from medseg.evaluation.surface import hausdorff95_mm, normalised_surface_dice

__all__ = [
    "Evaluation",
    "LabelScore",
    "Outcome",
    "Pair",
    "Summary",
    "check_targets",
    "evaluate_pairs",
    "hausdorff95_mm",
    "normalised_surface_dice",
    "pair_files",
    "summarise",
    "write_evaluation",
]
