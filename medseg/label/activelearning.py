"""Active learning as MONAI Label asks for it: strategies that choose, and a task that scores in the background."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy as StrategyTask

from medseg.bundle import Bundle, sha256_of
from medseg.errors import CaseError, ImageError
from medseg.io import read_case
from medseg.label.infer import only_case
from medseg.label.request import SelectionRequest, device_called
from medseg.label.scores import ImageScore, Scorer, ScoreStore
from medseg.label.strategies import Candidate, Strategy
from medseg.label.versions import WeightsVersions

__all__ = ["SCORING", "ScoredModel", "ScoringTask", "SelectionTask"]

SCORING = "active_learning"
"""The name of the scoring task."""

logger = logging.getLogger(__name__)


class ScoredModel:
    """A model whose scores are asked for, and where they lie."""

    def __init__(self, bundle: Bundle, versions: WeightsVersions, *, folder: Path) -> None:
        self.bundle = bundle
        self._versions = versions
        self._folder = folder

    @property
    def in_use(self) -> Bundle:
        """The model with the weights in use."""
        return replace(self.bundle, weights=self._versions.current_weights)

    @property
    def store(self) -> ScoreStore:
        """The scores under the weights in use."""
        sha256 = sha256_of(self._versions.current_weights)
        return ScoreStore(self._folder, model=self.bundle.name, weights_sha256=sha256)


class ScoringTask(ScoringMethod):
    """Scores every image that has no score under the weights in use."""

    def __init__(self, models: Mapping[str, ScoredModel]) -> None:
        super().__init__("Uncertainty, features and cost of every image, for active learning")
        self._models = models

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """How many were scored, and how many the model cannot take."""
        model = self._models[_model_of(request, self._models)]
        bundle, store = model.in_use, model.store
        image_ids = sorted(datastore.list_images())
        known = store.read(image_ids)
        missing = [image_id for image_id in image_ids if image_id not in known]
        scorer = Scorer(bundle, device=device_called(str(request.get("device", "auto")))) if missing else None
        scored = passed_over = 0
        for image_id in missing:
            assert scorer is not None, "there is something to score"
            try:
                scan = read_case(only_case(datastore.scan_path(image_id), bundle))
                store.write(image_id, scorer.score(scan.image))
                scored += 1
            except (CaseError, ImageError):
                store.write(image_id, ImageScore.unfit())
                passed_over += 1
            logger.info("scored %d of %d", scored + passed_over, len(missing))
        return {"scored": scored, "known": len(known), "passed_over": passed_over}


class SelectionTask(StrategyTask):
    """A strategy over the data store and the scores of a model.

    Args:
        start_scoring: begins to score what has no score under the weights in use, aside.
    """

    def __init__(
        self, strategy: Strategy, models: Mapping[str, ScoredModel], *, start_scoring: Callable[[str], Any]
    ) -> None:
        super().__init__(strategy.description)
        self._strategy = strategy
        self._models = models
        self._start_scoring = start_scoring

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The image to label next, with its weight; a note where scores are still being computed."""
        unlabelled = sorted(datastore.get_unlabeled_images())
        if not unlabelled:
            return None
        random = np.random.default_rng(SelectionRequest.of(request).seed)
        if not self._strategy.needs_scores or not self._models:
            choice = self._strategy.choose([Candidate(one) for one in unlabelled], [], random=random)
            return None if choice is None else {"id": choice.image_id, "weight": choice.weight}
        name = _model_of(request, self._models)
        labelled = sorted(set(datastore.list_images()) - set(unlabelled))
        scores = self._models[name].store.read([*unlabelled, *labelled])
        fitting = {image_id: score for image_id, score in scores.items() if score.fits}
        known, others = ([Candidate(one, fitting.get(one)) for one in ids] for ids in (unlabelled, labelled))
        choice = self._strategy.choose(known, others, random=random)
        n_missing = len(unlabelled) + len(labelled) - len(scores)
        if n_missing:
            self._start_scoring(name)
        if choice is None and not n_missing:
            return None  # what is left is for other models
        if choice is None:
            return {"id": str(random.choice(unlabelled)), "weight": 0.0, "note": "no scores yet: any image"}
        note = {"note": f"{n_missing} images have no score yet"} if n_missing else {}
        return {"id": choice.image_id, "weight": choice.weight, **note}


def _model_of(request: Mapping[str, Any], models: Mapping[str, ScoredModel]) -> str:
    """The model that is asked for, by default the first."""
    return str(request.get("model") or next(iter(models)))
