"""``medseg journal``: damage is told by its line, and decisions leave as a table or as a data set."""

import csv
import json

import numpy as np
import pytest

from medseg.bundle import load_bundle
from medseg.data import load_manifest
from medseg.geometry import geometry_of
from medseg.io import read_volume
from medseg.record import Journal, JournalEntry
from medseg.review import Origin, save_version, worklist_from_folder
from medseg.segmentation import Segmentation


@pytest.fixture
def scans(tmp_path, write_scan):
    """A folder of three scans of which two are accepted."""
    folder = tmp_path / "scans"
    for number in range(3):
        write_scan(folder / f"case_{number}.nii.gz", shape=(18, 17, 16), affine=np.eye(4), seed=number)
    worklist = worklist_from_folder(folder)
    journal = Journal(worklist.folder.journal)
    table = load_manifest("msd_hippocampus").label_table
    for case in worklist.cases[:2]:
        geometry = geometry_of(read_volume(case.files.channels[0].path))
        labels = np.zeros(geometry.shape, np.uint8)
        labels[4:9, 4:9, 4:9], labels[9:13, 4:9, 4:9] = 1, 2
        save_version(
            worklist.folder,
            Segmentation(labels, geometry, table),
            case_id=case.case_id,
            origin=Origin(reviewer="reader 1"),
        )
        journal.append(JournalEntry(reviewer="reader 1", case_id=case.case_id, action="accept"))
    return folder


def journal_file(scans):
    return scans / "review" / "journal.jsonl"


@pytest.mark.parametrize("place", ["", "review", "review/journal.jsonl"])
def test_a_whole_journal_ends_with_0_wherever_it_is_named(scans, place, medseg_command):
    result = medseg_command("journal", "verify", scans / place, "--json")
    assert result.exit_code == 0
    found = json.loads(result.out)
    assert (found["is_whole"], found["lines"], found["problems"]) == (True, 2, [])
    assert found["last"] == Journal(journal_file(scans)).records()[-1].sha256


def test_a_changed_journal_ends_with_2_and_a_line_for_each_problem(scans, medseg_command):
    path = journal_file(scans)
    path.write_bytes(path.read_bytes().replace(b"reader 1", b"reader 2"))
    result = medseg_command("journal", "verify", path)
    assert result.exit_code == 2
    told = [line for line in result.err.splitlines() if line.startswith("line ")]
    assert [line.split(":")[0] for line in told] == ["line 1", "line 2"]
    found = json.loads(medseg_command("journal", "verify", path, "--json").out)
    assert {problem["line"] for problem in found["problems"]} == {0, 1, 2}
    assert not found["is_whole"]


def test_lines_missing_at_the_end_are_found(scans, medseg_command):
    path = journal_file(scans)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    result = medseg_command("journal", "verify", path)
    assert result.exit_code == 2
    assert "lines at its end are missing" in result.err


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_accepted_labels_that_were_changed_or_are_gone_are_found(scans, harm, medseg_command):
    labels = next((scans / "review" / "versions").glob("*/v0001.nii.gz"))
    content = labels.read_bytes()
    labels.unlink() if harm == "gone" else labels.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = medseg_command("journal", "verify", scans)
    assert result.exit_code == 2
    assert f"v0001.nii.gz of {labels.parent.name}" in result.err
    found = json.loads(medseg_command("journal", "verify", scans, "--json").out)
    assert (found["is_whole"], len(found["damaged_labels"])) == (True, 1)


def test_a_folder_without_a_journal_is_one_line_and_exit_code_2(tmp_path, medseg_command):
    result = medseg_command("journal", "verify", tmp_path)
    assert result.exit_code == 2
    assert len(result.error_lines) == 1


def test_the_table_is_written_and_not_replaced_unasked(scans, tmp_path, medseg_command):
    table = tmp_path / "table.csv"
    assert medseg_command("journal", "export", scans, "--output", table).exit_code == 0
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [(row["case_id"], row["action"]) for row in rows] == [("case_0", "accept"), ("case_1", "accept")]
    assert medseg_command("journal", "export", scans, "--output", table).exit_code == 2
    again = medseg_command("journal", "export", scans, "--output", table, "--overwrite", "--json")
    assert json.loads(again.out) == {"table": str(table), "rows": 2}


def test_a_damaged_journal_is_not_exported(scans, tmp_path, medseg_command):
    path = journal_file(scans)
    path.write_bytes(path.read_bytes().replace(b"accept", b"reject"))
    for words in (("--output", tmp_path / "table.csv"), ("--dataset", tmp_path / "set")):
        result = medseg_command("journal", "export", path, *words)
        assert result.exit_code == 2
        assert "is damaged" in result.error_lines[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["scans"]


def test_accepted_cases_are_written_as_a_data_set_and_those_left_out_end_with_1(scans, tmp_path, medseg_command):
    words = ("--split", "validation=0", "--split", "test=0")
    result = medseg_command("journal", "export", scans, "--dataset", tmp_path / "set", *words, "--json")
    assert result.exit_code == 0
    assert json.loads(result.out) == {"dataset": str(tmp_path / "set"), "cases": ["case_0", "case_1"], "left_out": {}}
    Journal(journal_file(scans)).append(JournalEntry(reviewer="reader 1", case_id="case_2", action="accept"))
    other = medseg_command("journal", "export", scans, "--dataset", tmp_path / "other", "--link", *words)
    assert other.exit_code == 1
    assert "case_2 is accepted, but no version" in other.err
    assert (tmp_path / "other" / "images" / "case_0_image.nii.gz").is_symlink()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--output TABLE.csv or --dataset FOLDER"),
        (("--dataset", "x", "--split", "test"), "KEY=VALUE"),
        (("--dataset", "x", "--split", "test=2"), "--split: test"),
        (("--dataset", "x", "--split", "tset=0.2"), "--split: tset"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(words, told, scans, medseg_command):
    result = medseg_command("journal", "export", scans, *words)
    assert result.exit_code == 2
    assert told in result.error_lines[0]


def test_a_model_is_trained_on_what_a_review_accepted(scans, tmp_path, tiny_bundle, medseg_command):
    words = ("--bundle", tiny_bundle, "--split", "validation=0", "--split", "test=0")
    assert medseg_command("journal", "export", scans, "--dataset", tmp_path / "set", *words).exit_code == 0
    assert load_manifest(tmp_path / "set").channels[0].name == load_bundle(tiny_bundle).channels[0].name
    run = ("--output", tmp_path / "run", "--device", "cpu", "--set", "steps=2")
    result = medseg_command("train", tiny_bundle, "--data", tmp_path / "set", *run)
    assert result.exit_code == 0, result.err
    assert (tmp_path / "run" / "model.safetensors").is_file()
