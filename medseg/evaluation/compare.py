"""Two models on the same cases: how much better one is, and how surely.

In: two evaluations. Out: the mean difference case by case with its interval, and the p-value of a paired test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import DataError
from medseg.evaluation.results import Evaluation
from medseg.evaluation.statistics import Summary, summarise

__all__ = ["Comparison", "compare_paired", "holm"]


@dataclass(frozen=True)
class Comparison:
    """One model against another over the cases that both were scored on.

    Attributes:
        difference: first minus second, each case's mean over its labels; interval by bootstrap over cases.
        p_value: of Wilcoxon's signed-rank test, two-sided (Wilcoxon, Biometrics Bulletin 1:80-83, 1945); 1 where no
            case differs.
    """

    difference: Summary
    p_value: float


def compare_paired(first: Evaluation, second: Evaluation, *, metric: str = "dice") -> Comparison:
    """Compare two models case by case.

    Raises:
        DataError: they were not scored on the same cases.
    """
    ours, theirs = first.by_case(metric), second.by_case(metric)
    if ours.keys() != theirs.keys() or not ours:
        only = sorted(ours.keys() ^ theirs.keys())
        raise DataError(
            f"{len(only)} of {len(ours.keys() | theirs.keys())} cases were scored for one model only: "
            "evaluate both on the same split."
        )
    from scipy.stats import wilcoxon  # takes a tenth of what a short command takes to start

    differences = [ours[case_id] - theirs[case_id] for case_id in sorted(ours)]
    p_value = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
    return Comparison(difference=summarise(differences), p_value=p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for how many there are (Holm, Scandinavian Journal of Statistics 6:65-70, 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected
