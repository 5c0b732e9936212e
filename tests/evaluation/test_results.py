"""Results: what the two files hold, and that nothing is replaced unasked."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import OutputError
from medseg.evaluation import Evaluation, LabelScore, Outcome, check_targets, write_evaluation
from medseg.evaluation.surface import HD95_DEFINITION, NSD_DEFINITION


def scored(case_id: str, name: str, dice: float, *, outcome: Outcome = Outcome.BOTH_PRESENT) -> LabelScore:
    """A score whose other values follow from the Dice."""
    index = {"liver": 1, "aorta": 2}[name]
    return LabelScore(case_id, index, name, outcome, 2.0, 2.0 + dice, dice, dice / (2 - dice), 10 - 10 * dice, dice)


def absent(case_id: str, name: str) -> LabelScore:
    """The score of a structure that neither mask holds."""
    return LabelScore(case_id, {"liver": 1, "aorta": 2}[name], name, Outcome.BOTH_EMPTY, 0, 0, None, None, None, None)


def three_cases() -> Evaluation:
    """Liver in all three; the aorta is found once, missed once, and once not there."""
    scores = (
        scored("a", "liver", 0.9),
        scored("a", "aorta", 0.7),
        scored("b", "liver", 0.8),
        scored("b", "aorta", 0.0, outcome=Outcome.PREDICTION_EMPTY),
        scored("c", "liver", 0.7),
        absent("c", "aorta"),
    )
    return Evaluation(scores=scores, tolerance_mm=2.5)


def written(evaluation: Evaluation, folder: Path) -> tuple[Sequence[dict[str, str]], dict[str, Any]]:
    """The rows and the summary, read back from the files."""
    table, summary = write_evaluation(evaluation, folder, overwrite=False)
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), json.loads(summary.read_text(encoding="utf-8"))


def test_the_table_has_a_row_for_each_case_and_label(tmp_path):
    rows, _ = written(three_cases(), tmp_path / "new" / "folder")
    assert [(row["case_id"], row["label"], row["index"]) for row in rows[:3]] == [
        ("a", "liver", "1"),
        ("a", "aorta", "2"),
        ("b", "liver", "1"),
    ]
    assert list(rows[0])[4:] == [
        "dice",
        "iou",
        "volume_reference_ml",
        "volume_prediction_ml",
        "volume_difference_ml",
        "hd95_mm",
        "nsd",
    ]
    assert (float(rows[0]["dice"]), float(rows[0]["volume_difference_ml"])) == pytest.approx((0.9, 0.9))


def test_undefined_values_are_empty_cells_and_volumes_of_nothing_are_zero(tmp_path):
    rows, _ = written(three_cases(), tmp_path)
    assert rows[-1]["outcome"] == "both_empty"
    assert [rows[-1][metric] for metric in ("dice", "iou", "hd95_mm", "nsd")] == [""] * 4
    assert [float(rows[-1][f"volume_{what}_ml"]) for what in ("reference", "prediction", "difference")] == [0, 0, 0]


def test_misses_count_and_structures_in_neither_mask_do_not(tmp_path):
    _, summary = written(three_cases(), tmp_path)
    aorta = summary["labels"]["aorta"]
    assert aorta["counts"] == {"both_present": 1, "prediction_empty": 1, "reference_empty": 0, "both_empty": 1}
    assert aorta["dice"]["n"] == 2
    assert aorta["dice"]["mean"] == pytest.approx(0.35)
    assert aorta["volume_difference_ml"]["n"] == 3
    assert summary["labels"]["liver"]["dice"]["n"] == summary["n_cases"] == 3
    assert {name: entry["count"] for name, entry in summary["empty_masks"].items()} == {
        "prediction_empty": 1,
        "reference_empty": 0,
        "both_empty": 1,
    }


def test_mean_over_labels_is_taken_within_each_case_first(tmp_path):
    _, summary = written(three_cases(), tmp_path)
    over_labels = summary["mean_over_labels"]["dice"]
    assert over_labels["mean"] == pytest.approx((0.8 + 0.4 + 0.7) / 3)
    assert over_labels["n"] == 3


def test_the_summary_names_definitions_tolerance_and_bootstrap(tmp_path):
    _, summary = written(three_cases(), tmp_path)
    assert summary["definitions"]["hd95_mm"] == HD95_DEFINITION
    assert summary["definitions"]["nsd"] == f"{NSD_DEFINITION}; tolerance 2.5 mm"
    assert summary["tolerance_mm"] == 2.5
    assert summary["bootstrap"] == {"resamples": 10_000, "seed": 0}
    assert summary["labels"]["liver"]["index"] == 1
    low, high = summary["labels"]["liver"]["dice"]["ci95"]
    assert (low, high) == pytest.approx((0.7, 0.9))  # one draw in 27 takes the worst case three times


def test_a_label_that_no_case_has_is_null_in_the_summary(tmp_path):
    evaluation = Evaluation(scores=(scored("a", "liver", 0.9), absent("a", "aorta")), tolerance_mm=1)
    _, summary = written(evaluation, tmp_path)
    assert summary["labels"]["aorta"]["dice"] == {"mean": None, "sd": None, "ci95": None, "n": 0}
    assert summary["labels"]["liver"]["dice"] == {"mean": 0.9, "sd": None, "ci95": None, "n": 1}


@pytest.mark.parametrize("existing", ["per_case.csv", "summary.json"])
def test_existing_results_are_replaced_only_when_asked(tmp_path, existing):
    (tmp_path / existing).write_text("earlier")
    with pytest.raises(OutputError, match=f"{existing} exists already"):
        write_evaluation(three_cases(), tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "earlier"
    write_evaluation(three_cases(), tmp_path, overwrite=True)
    assert (tmp_path / existing).read_text() != "earlier"


def test_a_file_in_place_of_the_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match="a part of the path is a file"):
            check_targets(folder, overwrite=False)


def test_checking_makes_no_folder(tmp_path):
    check_targets(tmp_path / "new" / "folder", overwrite=False)
    assert not (tmp_path / "new").exists()
