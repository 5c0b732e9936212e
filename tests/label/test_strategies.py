"""Strategies on scores made by hand, where the right choice is known."""

import numpy as np
import pytest

from medseg.label.scores import ImageScore
from medseg.label.strategies import STRATEGIES, Candidate, CostAware, Diversity, Uncertainty


def _score(*, entropy=0.0, mutual=0.0, features=(0.0, 0.0), slices=10):
    return ImageScore(entropy=entropy, mutual_information=mutual, features=features, slices=slices)


def _choose(strategy, unlabelled, labelled=(), seed=0):
    choice = strategy.choose(unlabelled, labelled, random=np.random.default_rng(seed))
    return None if choice is None else choice.image_id


UNSURE = [
    Candidate("a", _score(entropy=0.2, mutual=0.3)),
    Candidate("b", _score(entropy=0.9, mutual=0.1)),
    Candidate("c", _score(entropy=0.5, mutual=0.2)),
    Candidate("unknown"),
]


@pytest.mark.parametrize(("measure", "expected"), [("entropy", "b"), ("mutual_information", "a")])
def test_the_least_certain_by_each_measure(measure, expected):
    assert _choose(Uncertainty(measure), UNSURE) == expected


def test_the_farthest_from_every_labelled_image_is_the_most_diverse():
    labelled = [Candidate("l1", _score(features=(0, 0))), Candidate("l2", _score(features=(10, 0)))]
    unlabelled = [
        Candidate("between", _score(features=(5, 0))),
        Candidate("near", _score(features=(10, 1))),
        Candidate("far", _score(features=(5, 6))),
    ]
    assert _choose(Diversity(), unlabelled, labelled) == "far"


def test_diversity_covers_clusters_one_after_the_other():
    places = {f"{cluster}{number}": (20.0 * cluster, 0.1 * number) for cluster in range(3) for number in range(4)}
    pool = {name: Candidate(name, _score(features=place)) for name, place in places.items()}
    labelled = []
    for _ in range(3):
        labelled.append(pool.pop(_choose(Diversity(), list(pool.values()), labelled)))
    assert {one.image_id[0] for one in labelled} == {"0", "1", "2"}


def test_without_labels_diversity_begins_in_the_middle():
    unlabelled = [Candidate(str(at), _score(features=(at, 0))) for at in (0, 4, 5, 11)]
    assert _choose(Diversity(), unlabelled) == "5"


def test_a_feature_of_a_larger_scale_does_not_decide_alone():
    labelled = [Candidate("l", _score(features=(0, 0)))]
    unlabelled = [
        Candidate("large scale", _score(features=(1000, 0))),
        Candidate("both", _score(features=(900, 1))),
        Candidate("none", _score(features=(0, 0.1))),
    ]
    assert _choose(Diversity(), unlabelled, labelled) == "both"


def test_of_equally_good_images_the_cheaper_one():
    unlabelled = [
        Candidate("much work", _score(entropy=0.9, features=(1, 0), slices=200)),
        Candidate("little work", _score(entropy=0.9, features=(1, 0), slices=5)),
    ]
    assert _choose(CostAware(), unlabelled) == "little work"


def test_cost_does_not_choose_an_image_that_teaches_nothing():
    labelled = [Candidate("l", _score(features=(0, 0)))]
    dull = [Candidate(f"dull{n}", _score(entropy=0.01 * n, features=(0.01 * n, 0), slices=4)) for n in range(6)]
    telling = Candidate("telling", _score(entropy=0.9, features=(5, 5), slices=6))
    assert _choose(CostAware(), [*dull, telling], labelled) == "telling"


def test_random_takes_each_image_as_often():
    pool = [Candidate(name) for name in "abcd"]
    drawn = [_choose(STRATEGIES["random"], pool, seed=seed) for seed in range(2000)]
    counts = np.array([drawn.count(name) for name in "abcd"])
    assert (abs(counts - 500) < 80).all()


def test_first_is_the_first_by_name():
    assert _choose(STRATEGIES["first"], [Candidate("b"), Candidate("a"), Candidate("c")]) == "a"


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_nothing_is_chosen_where_nothing_is_left(name):
    assert _choose(STRATEGIES[name], []) is None


@pytest.mark.parametrize("name", [name for name, strategy in STRATEGIES.items() if strategy.needs_scores])
def test_images_without_a_score_are_passed_over(name):
    assert _choose(STRATEGIES[name], [Candidate("unknown")]) is None
    assert _choose(STRATEGIES[name], UNSURE) != "unknown"


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_choice_does_not_depend_on_the_order_of_the_images(name):
    assert _choose(STRATEGIES[name], UNSURE) == _choose(STRATEGIES[name], UNSURE[::-1])
