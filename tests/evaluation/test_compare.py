"""Two models on the same cases: differences, tests, corrections; and evaluations that come back from disk."""

from dataclasses import replace

import pytest

from medseg.errors import DataError
from medseg.evaluation import Evaluation, LabelScore, Outcome, compare_paired, holm, read_evaluation, write_evaluation


def evaluation_of(dice: dict[str, tuple[float | None, ...]]) -> Evaluation:
    """An evaluation with these Dice scores of the labels 1, 2, … of each case."""
    scores = [
        LabelScore(
            case_id=case_id,
            index=index,
            name=f"label {index}",
            outcome=Outcome.BOTH_EMPTY if value is None else Outcome.BOTH_PRESENT,
            volume_reference_ml=1.5,
            volume_prediction_ml=1.25,
            dice=value,
            iou=value,
            hd95_mm=value,
            nsd=value,
        )
        for case_id, values in dice.items()
        for index, value in enumerate(values, start=1)
    ]
    return Evaluation(tuple(scores), tolerance_mm=1.0)


def test_a_case_counts_with_the_mean_over_the_labels_that_it_has():
    evaluation = evaluation_of({"a": (0.5, 0.7), "b": (None, 0.9), "c": (None, None)})
    assert evaluation.by_case("dice") == {"a": pytest.approx(0.6), "b": 0.9}


def test_differences_are_taken_case_by_case():
    first = evaluation_of({f"case {number}": (0.8 + number / 100,) for number in range(6)})
    second = evaluation_of({f"case {number}": (0.7 + number / 50,) for number in range(6)})
    comparison = compare_paired(first, second)
    assert comparison.difference.mean == pytest.approx(0.1 - 0.025)
    assert comparison.difference.n == 6
    assert comparison.p_value == pytest.approx(2 / 2**6)  # all six differences have one sign


def test_a_model_does_not_differ_from_itself():
    one = evaluation_of({"a": (0.5,), "b": (0.6,)})
    comparison = compare_paired(one, one)
    assert (comparison.difference.mean, comparison.p_value) == (0.0, 1.0)


def test_models_that_saw_different_cases_are_not_compared():
    with pytest.raises(DataError, match=r"2 of 3 cases were scored for one model only: evaluate both"):
        compare_paired(evaluation_of({"a": (0.5,), "b": (0.6,)}), evaluation_of({"a": (0.5,), "c": (0.6,)}))


def test_p_values_are_corrected_by_how_many_there_are():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_an_evaluation_comes_back_from_its_files(tmp_path):
    written = evaluation_of({"a": (0.5, 0.25), "b": (None, 0.125)})
    write_evaluation(written, tmp_path / "scores", overwrite=False)
    assert read_evaluation(tmp_path / "scores") == written


def test_a_damaged_evaluation_is_not_read(tmp_path):
    with pytest.raises(DataError, match="holds no evaluation"):
        read_evaluation(tmp_path)
    table, _ = write_evaluation(evaluation_of({"a": (0.5,)}), tmp_path, overwrite=False)
    table.write_text(table.read_text().replace("both_present", "half_present"))
    with pytest.raises(DataError, match=r"cannot be read .*: evaluate again"):
        read_evaluation(tmp_path)


def test_scores_survive_the_way_to_disk_and_back_to_nine_digits(tmp_path):
    written = evaluation_of({"a": (1 / 3,)})
    write_evaluation(written, tmp_path, overwrite=False)
    (score,) = read_evaluation(tmp_path).scores
    assert replace(score, dice=None, iou=None, hd95_mm=None, nsd=None) == replace(
        written.scores[0], dice=None, iou=None, hd95_mm=None, nsd=None
    )
    assert score.dice == pytest.approx(1 / 3, abs=1e-9)
