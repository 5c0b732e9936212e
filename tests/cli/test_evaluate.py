"""``medseg evaluate``: what it writes and prints, and how it ends when the files do not fit."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

Folders = tuple[Path, Path]


def write(path: Path, *, shift: int = 0, value: int = 1, spacing_mm: float = 1.0) -> None:
    """A cube of 6³ voxels of ``value``, moved by ``shift`` voxels, with a bar of 2 beside it."""
    labels = np.zeros((20, 14, 14), dtype=np.uint8)
    labels[3 + shift : 9 + shift, 3:9, 3:9] = value
    labels[3:9, 11, 11] = 2
    nib.save(nib.Nifti1Image(labels, np.diag([spacing_mm, 1, 1, 1])), path)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Predictions and references of three cases; a record and a picture lie beside the predictions."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    predictions.mkdir()
    references.mkdir()
    for number in range(3):
        write(predictions / f"case_{number}.nii.gz", shift=number)
        write(references / f"case_{number}.nii.gz")
        for beside in (f"case_{number}.json", f"case_{number}.png", f"case_{number}_statistics.json"):
            (predictions / beside).write_text("{}")
    return predictions, references


def test_table_and_summary_are_written_and_shown(medseg_command: Callable, folders: Folders, tmp_path):
    ended = medseg_command("evaluate", *folders, "--output", tmp_path / "results")
    assert ended.exit_code == 0
    assert ended.out == ""
    assert "HD95 (mm)" in ended.err
    assert "Mean over 3 cases" in ended.err
    with (tmp_path / "results" / "per_case.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case_id"], row["label"]) for row in rows] == [
        (f"case_{number}", label) for number in range(3) for label in ("1", "2")
    ]
    assert [float(row["hd95_mm"]) for row in rows if row["label"] == "1"] == [0, 1, 2]
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["labels"]["1"]["dice"]["mean"] == pytest.approx((1 + 5 / 6 + 4 / 6) / 3)
    assert summary["tolerance_mm"] == 1


def test_a_bundle_gives_the_labels_their_names(medseg_command: Callable, folders: Folders, tiny_bundle, tmp_path):
    ended = medseg_command("evaluate", *folders, "--bundle", tiny_bundle, "--output", tmp_path / "results")
    assert ended.exit_code == 0
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert list(summary["labels"]) == ["anterior_hippocampus", "posterior_hippocampus"]


def test_json_prints_the_summary_on_stdout(medseg_command: Callable, folders: Folders, tmp_path):
    ended = medseg_command("evaluate", *folders, "--output", tmp_path / "results", "--json")
    assert json.loads(ended.out) == json.loads((tmp_path / "results" / "summary.json").read_text())


def test_quiet_prints_nothing(medseg_command: Callable, folders: Folders, tmp_path):
    ended = medseg_command("evaluate", *folders, "--output", tmp_path / "results", "--quiet")
    assert (ended.exit_code, ended.out, ended.err) == (0, "", "")


def test_the_tolerance_decides_which_surfaces_agree(medseg_command: Callable, folders: Folders, tmp_path):
    found = {}
    for tolerance_mm in (0.5, 2):
        options = ("--tolerance-mm", tolerance_mm, "--output", tmp_path / str(tolerance_mm), "--json")
        found[tolerance_mm] = json.loads(medseg_command("evaluate", *folders, *options).out)
    assert found[2]["labels"]["1"]["nsd"]["mean"] == 1
    assert found[0.5]["labels"]["1"]["nsd"]["mean"] < 0.9


def test_existing_results_stay_until_overwrite(medseg_command: Callable, folders: Folders, tmp_path):
    results = tmp_path / "results"
    medseg_command("evaluate", *folders, "--output", results)
    before = (results / "summary.json").read_bytes()
    refused = medseg_command("evaluate", *folders, "--output", results, "--tolerance-mm", 3)
    assert refused.exit_code == 2
    assert refused.error_lines == [
        f"error: {results / 'per_case.csv'} exists already and was not replaced. "
        "Use --overwrite, or choose another path."
    ]
    assert (results / "summary.json").read_bytes() == before
    again = medseg_command("evaluate", *folders, "--output", results, "--tolerance-mm", 3, "--overwrite")
    assert again.exit_code == 0
    assert json.loads((results / "summary.json").read_text())["tolerance_mm"] == 3


def test_an_unmatched_file_ends_with_one_line_that_names_it(medseg_command: Callable, folders: Folders, tmp_path):
    write(folders[0] / "case_9.nii.gz")
    ended = medseg_command("evaluate", *folders, "--output", tmp_path / "results")
    assert ended.exit_code == 2
    assert len(ended.error_lines) == 1
    assert "case_9.nii.gz" in ended.error_lines[0]
    assert not (tmp_path / "results").exists()


def test_a_pair_on_two_grids_ends_with_one_line_that_names_both(medseg_command: Callable, folders: Folders, tmp_path):
    write(folders[0] / "case_1.nii.gz", spacing_mm=1.5)
    ended = medseg_command("evaluate", *folders, "--output", tmp_path / "results")
    assert ended.exit_code == 2
    assert "case_1: the prediction lies on another grid" in ended.error_lines[0]
    assert "1.5×1×1 mm" in ended.error_lines[0]
    assert "1×1×1 mm" in ended.error_lines[0]
    assert not (tmp_path / "results").exists()


def test_a_value_unknown_to_the_bundle_ends_with_one_line(medseg_command, folders: Folders, tiny_bundle, tmp_path):
    write(folders[0] / "case_2.nii.gz", value=5)
    ended = medseg_command("evaluate", *folders, "--bundle", tiny_bundle, "--output", tmp_path / "results")
    assert ended.exit_code == 2
    assert "case_2.nii.gz holds the value 5" in ended.error_lines[0]


@pytest.mark.parametrize(("case_id", "enhancing"), [("BraTS2021_00001", 4), ("BraTS-GLI-00001-000", 3)])
def test_a_model_of_regions_is_scored_by_its_regions_in_the_edition_of_the_case(
    case_id, enhancing, medseg_command: Callable, tmp_path
):
    reference, prediction = np.zeros((2, 40, 40, 40), np.uint8)
    reference[5:25, 5:25, 5:25] = 2
    reference[8:20, 8:20, 8:20] = 1
    reference[10:16, 10:16, 10:16] = enhancing
    prediction[5:25, 5:25, 5:15] = 2
    prediction[8:20, 8:20, 8:14] = enhancing
    for name, labels in (("predictions", prediction), ("references", reference)):
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / name / f"{case_id}.nii.gz")
    folders = tmp_path / "predictions", tmp_path / "references"
    ended = medseg_command("evaluate", *folders, "--bundle", "swin_unetr_brats", "--output", tmp_path / "results")
    assert ended.exit_code == 0, ended.err
    with (tmp_path / "results" / "per_case.csv").open(newline="") as file:
        dice = {row["label"]: float(row["dice"]) for row in csv.DictReader(file)}
    half, small = 2 / 3, 2 * (6 * 6 * 4) / (6**3 + 12 * 12 * 6)  # half of a block; what both call enhancing
    assert dice == pytest.approx({"tumor_core": half, "whole_tumor": half, "enhancing_tumor": small})
