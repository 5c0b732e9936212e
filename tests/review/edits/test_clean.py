"""Pieces and holes whose fate is known."""

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import Limits, fill_holes, fill_holes_in_slices, keep_largest, remove_islands
from medseg.review.pieces import pieces_of

SHAPE = (16, 15, 14)
GRID = Geometry(SHAPE, np.diag([-1.0, 2.0, 2.5, 1.0]))  # one voxel is 0.005 mL


def block(*boxes):
    labels = np.zeros(SHAPE, np.uint8)
    for value, box in boxes:
        labels[box] = value
    return labels


def test_only_the_largest_piece_is_kept_and_other_labels_stay():
    labels = block((1, np.s_[:3, :3, :3]), (1, np.s_[8:12, 8:12, 8:12]), (2, np.s_[5]))
    expected = block((1, np.s_[8:12, 8:12, 8:12]), (2, np.s_[5]))
    np.testing.assert_array_equal(keep_largest(labels, 1), expected)


def test_of_equal_pieces_the_first_in_c_order_is_kept():
    labels = block((1, np.s_[9, 0, 0]), (1, np.s_[2, 12, 12]))
    assert np.argwhere(keep_largest(labels, 1)).tolist() == [[2, 12, 12]]


def test_islands_below_the_volume_go_and_one_of_just_that_volume_stays():
    labels = block((1, np.s_[0, 0, 0:4]), (1, np.s_[4, 4, 0:3]), (1, np.s_[8, 8, 0:5]))
    cleaned = remove_islands(labels, 1, smaller_than_ml=0.02, geometry=GRID)
    np.testing.assert_array_equal(cleaned, block((1, np.s_[0, 0, 0:4]), (1, np.s_[8, 8, 0:5])))


def test_a_cavity_is_filled_and_a_tumour_in_it_stays():
    labels = block((1, np.s_[2:9, 2:9, 2:9]), (0, np.s_[4:7, 4:7, 4:7]), (2, np.s_[5, 5, 5]))
    expected = block((1, np.s_[2:9, 2:9, 2:9]), (2, np.s_[5, 5, 5]))
    np.testing.assert_array_equal(fill_holes(labels, 1), expected)
    all_over = fill_holes(labels, 1, limits=Limits(over=frozenset({0, 2})))
    np.testing.assert_array_equal(all_over, block((1, np.s_[2:9, 2:9, 2:9])))


def test_a_tunnel_is_no_cavity_but_a_hole_in_each_slice_across_it():
    labels = block((1, np.s_[2:9, 2:9, 2:9]), (0, np.s_[5, 5, :]))
    np.testing.assert_array_equal(fill_holes(labels, 1), labels)
    np.testing.assert_array_equal(fill_holes_in_slices(labels, 1, axis=0), labels)
    np.testing.assert_array_equal(fill_holes_in_slices(labels, 1, axis=2), block((1, np.s_[2:9, 2:9, 2:9])))


def test_a_hollow_that_is_open_at_an_edge_only_is_a_cavity_and_at_the_end_of_the_scan_none():
    labels = block((1, np.s_[:5, :5, :5]), (0, np.s_[1:4, 1:4, 1:4]), (0, np.s_[4, 4, 2]))
    assert fill_holes(labels, 1)[1:4, 1:4, 1:4].all()
    open_to_the_end = block((1, np.s_[:5, :5, :5]), (0, np.s_[:4, 1:4, 1:4]))
    np.testing.assert_array_equal(fill_holes(open_to_the_end, 1), open_to_the_end)


@pytest.mark.parametrize(
    "edit",
    [
        keep_largest,
        lambda labels, label: remove_islands(labels, label, smaller_than_ml=1, geometry=GRID),
        fill_holes,
        lambda labels, label: fill_holes_in_slices(labels, label, axis=0),
    ],
)
def test_cleaning_a_label_that_is_nowhere_is_refused(edit):
    with pytest.raises(ReviewError, match="label 7 is nowhere in this case"):
        edit(block((1, np.s_[0])), 7)


@pytest.mark.parametrize("volume_ml", [0.0, -1.0, float("inf")])
def test_a_volume_of_islands_that_makes_no_sense_is_refused(volume_ml):
    with pytest.raises(ReviewError, match="a volume above 0 was expected"):
        remove_islands(block((1, np.s_[0])), 1, smaller_than_ml=volume_ml, geometry=GRID)


def test_the_oedema_of_a_real_tumour_loses_its_specks_and_nothing_else(test_data):
    scan = nib.load(test_data / "BraTS/expert/BraTS2021_00006/BraTS2021_00006_seg.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    sizes = pieces_of(labels == 2).sizes
    assert len(sizes) > 1, "the case was chosen for its specks"
    kept = keep_largest(labels, 2)
    assert np.count_nonzero(kept == 2) == sizes[0]
    for value in (1, 4):
        np.testing.assert_array_equal(kept == value, labels == value)
    geometry = Geometry(labels.shape, scan.affine)
    cleaned = remove_islands(labels, 2, smaller_than_ml=0.05, geometry=geometry)  # 50 voxels of 1 mm³
    assert np.count_nonzero(cleaned == 2) == sum(size for size in sizes if size >= 50)
