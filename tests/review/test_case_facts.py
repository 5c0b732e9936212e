from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.review import worklist_from_folder
from medseg.review.case_facts import to_review


def brats_case(folder: Path, name: str, words: tuple[str, ...], *, values: tuple[int, ...]) -> Path:
    labels = np.zeros((6, 6, 6), np.uint8)
    for place, value in enumerate(values):
        labels[place] = value
    mark = "_" if "_" in name else "-"
    (folder / name).mkdir(parents=True)
    for number, word in enumerate(words):
        image = np.random.default_rng(number).normal(size=labels.shape).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / name / f"{name}{mark}{word}.nii.gz")
    nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / name / f"{name}{mark}seg.nii.gz")
    return folder


EARLY, LATE = ("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f")


@pytest.mark.parametrize(
    ("name", "words", "values", "enhancing"),
    [
        ("BraTS2021_00006", EARLY, (1, 2, 4), 4),
        ("BraTS20_Training_001", EARLY, (1, 2, 4), 4),
        ("BraTS-GLI-00001-000", LATE, (1, 2, 3), 3),
        ("BraTS-MET-00001-000", LATE, (1, 2, 3), 3),
    ],
)
def test_a_brats_case_gets_the_labels_of_the_edition_it_is_named_after(tmp_path, name, words, values, enhancing):
    worklist = worklist_from_folder(brats_case(tmp_path, name, words, values=values))
    case = to_review(worklist.cases[0], worklist)
    named = {label.name: label.index for label in case.label_table}
    assert named["enhancing_tumor"] == enhancing
    assert case.regions is not None
    assert len(case.regions.names) == 3


@pytest.mark.parametrize(
    ("name", "values"), [("BraTS-GLI-00001-100", (1, 2, 3, 4)), ("BraTS-PED-00001-000", (1, 2, 3))]
)
def test_a_case_whose_values_may_mean_something_else_is_given_no_names(tmp_path, name, values):
    worklist = worklist_from_folder(brats_case(tmp_path, name, LATE, values=values))
    case = to_review(worklist.cases[0], worklist)
    assert case.label_table.names == tuple(f"label {value}" for value in values)
    assert case.regions is None
