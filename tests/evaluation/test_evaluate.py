"""Evaluation of label files: small masks whose scores are known, the policy for empty ones, and what is refused."""

import math
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import CaseError, GeometryError, ImageError, SettingsError
from medseg.evaluation import Evaluation, Outcome, Pair, evaluate_pairs
from medseg.labels import LabelTable

SHAPE = (12, 10, 8)
AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 2.0, -40], [0, 0, 0, 1]])

Block = tuple[slice, slice, slice]
CUBE: Block = (slice(2, 6), slice(2, 6), slice(2, 6))
SHIFTED: Block = (slice(3, 7), slice(2, 6), slice(2, 6))
CORNER: Block = (slice(0, 1), slice(0, 1), slice(0, 1))


def write_labels(path: Path, blocks: Mapping[int, Block], *, affine: np.ndarray = AFFINE, dtype=np.uint16) -> Path:
    """A NIfTI label file in which each value fills its block."""
    labels = np.zeros(SHAPE, dtype=dtype)
    for value, block in blocks.items():
        labels[block] = value
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


def pair(folder: Path, prediction: Mapping[int, Block], reference: Mapping[int, Block], *, case_id: str = "a") -> Pair:
    """A case written to disk."""
    return Pair(
        case_id,
        write_labels(folder / f"{case_id}_prediction.nii.gz", prediction),
        write_labels(folder / f"{case_id}_reference.nii.gz", reference),
    )


def evaluated(*pairs: Pair, names: tuple[str, ...] = ()) -> Evaluation:
    """The evaluation at 1 mm, with a label table of these names where there are any."""
    entries = [{"index": index, "name": name, "color": (0, 0, 0)} for index, name in enumerate(names, start=1)]
    table = LabelTable.from_entries(entries, source="test") if entries else None
    return evaluate_pairs(pairs, label_table=table, tolerance_mm=1)


def test_a_cube_shifted_by_one_voxel(tmp_path):
    (score,) = evaluated(pair(tmp_path, {1: SHIFTED}, {1: CUBE})).scores
    assert score.dice == pytest.approx(0.75)
    assert score.iou == pytest.approx(0.6)
    assert score.volume_reference_ml == score.volume_prediction_ml == pytest.approx(64 * 2 / 1000)
    assert score.volume_difference_ml == 0
    assert score.hd95_mm == pytest.approx(1)
    assert score.nsd == 1
    assert score.outcome is Outcome.BOTH_PRESENT


def test_volume_difference_is_prediction_minus_reference(tmp_path):
    (score,) = evaluated(pair(tmp_path, {1: CORNER}, {1: CUBE})).scores
    assert score.volume_difference_ml == pytest.approx((1 - 64) * 2 / 1000)


@pytest.mark.parametrize(
    ("prediction", "reference", "outcome"),
    [({2: CORNER}, {1: CUBE, 2: CORNER}, "prediction_empty"), ({1: CUBE, 2: CORNER}, {2: CORNER}, "reference_empty")],
)
def test_a_structure_in_one_mask_only_counts_with_the_worst_value(tmp_path, prediction, reference, outcome):
    score = evaluated(pair(tmp_path, prediction, reference), names=("organ", "corner")).of_label("organ")[0]
    assert score.outcome == outcome
    assert (score.dice, score.iou, score.nsd) == (0, 0, 0)
    assert score.hd95_mm == pytest.approx(math.hypot(12 * 1, 10 * 1, 8 * 2))


def test_a_structure_in_neither_mask_has_no_metrics(tmp_path):
    score = evaluated(pair(tmp_path, {1: CUBE}, {1: CUBE}), names=("organ", "other")).of_label("other")[0]
    assert score.outcome is Outcome.BOTH_EMPTY
    assert (score.dice, score.iou, score.hd95_mm, score.nsd) == (None, None, None, None)


def test_without_a_label_table_every_value_of_any_file_is_a_label_of_every_case(tmp_path):
    evaluation = evaluated(
        pair(tmp_path, {7: CUBE}, {7: CUBE}, case_id="a"), pair(tmp_path, {300: CORNER}, {2: CUBE}, case_id="b")
    )
    assert evaluation.label_names == ("2", "7", "300")
    assert [(score.case_id, score.name, score.outcome.value) for score in evaluation.scores] == [
        ("a", "2", "both_empty"),
        ("a", "7", "both_present"),
        ("a", "300", "both_empty"),
        ("b", "2", "prediction_empty"),
        ("b", "7", "both_empty"),
        ("b", "300", "reference_empty"),
    ]


