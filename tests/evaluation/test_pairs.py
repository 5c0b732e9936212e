"""Pairs: files find their partners by name, and whatever does not is named."""

from pathlib import Path

import pytest

from medseg.bundle import Extras, OutputPaths
from medseg.errors import CaseError
from medseg.evaluation import Pair, pair_files


def folder(path: Path, *names: str) -> Path:
    """A folder with empty files of these names: pairing looks at names only."""
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def test_files_pair_by_name_without_ending_in_order(tmp_path):
    predictions = folder(tmp_path / "predictions", "b.seg.nrrd", "a.1.nii.gz", "c.mha")
    references = folder(tmp_path / "references", "a.1.nii", "b.NII.GZ", "c.nrrd")
    assert pair_files(predictions, references) == [
        Pair("a.1", predictions / "a.1.nii.gz", references / "a.1.nii"),
        Pair("b", predictions / "b.seg.nrrd", references / "b.NII.GZ"),
        Pair("c", predictions / "c.mha", references / "c.nrrd"),
    ]


def test_what_lies_beside_predictions_is_not_looked_at(tmp_path):
    beside = ("a.json", "a.png", "a_statistics.json", "per_case.csv", "._a.nii.gz", ".a.partial.nii.gz")
    predictions = folder(tmp_path / "predictions", "a.nii.gz", *beside)
    (predictions / "earlier").mkdir()
    references = folder(tmp_path / "references", "a.nii.gz", "README.txt")
    assert [pair.case_id for pair in pair_files(predictions, references)] == ["a"]


def test_maps_that_were_asked_for_beside_the_labels_are_no_predictions(tmp_path):
    labels = tmp_path / "predictions" / "a.nii.gz"
    paths = OutputPaths.beside(labels, Extras(uncertainty=True, probabilities=True))
    predictions = folder(labels.parent, *(path.name for path in paths.all))
    references = folder(tmp_path / "references", "a.nii.gz")
    assert pair_files(predictions, references) == [Pair("a", labels, references / "a.nii.gz")]


def test_a_case_that_is_called_like_a_map_keeps_its_partner(tmp_path):
    predictions = folder(tmp_path / "predictions", "a.nii.gz", "a_uncertainty.nii.gz")
    references = folder(tmp_path / "references", "a.nii.gz", "a_uncertainty.nii.gz")
    assert [pair.case_id for pair in pair_files(predictions, references)] == ["a", "a_uncertainty"]
    (predictions / "a.nii.gz").unlink()
    (references / "a_uncertainty.nii.gz").unlink()
    with pytest.raises(CaseError, match=r"without a reference in .*: a_uncertainty\.nii\.gz\."):
        pair_files(predictions, references)


def test_two_single_files_pair_whatever_their_names_are(tmp_path):
    prediction = folder(tmp_path / "predictions", "mine.nrrd") / "mine.nrrd"
    reference = folder(tmp_path / "references", "case_7.nii.gz") / "case_7.nii.gz"
    assert pair_files(prediction, reference) == [Pair("case_7", prediction, reference)]


def test_a_file_pairs_with_its_name_in_a_folder(tmp_path):
    prediction = folder(tmp_path / "predictions", "a.nrrd", "b.nrrd") / "a.nrrd"
    references = folder(tmp_path / "references", "a.nii.gz")
    assert pair_files(prediction, references) == [Pair("a", prediction, references / "a.nii.gz")]


def test_a_prediction_without_a_reference_is_named(tmp_path):
    predictions = folder(tmp_path / "predictions", "a.nii.gz", "extra.nii.gz")
    references = folder(tmp_path / "references", "a.nii.gz")
    with pytest.raises(CaseError, match=r"1 prediction file without a reference in .*references: extra\.nii\.gz\."):
        pair_files(predictions, references)


def test_references_without_a_prediction_are_named_and_beyond_five_counted(tmp_path):
    predictions = folder(tmp_path / "predictions", "a.nii.gz")
    references = folder(tmp_path / "references", "a.nii.gz", *(f"r{number}.nii.gz" for number in range(7)))
    named = r"r0\.nii\.gz, r1\.nii\.gz, r2\.nii\.gz, r3\.nii\.gz, r4\.nii\.gz and 2 more\."
    with pytest.raises(CaseError, match=f"7 reference files without a prediction in .*predictions: {named}"):
        pair_files(predictions, references)


def test_two_files_of_one_case_are_refused(tmp_path):
    predictions = folder(tmp_path / "predictions", "a.nii.gz", "a.seg.nrrd")
    references = folder(tmp_path / "references", "a.nii.gz")
    with pytest.raises(CaseError, match=r"holds a\.nii\.gz and a\.seg\.nrrd for one case"):
        pair_files(predictions, references)


def test_a_missing_path_is_named(tmp_path):
    references = folder(tmp_path / "references", "a.nii.gz")
    with pytest.raises(CaseError, match="nowhere does not exist: a label file, or a folder"):
        pair_files(tmp_path / "nowhere", references)


def test_a_folder_without_label_files_is_refused(tmp_path):
    predictions = folder(tmp_path / "predictions", "a.txt")
    references = folder(tmp_path / "references", "a.nii.gz")
    with pytest.raises(CaseError, match=r"predictions holds no label file: a name ending in \.nii\.gz, "):
        pair_files(predictions, references)


def test_a_single_file_of_another_kind_is_refused(tmp_path):
    prediction = folder(tmp_path / "predictions", "a.csv") / "a.csv"
    reference = folder(tmp_path / "references", "a.nii.gz") / "a.nii.gz"
    with pytest.raises(CaseError, match=r"a\.csv is no label file"):
        pair_files(prediction, reference)
