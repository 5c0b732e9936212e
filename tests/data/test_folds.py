"""Folds: every training case held out once, patients whole, test cases untouched."""

import pytest

from medseg.data import DataManifest, Splits, k_folds, load_manifest
from medseg.data.splits import SplitRule
from medseg.errors import DataError


@pytest.fixture
def manifest() -> DataManifest:
    return load_manifest("msd_hippocampus")


@pytest.mark.parametrize("n_folds", [2, 5, 7])
def test_every_case_but_those_of_the_test_is_held_out_once(n_folds, manifest):
    folds = k_folds(manifest, n_folds)
    assert len(folds) == n_folds
    pool = {*manifest.splits.train, *manifest.splits.validation}
    held_out = [case_id for fold in folds for case_id in fold.splits.test]
    assert sorted(held_out) == sorted(pool)
    for fold in folds:
        assert {*fold.splits.train, *fold.splits.test} == pool
        assert not fold.splits.validation
    sizes = [len(fold.splits.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_depend_on_the_case_ids_alone(manifest):
    turned = manifest.model_copy(
        update={"splits": Splits(train=manifest.splits.train[::-1] + manifest.splits.validation)}
    )
    assert [fold.splits for fold in k_folds(manifest, 5)] == [fold.splits for fold in k_folds(turned, 5)]


def test_cases_of_one_patient_stay_together(manifest):
    case_ids = [f"p{patient:02d}_{visit}" for patient in range(9) for visit in "ab"]
    visits = manifest.model_copy(
        update={"splits": Splits(train=tuple(case_ids)), "split_rule": SplitRule(patient=r"p\d+")}
    )
    for fold in k_folds(visits, 3):
        patients = [case_id.split("_")[0] for case_id in fold.splits.test]
        assert all(patients.count(patient) == 2 for patient in patients)


@pytest.mark.parametrize("n_folds", [0, 1, 181])
def test_folds_that_leave_nothing_to_train_on_are_refused(n_folds, manifest):
    with pytest.raises(DataError, match=r"180 patients to train on, .* choose 2 to 180"):
        k_folds(manifest, n_folds)