def test_each_label_is_measured_by_itself_within_one_file(tmp_path):
    blocks = {1: CUBE, 2: CORNER}
    one = evaluated(pair(tmp_path, {1: SHIFTED, 2: CORNER}, blocks), names=("organ", "corner"))
    assert [round(score.dice or 0, 6) for score in one.scores] == [0.75, 1.0]


def test_formats_and_number_types_may_differ_when_the_grid_is_the_same(tmp_path):
    reference = write_labels(tmp_path / "a.nii.gz", {1: CUBE}, dtype=np.float32)
    prediction = tmp_path / "a.nrrd"
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(reference), sitk.sitkUInt16), prediction)
    (score,) = evaluated(Pair("a", prediction, reference)).scores
    assert score.dice == 1


def test_different_grids_are_refused_with_both_named(tmp_path):
    moved = AFFINE.copy()
    moved[2, 3] += 1
    prediction = write_labels(tmp_path / "prediction.nii.gz", {1: CUBE}, affine=moved)
    reference = write_labels(tmp_path / "reference.nii.gz", {1: CUBE})
    grids = (
        r"\(12×10×8 voxels of 1×1×2 mm, LPS, origin \(20\.00, 30\.00, -39\.00\)\).*origin \(20\.00, 30\.00, -40\.00\)"
    )
    with pytest.raises(GeometryError, match=f"case_3: the prediction lies on another grid {grids}"):
        evaluated(Pair("case_3", prediction, reference))


def test_grids_that_differ_by_the_rounding_of_a_header_are_the_same(tmp_path):
    rounded = AFFINE.copy()
    rounded[:3, 3] += 0.004
    prediction = write_labels(tmp_path / "prediction.nii.gz", {1: CUBE}, affine=rounded)
    reference = write_labels(tmp_path / "reference.nii.gz", {1: CUBE})
    assert evaluated(Pair("a", prediction, reference)).scores[0].dice == 1


@pytest.mark.parametrize(
    ("prediction", "reference", "culprit"),
    [({1: CUBE, 3: CORNER}, {1: CUBE}, "prediction"), ({1: CUBE}, {1: CUBE, 3: CORNER}, "reference")],
)
def test_values_that_the_label_table_does_not_have_are_refused(tmp_path, prediction, reference, culprit):
    message = rf"a_{culprit}\.nii\.gz holds the value 3, which the label table does not have \(0 background, 1 organ\)"
    with pytest.raises(ImageError, match=message):
        evaluated(pair(tmp_path, prediction, reference), names=("organ",))


def test_an_image_in_place_of_labels_is_refused(tmp_path):
    prediction = write_labels(tmp_path / "prediction.nii.gz", {70_000: CUBE}, dtype=np.int32)
    reference = write_labels(tmp_path / "reference.nii.gz", {1: CUBE})
    with pytest.raises(ImageError, match=r"prediction\.nii\.gz holds the value 70000: labels from 0 to 65535"):
        evaluated(Pair("a", prediction, reference))


@pytest.mark.parametrize("tolerance_mm", [-0.5, math.nan, math.inf])
def test_a_tolerance_that_is_no_distance_is_refused(tmp_path, tolerance_mm):
    with pytest.raises(SettingsError, match="a finite number of 0 or more was expected"):
        evaluate_pairs([pair(tmp_path, {1: CUBE}, {1: CUBE})], label_table=None, tolerance_mm=tolerance_mm)


def test_two_cases_of_one_name_are_refused(tmp_path):
    case = pair(tmp_path, {1: CUBE}, {1: CUBE})
    with pytest.raises(CaseError, match="two pairs are called a"):
        evaluated(case, case)


def test_no_pair_and_no_label_are_refused(tmp_path):
    with pytest.raises(CaseError, match="no pair of files found"):
        evaluated()
    with pytest.raises(CaseError, match="no file holds a value other than 0"):
        evaluated(pair(tmp_path, {}, {}))


def test_expert_labels_agree_fully_with_themselves(test_data):
    labels = sorted((test_data / "Task04_Hippocampus" / "labelsTr").glob("*.nii.gz"))[:5]
    evaluation = evaluated(*(Pair(path.name, path, path) for path in labels), names=("anterior", "posterior"))
    assert len(evaluation.scores) == 10
    assert {(score.dice, score.iou, score.hd95_mm, score.nsd) for score in evaluation.scores} == {(1, 1, 0, 1)}
