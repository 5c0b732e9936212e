"""Label values follow the edition of BraTS that a case's files are named after."""

from pathlib import Path

import numpy as np
import pytest

from medseg.bundle.edition import in_the_cases_edition
from medseg.data import load_schema
from medseg.geometry import Geometry
from medseg.io import CaseFiles, ChannelFile
from medseg.segmentation import Segmentation

LABELS = np.array([0, 1, 2, 4], np.uint8).reshape(2, 2, 1)


def segmented(schema: str) -> Segmentation:
    return Segmentation(
        labels=LABELS, geometry=Geometry((2, 2, 1), np.eye(4)), label_table=load_schema(schema).label_table
    )


def case_of(*names: str) -> CaseFiles:
    return CaseFiles("case", tuple(ChannelFile(name, Path(name)) for name in names))


@pytest.mark.parametrize("stem", ["BraTS-GLI-00001-000", "BraTS-MET-00012-100", "BraTS-SSA-00003-000"])
def test_cases_since_2023_get_the_value_3_for_enhancing_tumour(stem):
    case = case_of(*(f"{stem}-{word}.nii.gz" for word in ("t2f", "t1c", "t1n", "t2w")))
    found, notes = in_the_cases_edition(segmented("brats_2021"), case, load_schema("brats_2021"))
    assert found.labels.ravel().tolist() == [0, 1, 2, 3]
    assert found.label_table.names[-1] == "enhancing_tumor"
    assert "2023" in notes[0]


@pytest.mark.parametrize(
    "name", ["BraTS2021_00006_t1ce.nii.gz", "BraTS20_Training_001_flair.nii", "patient_t1c.nii.gz"]
)
def test_other_cases_keep_the_values_of_the_model(name):
    found, notes = in_the_cases_edition(segmented("brats_2021"), case_of(name), load_schema("brats_2021"))
    assert found.labels.ravel().tolist() == [0, 1, 2, 4]
    assert notes == ()


def test_models_of_other_tasks_are_left_alone():
    case = case_of("BraTS-GLI-00001-000-t1c.nii.gz")
    schema = load_schema("msd_hippocampus")
    labels = Segmentation(
        labels=np.ones((2, 2, 1), np.uint8), geometry=Geometry((2, 2, 1), np.eye(4)), label_table=schema.label_table
    )
    assert in_the_cases_edition(labels, case, schema)[0] is labels
