"""k-fold cross-validation: which of several bundles does best on a data set, how surely, and at what cost.

In: bundles with recipes and a manifest. Out, in one folder: ``<bundle>/fold_<k>/`` with training and scores, and
``cross_validation.json``. What is finished stays: run again after a kill, it goes on where it stood.
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.atomic import atomic_write
from medseg.bundle import Bundle, bundle_facts, evaluate_split
from medseg.data import DataManifest, k_folds
from medseg.errors import DataError, SettingsError
from medseg.evaluation import Comparison, Evaluation, LabelScore, compare_paired, read_evaluation
from medseg.training.loop import Progress, train

__all__ = ["Candidate", "CrossValidation", "cross_validate"]

RESULT_NAME = "cross_validation.json"
SCORES_NAME = "scores"


@dataclass(frozen=True)
class Candidate:
    """One bundle's scores over all held-out cases, and what it costs.

    Attributes:
        evaluation: every case once, scored by the fold that did not train on it.
        training_s: time of all folds.
        gflop_per_megavoxel: 10⁹ floating point operations for 10⁶ voxels of windows, 2D or 3D; none where the bundle
            names no window.
        parameters: weights of the network.
        against_best: the difference to the best candidate, case by case; absent for the best itself.
    """

    name: str
    evaluation: Evaluation
    training_s: float
    gflop_per_megavoxel: float | None
    parameters: int
    against_best: Comparison | None = None

    @property
    def is_as_good_as_best(self) -> bool:
        """Whether the interval of its difference to the best holds 0, or it is the best."""
        if self.against_best is None:
            return True
        interval = self.against_best.difference.ci95
        return interval is None or interval[1] >= 0

    def summary(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        difference = self.against_best and self.against_best.difference
        return {
            "bundle": self.name,
            "parameters": self.parameters,
            "gflop_per_megavoxel": self.gflop_per_megavoxel,
            "training_s": round(self.training_s, 1),
            "is_as_good_as_best": self.is_as_good_as_best,
            "difference_to_best": difference and {"mean": difference.mean, "ci95": difference.ci95},
            "p_value": self.against_best and self.against_best.p_value,
            "scores": self.evaluation.summary(),
        }


@dataclass(frozen=True)
class CrossValidation:
    """The candidates, best mean Dice first."""

    candidates: tuple[Candidate, ...]
    n_folds: int

    @property
    def chosen(self) -> Candidate:
        """The cheapest candidate that is as good as the best: with the fewest operations a voxel."""
        good = [one for one in self.candidates if one.is_as_good_as_best]
        return min(good, key=lambda one: one.gflop_per_megavoxel or math.inf)


def cross_validate(  # noqa: PLR0913  what is compared on what, from where to where, on which device, who watches
    bundles: Sequence[Bundle],
    manifest: DataManifest,
    *,
    n_folds: int,
    data_root: Path,
    output: Path,
    device: torch.device,
    progress: Progress = lambda stage, done, total: None,
) -> CrossValidation:
    """Train every bundle once for each fold of the manifest's training and validation cases, and score the rest.

    No fold sees the cases that it is scored on, not even to choose weights: those of the last step count.

    Raises:
        SettingsError: two bundles have one name.
        DataError: there are too few cases for so many folds.
    """
    names = [bundle.name for bundle in bundles]
    if len(set(names)) != len(names):
        raise SettingsError(f"two bundles are called {max(names, key=names.count)}: give folders with different names.")
    folds = k_folds(manifest.on_disk(data_root), n_folds)
    found = []
    for bundle in bundles:
        scores: list[LabelScore] = []
        seconds = 0.0
        for number, fold in enumerate(folds, start=1):
            folder = output / bundle.name / f"fold_{number}"

            def show(stage: str, done: int, total: int, *, what: str = f"{bundle.name} {number}/{n_folds}") -> None:
                progress(f"{what} {stage}", done, total)

            evaluation, elapsed_s = _one_fold(
                bundle, fold, data_root=data_root, folder=folder, device=device, progress=show
            )
            scores.extend(evaluation.scores)
            seconds += elapsed_s
        found.append(_candidate(bundle, Evaluation(tuple(scores), evaluation.tolerance_mm), seconds))
    result = CrossValidation(_ranked(found), n_folds)
    _write(result, output / RESULT_NAME)
    return result


def _one_fold(
    bundle: Bundle, fold: DataManifest, *, data_root: Path, folder: Path, device: torch.device, progress: Progress
) -> tuple[Evaluation, float]:
    scores = folder / SCORES_NAME
    result = train(
        bundle,
        fold,
        data_root=data_root,
        output=folder,
        device=device,
        resume=(folder / "checkpoint.pt").is_file(),
        progress=progress,
    )
    try:
        return read_evaluation(scores), result.elapsed_s
    except DataError:
        shutil.rmtree(scores, ignore_errors=True)  # not scored yet, or not to the end
    trained = replace(bundle, weights=result.files[0])
    evaluation = evaluate_split(
        trained,
        fold,
        data_root=data_root,
        output=scores,
        device=device,
        on_case=lambda done, total: progress("score", done, total),
    )
    return evaluation, result.elapsed_s


def _candidate(bundle: Bundle, evaluation: Evaluation, training_s: float) -> Candidate:
    facts = bundle_facts(bundle)
    cost, window = facts["cost_of_a_window"], facts["roi_size"]
    rate = None if cost is None else round(cost["gflop"] / (math.prod(window) / 1e6), 1)
    return Candidate(bundle.name, evaluation, training_s, rate, facts["parameters"])


def _ranked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    order = sorted(candidates, key=lambda one: one.evaluation.over_labels("dice").mean or 0.0, reverse=True)
    best = order[0]
    return (
        best,
        *(replace(one, against_best=compare_paired(one.evaluation, best.evaluation)) for one in order[1:]),
    )


def _write(result: CrossValidation, path: Path) -> None:
    content = {
        "n_folds": result.n_folds,
        "chosen": result.chosen.name,
        "candidates": [candidate.summary() for candidate in result.candidates],
    }
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
