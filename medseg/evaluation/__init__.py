"""Evaluation: predictions against references, case by case and label by label, with the definitions named."""

from medseg.evaluation.compare import Comparison, compare_paired, holm
from medseg.evaluation.evaluate import evaluate_pairs
from medseg.evaluation.pairs import Pair, pair_files
from medseg.evaluation.results import Evaluation, LabelScore, Outcome, check_targets, read_evaluation, write_evaluation
from medseg.evaluation.statistics import Summary, summarise
from medseg.evaluation.surface import hausdorff95_mm, normalised_surface_dice

__all__ = [
    "Comparison",
    "Evaluation",
    "LabelScore",
    "Outcome",
    "Pair",
    "Summary",
    "check_targets",
    "compare_paired",
    "evaluate_pairs",
    "hausdorff95_mm",
    "holm",
    "normalised_surface_dice",
    "pair_files",
    "read_evaluation",
    "summarise",
    "write_evaluation",
]
