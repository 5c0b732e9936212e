"""Active learning: which image should be labelled next.

In: the images that are not labelled, and those that are, with their scores under the model in use. Out: one of them,
with a weight that says how much it was wanted. A strategy is a small value that can be tested on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.label.scores import ImageScore

__all__ = [
    "STRATEGIES",
    "Candidate",
    "Choice",
    "CostAware",
    "Diversity",
    "First",
    "Random",
    "Strategy",
    "Uncertainty",
]


@dataclass(frozen=True)
class Candidate:
    """An image and its score, where it has one."""

    image_id: str
    score: ImageScore | None = None


@dataclass(frozen=True)
class Choice:
    """The image chosen; ``weight`` compares choices of one strategy with one another."""

    image_id: str
    weight: float


class Strategy(Protocol):
    """How the next image is chosen."""

    @property
    def description(self) -> str:
        """What it prefers, for a person who chooses a strategy."""

    @property
    def needs_scores(self) -> bool:
        """Whether images without a score are passed over."""

    def choose(
        self, unlabelled: Sequence[Candidate], labelled: Sequence[Candidate], *, random: np.random.Generator
    ) -> Choice | None:
        """One of the unlabelled; None where none is left that it can judge."""


@dataclass(frozen=True)
class First:
    """The first by name: for those who want to work through a list."""

    description: str = "the first image by name"
    needs_scores: bool = False

    def choose(
        self,
        unlabelled: Sequence[Candidate],
        labelled: Sequence[Candidate],  # noqa: ARG002  a strategy's signature
        *,
        random: np.random.Generator,  # noqa: ARG002
    ) -> Choice | None:
        """The first."""
        ids = sorted(one.image_id for one in unlabelled)
        return Choice(ids[0], 1.0) if ids else None


@dataclass(frozen=True)
class Random:
    """Any, with equal chances: what every other strategy has to be better than."""

    description: str = "any image"
    needs_scores: bool = False

    def choose(
        self,
        unlabelled: Sequence[Candidate],
        labelled: Sequence[Candidate],  # noqa: ARG002  a strategy's signature
        *,
        random: np.random.Generator,
    ) -> Choice | None:
        """Any."""
        ids = sorted(one.image_id for one in unlabelled)
        return Choice(ids[random.integers(len(ids))], 1.0 / len(ids)) if ids else None


@dataclass(frozen=True)
class Uncertainty:
    """The image that the model is least certain of.

    By entropy of the mean prediction (Lewis and Gale, A sequential algorithm for training text classifiers, 1994), or
    by how far passes over altered copies contradict one another (Houlsby et al., Bayesian active learning for
    classification and preference learning, 2011, arXiv:1112.5745).
    """

    measure: Literal["entropy", "mutual_information"]
    needs_scores: bool = True

    @property
    def description(self) -> str:
        """Which uncertainty."""
        return f"the image with the highest {self.measure.replace('_', ' ')}"

    def choose(
        self,
        unlabelled: Sequence[Candidate],
        labelled: Sequence[Candidate],  # noqa: ARG002  a strategy's signature
        *,
        random: np.random.Generator,  # noqa: ARG002
    ) -> Choice | None:
        """The least certain."""
        known = {one.image_id: self.of(one.score) for one in unlabelled if one.score is not None}
        return _highest(known)

    def of(self, score: ImageScore) -> float:
        """How uncertain an image is."""
        return score.entropy if self.measure == "entropy" else score.mutual_information


@dataclass(frozen=True)
class Diversity:
    """The image that is least like any that is labelled: k-centre greedy on the encoder's features.

    Sener and Savarese, Active learning for convolutional neural networks: a core-set approach, ICLR 2018
    (arXiv:1708.00489), algorithm 1. Without a labelled image, the one nearest to the middle of all.

    Differs from the paper: one image at a time, so that the model may change between two; each feature is scaled to
    unit deviation, since networks' channels differ in scale.
    """

    description: str = "the image least like those that are labelled"
    needs_scores: bool = True

    def choose(
        self,
        unlabelled: Sequence[Candidate],
        labelled: Sequence[Candidate],
        *,
        random: np.random.Generator,  # noqa: ARG002  a strategy's signature
    ) -> Choice | None:
        """The farthest from the nearest labelled one."""
        return _highest(distances(unlabelled, labelled))


@dataclass(frozen=True)
class CostAware:
    """Uncertain, unlike what is labelled, and not much work: the geometric mean of both ranks, over the cost.

    The cost of an image is ``fixed_slices`` for opening it and one for each slice with something to draw or decide;
    Settles et al., Active learning with real annotation costs, NIPS workshop 2008, divide what is gained likewise.
    """

    measure: Literal["entropy", "mutual_information"] = "entropy"
    fixed_slices: int = 10
    description: str = "uncertain, unlike what is labelled, and little work"
    needs_scores: bool = True

    def choose(
        self,
        unlabelled: Sequence[Candidate],
        labelled: Sequence[Candidate],
        *,
        random: np.random.Generator,  # noqa: ARG002  a strategy's signature
    ) -> Choice | None:
        """The most for the work."""
        uncertainty = Uncertainty(self.measure)
        scores = {one.image_id: one.score for one in unlabelled if one.score is not None}
        uncertain = _ranks({image_id: uncertainty.of(score) for image_id, score in scores.items()})
        unlike = _ranks(distances(unlabelled, labelled))
        worth = {
            image_id: float(np.sqrt(uncertain[image_id] * unlike[image_id])) / (self.fixed_slices + score.slices)
            for image_id, score in scores.items()
        }
        return _highest(worth)


STRATEGIES: dict[str, Strategy] = {
    "first": First(),
    "random": Random(),
    "entropy": Uncertainty("entropy"),
    "mutual_information": Uncertainty("mutual_information"),
    "diversity": Diversity(),
    "cost_aware": CostAware(),
}
"""By the name that clients ask for."""


def distances(unlabelled: Sequence[Candidate], labelled: Sequence[Candidate]) -> dict[str, float]:
    """How far each unlabelled image is from the nearest labelled one, in the space of features; of those with a score.

    Without labelled ones, how near it is to the middle, as a number that grows towards it.
    """
    known = [one for one in unlabelled if one.score is not None]
    if not known:
        return {}
    features = _matrix(known)
    centres = _matrix([one for one in labelled if one.score is not None], like=features)
    scale = np.concatenate([features, centres]).std(axis=0)
    features, centres = (values / np.where(scale > 0, scale, 1.0) for values in (features, centres))
    if len(centres):
        apart = np.linalg.norm(features[:, None] - centres[None], axis=2).min(axis=1)
    else:
        apart = 1 / (1 + np.linalg.norm(features - features.mean(axis=0), axis=1))
    return {one.image_id: float(distance) for one, distance in zip(known, apart, strict=True)}


def _matrix(candidates: Sequence[Candidate], *, like: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Features (N, D) of images that have them."""
    rows = [one.score.features for one in candidates if one.score is not None]
    return np.array(rows, np.float64) if rows else np.zeros((0, 0 if like is None else like.shape[1]))


def _ranks(values: dict[str, float]) -> dict[str, float]:
    """Ranks from 1/N, the lowest, to 1: quantities of different units can then be mixed."""
    ordered = sorted(values, key=lambda image_id: (values[image_id], image_id))
    return {image_id: number / len(ordered) for number, image_id in enumerate(ordered, start=1)}


def _highest(values: dict[str, float]) -> Choice | None:
    """The image with the highest value; of equals the first by name."""
    if not values:
        return None
    best = min(values, key=lambda image_id: (-values[image_id], image_id))
    return Choice(best, values[best])
