"""Cross-validation: every case scored by a network that never saw it, and a choice by scores and cost."""

import json
from dataclasses import replace

import pytest
import torch

from medseg.bundle import Bundle
from medseg.data import Splits
from medseg.errors import SettingsError
from medseg.training import CrossValidation, cross_validate, with_settings
from medseg.training.cross_validation import Candidate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def three_cases(manifest):
    """Two cases to train on, one of validation, one of test."""
    case_ids = sorted(manifest.cases)
    splits = Splits(train=tuple(case_ids[:2]), validation=(case_ids[2],), test=(case_ids[3],))
    return manifest.model_copy(update={"splits": splits})


@pytest.fixture(scope="module")
def candidates(bundle) -> list[Bundle]:
    """The tiny bundle, and one with twice the features."""
    wide = {**bundle.config["network_def"], "channels": [8, 16]}
    return [
        with_settings(one, ["steps=4", "ema_decay=0"])
        for one in (bundle, replace(bundle, folder=bundle.folder, config={**bundle.config, "network_def": wide}))
    ]


@pytest.fixture(scope="module")
def compared(candidates, three_cases, training_data, tmp_path_factory):
    narrow, wide = candidates
    named = tmp_path_factory.mktemp("bundles") / "wide"
    named.symlink_to(wide.folder)
    output = tmp_path_factory.mktemp("cross_validation")
    bundles = [narrow, replace(wide, folder=named)]
    arguments = {"n_folds": 3, "data_root": training_data, "output": output, "device": CPU}
    return output, cross_validate(bundles, three_cases, **arguments), bundles, arguments


def test_every_case_but_the_test_case_is_scored_once_for_each_bundle(compared):
    output, result, _, _ = compared
    assert {one.name for one in result.candidates} == {"tiny", "wide"}
    for one in result.candidates:
        assert sorted(one.evaluation.by_case("dice")) == ["case_0", "case_1", "case_2"]
        assert one.training_s > 0
    assert sorted(path.name for path in (output / "wide").iterdir()) == ["fold_1", "fold_2", "fold_3"]


def test_the_result_is_a_table_of_scores_intervals_and_cost(compared):
    output, result, _, _ = compared
    content = json.loads((output / "cross_validation.json").read_text())
    assert content["n_folds"] == 3
    assert content["chosen"] == result.chosen.name
    first, second = content["candidates"]
    assert first["difference_to_best"] is None
    assert second["difference_to_best"]["mean"] <= 0
    assert 0 < second["p_value"] <= 1
    parameters = {one["bundle"]: one["parameters"] for one in content["candidates"]}
    rates = {one["bundle"]: one["gflop_per_megavoxel"] for one in content["candidates"]}
    assert parameters["wide"] > parameters["tiny"]
    assert rates["wide"] > rates["tiny"] > 0


def test_what_is_finished_is_not_done_again(compared, three_cases):
    output, result, bundles, arguments = compared
    written = {path: path.stat().st_mtime_ns for path in output.rglob("per_case.csv")}
    heard = []
    again = cross_validate(bundles, three_cases, **arguments, progress=lambda stage, done, total: heard.append(stage))
    assert {path: path.stat().st_mtime_ns for path in output.rglob("per_case.csv")} == written
    assert not [stage for stage in heard if stage.split()[2] in {"train", "score"}]
    assert again.chosen.name == result.chosen.name


def test_a_fold_that_was_ended_while_its_scores_were_written_is_scored_anew(compared, three_cases):
    output, result, bundles, arguments = compared
    scores = output / "tiny" / "fold_2" / "scores"
    before = {path.name: path.read_bytes() for path in scores.iterdir() if path.is_file()}
    (scores / "summary.json").unlink()  # it comes last
    again = cross_validate(bundles, three_cases, **arguments)
    assert {path.name: path.read_bytes() for path in scores.iterdir() if path.is_file()} == before
    assert again.chosen.name == result.chosen.name


def candidate(name: str, rate: float, *, behind: tuple[float, float] | None) -> Candidate:
    """A candidate whose difference to the best has this interval."""
    from medseg.evaluation import Comparison, Evaluation, Summary

    against = None if behind is None else Comparison(Summary(sum(behind) / 2, 0.1, behind, 9), 0.5)
    return Candidate(name, Evaluation((), 1.0), 1.0, rate, 10, against)


def test_chosen_is_the_cheapest_that_is_as_good_as_the_best():
    best = candidate("best", 100.0, behind=None)
    equal = candidate("equal", 20.0, behind=(-0.03, 0.01))
    worse = candidate("worse", 1.0, behind=(-0.05, -0.01))
    assert CrossValidation((best, equal, worse), 5).chosen is equal
    assert CrossValidation((best, worse), 5).chosen is best


def test_bundles_with_one_name_are_refused(candidates, three_cases, training_data, tmp_path):
    with pytest.raises(SettingsError, match="two bundles are called tiny: give folders with different names"):
        cross_validate(candidates, three_cases, n_folds=2, data_root=training_data, output=tmp_path, device=CPU)
