"""The results of an evaluation: scores of every case and label, their summary, and the files that hold both.

In: ``LabelScore`` values. Out: ``per_case.csv`` (one row a case and label) and ``summary.json`` (definitions,
policy, counts, and mean, standard deviation and 95 % confidence interval for each label)::

    {"n_cases": 40,
     "definitions": {"hd95_mm": "maximum of the two …", …},
     "empty_masks": {"both_empty": {"policy": "…", "count": 0}, …},
     "labels": {"anterior": {"index": 1,
                             "counts": {"both_present": 40, …},
                             "dice": {"mean": 0.89, "sd": 0.03, "ci95": [0.88, 0.90], "n": 40}, …}},
     "mean_over_labels": {"dice": {…}, …}}

No number is ever NaN or infinite: what is not defined is empty in the table and ``null`` in the JSON.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.atomic import atomic_write, check_target
from medseg.errors import DataError, OutputError
from medseg.evaluation.statistics import BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED, Summary, summarise
from medseg.evaluation.surface import HD95_DEFINITION, NSD_DEFINITION

__all__ = ["Evaluation", "LabelScore", "Outcome", "check_targets", "read_evaluation", "write_evaluation"]

PER_CASE_FILE = "per_case.csv"
SUMMARY_FILE = "summary.json"

QUALITY_METRICS = ("dice", "iou", "hd95_mm", "nsd")
"""Metrics that say how good a label is, and may be averaged over labels."""

VOLUME_METRICS = ("volume_reference_ml", "volume_prediction_ml", "volume_difference_ml")

METRICS = ("dice", "iou", *VOLUME_METRICS, "hd95_mm", "nsd")


class Outcome(StrEnum):
    """Whether the structure is there in the prediction and in the reference of one case."""

    BOTH_PRESENT = "both_present"
    PREDICTION_EMPTY = "prediction_empty"
    REFERENCE_EMPTY = "reference_empty"
    BOTH_EMPTY = "both_empty"

    @classmethod
    def of(cls, *, prediction: int, reference: int) -> "Outcome":
        """The outcome for these numbers of voxels."""
        if prediction and reference:
            return cls.BOTH_PRESENT
        if reference:
            return cls.PREDICTION_EMPTY
        return cls.REFERENCE_EMPTY if prediction else cls.BOTH_EMPTY


WORST_VALUE = "Dice, IoU and NSD are 0 and HD95 is the diagonal of the image in mm; the case counts"

EMPTY_MASK_POLICY = {
    Outcome.PREDICTION_EMPTY: f"missed structure: {WORST_VALUE}",
    Outcome.REFERENCE_EMPTY: f"structure predicted where there is none: {WORST_VALUE}",
    Outcome.BOTH_EMPTY: "Dice, IoU, HD95 and NSD are undefined and left out of every mean; the volumes count as 0 ml",
}


@dataclass(frozen=True)
class LabelScore:
    """How well one label of one case agrees; the four metrics are absent where both masks are empty."""

    case_id: str
    index: int
    name: str
    outcome: Outcome
    volume_reference_ml: float
    volume_prediction_ml: float
    dice: float | None
    iou: float | None
    hd95_mm: float | None
    nsd: float | None

    @property
    def volume_difference_ml(self) -> float:
        """Prediction minus reference: above 0 where too much was predicted."""
        return self.volume_prediction_ml - self.volume_reference_ml


@dataclass(frozen=True)
class Evaluation:
    """Every score of a set of cases, ordered by case and label; each case has a score for each label."""

    scores: tuple[LabelScore, ...]
    tolerance_mm: float

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in the order of their voxel values."""
        return tuple(name for _, name in sorted({(score.index, score.name) for score in self.scores}))

    @property
    def n_cases(self) -> int:
        """How many cases were compared."""
        return len({score.case_id for score in self.scores})

    def of_label(self, name: str) -> tuple[LabelScore, ...]:
        """The scores of one label, one for each case."""
        return tuple(score for score in self.scores if score.name == name)

    def of_metric(self, metric: str, *, name: str) -> Summary:
        """The summary of one metric of one label over the cases where it is defined."""
        return summarise(_defined(self.of_label(name), metric))

    def over_labels(self, metric: str) -> Summary:
        """The summary over cases of each case's mean over the labels where the metric is defined."""
        return summarise(list(self.by_case(metric).values()))

    def by_case(self, metric: str) -> dict[str, float]:
        """Each case's mean of one metric over the labels where it is defined; a case with none is left out."""
        scores_of: dict[str, list[LabelScore]] = {}
        for score in self.scores:
            scores_of.setdefault(score.case_id, []).append(score)
        values = {case_id: _defined(scores, metric) for case_id, scores in scores_of.items()}
        return {case_id: sum(case) / len(case) for case_id, case in values.items() if case}

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds: plain values, ready for JSON."""
        counts = Counter(score.outcome for score in self.scores)
        return {
            "medseg_version": __version__,
            "n_cases": self.n_cases,
            "n_labels": len(self.label_names),
            "tolerance_mm": self.tolerance_mm,
            "definitions": _definitions(self.tolerance_mm),
            "empty_masks": {
                outcome.value: {"policy": policy, "count": counts[outcome]}
                for outcome, policy in EMPTY_MASK_POLICY.items()
            },
            "bootstrap": {"resamples": BOOTSTRAP_RESAMPLES, "seed": BOOTSTRAP_SEED},
            "labels": {name: self._label_summary(name) for name in self.label_names},
            "mean_over_labels": {metric: _plain(self.over_labels(metric)) for metric in QUALITY_METRICS},
        }

    def _label_summary(self, name: str) -> dict[str, Any]:
        scores = self.of_label(name)
        counts = Counter(score.outcome for score in scores)
        return {
            "index": scores[0].index,
            "counts": {outcome.value: counts[outcome] for outcome in Outcome},
            **{metric: _plain(self.of_metric(metric, name=name)) for metric in METRICS},
        }


def check_targets(folder: Path, *, overwrite: bool) -> None:
    """Nothing, if the results may be written into ``folder``; it need not exist yet.

    Raises:
        OutputError: results lie there and ``overwrite`` is false, or the place cannot be written to.
    """
    if folder.exists():
        for name in (PER_CASE_FILE, SUMMARY_FILE):
            check_target(folder / name, overwrite=overwrite)
        return
    first_missing = folder
    while not first_missing.parent.exists():
        first_missing = first_missing.parent
    check_target(first_missing, overwrite=False)


def write_evaluation(evaluation: Evaluation, folder: Path, *, overwrite: bool) -> tuple[Path, Path]:
    """The paths of the table and the summary, written into ``folder``, which is made where absent.

    Raises:
        OutputError: results lie there and ``overwrite`` is false, or the place cannot be written to.
    """
    check_targets(folder, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"folder {folder} cannot be made: {error.strerror or error}. Choose another folder."
        ) from error
    table, summary = folder / PER_CASE_FILE, folder / SUMMARY_FILE
    with atomic_write(table, overwrite=overwrite) as temporary:
        _write_table(evaluation, temporary)
    with atomic_write(summary, overwrite=overwrite) as temporary:
        text = json.dumps(evaluation.summary(), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return table, summary


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation that ``write_evaluation`` left in a folder.

    Raises:
        DataError: there is none, or it is not whole.
    """
    table, summary = folder / PER_CASE_FILE, folder / SUMMARY_FILE
    try:
        tolerance_mm = float(json.loads(summary.read_text(encoding="utf-8"))["tolerance_mm"])
        with table.open(newline="", encoding="utf-8") as file:
            scores = tuple(_score_of(row) for row in csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{folder} holds no evaluation ({error.strerror}): run medseg evaluate first.") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"the evaluation in {folder} cannot be read ({error}): evaluate again.") from error
    return Evaluation(scores=scores, tolerance_mm=tolerance_mm)


def _score_of(row: dict[str, str]) -> LabelScore:
    return LabelScore(
        case_id=row["case_id"],
        index=int(row["index"]),
        name=row["label"],
        outcome=Outcome(row["outcome"]),
        volume_reference_ml=float(row["volume_reference_ml"]),
        volume_prediction_ml=float(row["volume_prediction_ml"]),
        **{metric: float(row[metric]) if row[metric] else None for metric in QUALITY_METRICS},
    )


def _write_table(evaluation: Evaluation, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("case_id", "label", "index", "outcome", *METRICS))
        for score in evaluation.scores:
            numbers = [_cell(getattr(score, metric)) for metric in METRICS]
            writer.writerow([score.case_id, score.name, score.index, score.outcome.value, *numbers])


def _definitions(tolerance_mm: float) -> dict[str, str]:
    return {
        "dice": "2 |P ∩ R| / (|P| + |R|) in voxels",
        "iou": "|P ∩ R| / |P ∪ R| in voxels",
        "volume_difference_ml": "volume of the prediction minus volume of the reference, in ml",
        "hd95_mm": HD95_DEFINITION,
        "nsd": f"{NSD_DEFINITION}; tolerance {tolerance_mm:g} mm",
        "sd": "standard deviation over cases, n - 1 in the denominator",
        "ci95": "95 % confidence interval of the mean: percentile bootstrap over cases",
        "mean_over_labels": "mean over the labels of each case where the metric is defined, then over cases",
    }


def _defined(scores: Iterable[LabelScore], metric: str) -> Sequence[float]:
    values = (getattr(score, metric) for score in scores)
    return [value for value in values if value is not None]


def _plain(summary: Summary) -> dict[str, Any]:
    return {
        "mean": summary.mean,
        "sd": summary.sd,
        "ci95": None if summary.ci95 is None else list(summary.ci95),
        "n": summary.n,
    }


def _cell(value: float | None) -> str:
    """A number with nine digits, which is more than any scan holds; nothing where it is not defined."""
    return "" if value is None else f"{value:.9g}"
