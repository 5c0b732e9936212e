import nibabel as nib
import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.geometry import Geometry
from medseg.review.edits import grow
from medseg.review.measure import LabelChange, compare_labels


def test_voxels_that_were_gained_and_lost_are_counted_for_each_label():
    before = np.array([[[1, 1, 1, 2, 0, 0, 7]]], np.uint8)
    after = np.array([[[1, 1, 2, 2, 1, 0, 0]]], np.uint8)
    geometry = Geometry(before.shape, np.diag([10.0, 10.0, 10.0, 1.0]))  # one voxel is one mL
    ml = pytest.approx
    assert compare_labels(before, after, geometry=geometry) == (
        LabelChange(1, gained=1, lost=1, before_ml=ml(3), after_ml=ml(3), dice=pytest.approx(4 / 6)),
        LabelChange(2, gained=1, lost=0, before_ml=ml(1), after_ml=ml(2), dice=pytest.approx(2 / 3)),
        LabelChange(7, gained=0, lost=1, before_ml=ml(1), after_ml=0.0, dice=0.0),
    )


def test_an_empty_case_has_nothing_to_compare():
    empty = np.zeros((3, 3, 3), np.uint8)
    assert compare_labels(empty, empty, geometry=Geometry(empty.shape, np.eye(4))) == ()


def test_maps_of_two_scans_are_refused():
    with pytest.raises(GeometryError, match="two of one scan were expected"):
        compare_labels(
            np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), geometry=Geometry((3, 3, 3), np.eye(4))
        )


def test_a_grown_hippocampus_gained_what_was_grown_and_lost_nothing(test_data):
    scan = nib.load(test_data / "Task04_Hippocampus/labelsTr/hippocampus_001.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    geometry = Geometry(labels.shape, scan.affine)
    grown = grow(labels, 1, by_mm=1.0, geometry=geometry)
    first, second = compare_labels(labels, grown, geometry=geometry)
    n = np.count_nonzero(labels == 1)
    assert (first.lost, first.gained) == (0, np.count_nonzero(grown == 1) - n)
    assert first.dice == pytest.approx(2 * n / (2 * n + first.gained))
    assert (second.gained, second.lost, second.dice) == (0, 0, 1.0)
