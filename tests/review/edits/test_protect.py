"""Locked labels: no edit takes a voxel from one or gives one to it."""

import numpy as np
import pytest

from medseg.data import load_schema
from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import (
    ANY_LABEL,
    Limits,
    Sides,
    copy_slice,
    edit_region,
    erase_region,
    fill_holes,
    fill_holes_in_slices,
    grow,
    interpolate_slices,
    keep_largest,
    keep_protected,
    merge,
    nested_regions,
    paint_region,
    remove_islands,
    replace_between,
    shrink,
    smooth,
    split_at_seeds,
    split_left_right,
    split_pieces_left_right,
    swap,
)

GRID = Geometry((24, 22, 20), np.diag([1.0, 0.8, 1.5, 1.0]))
LIMITS = Limits(protected=frozenset({3}), over=ANY_LABEL)
SIDES = Sides(left=1, right=4, x_mm=11.0)
BRATS = nested_regions(load_schema("brats_2021"))
STROKE = np.random.default_rng(5).random(GRID.shape) > 0.5

EDITS = {
    "grow": lambda labels, limits: grow(labels, 1, by_mm=2, geometry=GRID, limits=limits),
    "shrink": lambda labels, limits: shrink(labels, 1, by_mm=0.8, geometry=GRID, limits=limits),
    "smooth": lambda labels, limits: smooth(labels, 1, sigma_mm=1, geometry=GRID, limits=limits),
    "keep_largest": lambda labels, limits: keep_largest(labels, 1, limits=limits),
    "remove_islands": lambda labels, limits: remove_islands(
        labels, 1, smaller_than_ml=0.01, geometry=GRID, limits=limits
    ),
    "fill_holes": lambda labels, limits: fill_holes(labels, 1, limits=limits),
    "fill_holes_in_slices": lambda labels, limits: fill_holes_in_slices(labels, 1, axis=1, limits=limits),
    "interpolate_slices": lambda labels, limits: interpolate_slices(labels, 5, axis=2, geometry=GRID, limits=limits),
    "copy_slice": lambda labels, limits: copy_slice(labels, 1, axis=2, source=12, target=8, limits=limits),
    "replace_between": lambda labels, limits: replace_between(
        labels, 1, axis=2, slices=(6, 13), geometry=GRID, limits=limits
    ),
    "swap": lambda labels, limits: swap(labels, 1, 2, limits=limits),
    "merge": lambda labels, limits: merge(labels, 1, into=2, limits=limits),
    "split": lambda labels, limits: split_left_right(labels, 1, sides=SIDES, geometry=GRID, limits=limits),
    "split_pieces": lambda labels, limits: split_pieces_left_right(
        labels, 1, sides=SIDES, geometry=GRID, limits=limits
    ),
    "split_at_seeds": lambda labels, limits: split_at_seeds(
        labels, 1, seeds={1: (5, 5, 5), 4: (12, 12, 12)}, geometry=GRID, limits=limits
    ),
    "edit_region": lambda labels, limits: edit_region(
        labels, lambda mask: grow(mask, 1, by_mm=2, geometry=GRID), region="tumor_core", regions=BRATS, limits=limits
    ),
    "paint_region": lambda labels, limits: paint_region(
        labels, STROKE, region="enhancing_tumor", regions=BRATS, limits=limits
    ),
    "erase_region": lambda labels, limits: erase_region(
        labels, STROKE, region="whole_tumor", regions=BRATS, limits=limits
    ),
}


@pytest.fixture
def labels():
    """A hollow block of 1 with an island, blocks of 2 and 3 that touch it, 3 in its hollow, 5 on two slices."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[4:14, 4:14, 4:14] = 1
    labels[7:11, 7:11, 7:11] = 0
    labels[8, 8, 8] = 3
    labels[4:14, 14:17, 4:14] = 2
    labels[14:18, 4:14, 4:14] = 3
    labels[20, 20, 3] = labels[21, 2, 2] = 1
    labels[2:18, 2:18, 1] = labels[2:18, 2:18, 17] = 5
    return labels


@pytest.mark.parametrize("name", EDITS)
def test_no_edit_changes_a_locked_label_or_its_arguments(name, labels):
    labels.setflags(write=False)
    before = labels.copy()
    edited = EDITS[name](labels, LIMITS)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(edited == 3, labels == 3)
    assert edited.dtype == np.uint8
    assert np.count_nonzero(edited != labels), "an edit that does nothing would keep every lock"


ASKED = {"swap", "merge", "split", "split_pieces", "split_at_seeds", "paint_region", "erase_region", "edit_region"}
"""Edits whose very purpose is to change other labels."""


@pytest.mark.parametrize("name", sorted(EDITS.keys() - ASKED))
def test_an_edit_adds_its_label_to_background_alone_by_default(name, labels):
    edited = EDITS[name](labels, Limits())
    label = 5 if name == "interpolate_slices" else 1
    others = (labels != 0) & (labels != label)
    np.testing.assert_array_equal(edited[others], labels[others])


def test_a_voxel_that_would_gain_a_locked_value_is_put_back_too():
    before, after = np.array([1, 3, 0, 2], np.uint8), np.array([3, 1, 0, 1], np.uint8)
    assert keep_protected(before, after, frozenset({3})).tolist() == [1, 3, 0, 1]
    assert keep_protected(before, after, frozenset()).tolist() == [3, 1, 0, 1]


def test_a_locked_background_is_neither_grown_into_nor_left_behind():
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    geometry = Geometry(labels.shape, np.eye(4))
    limits = Limits(protected=frozenset({0}))
    np.testing.assert_array_equal(grow(labels, 1, by_mm=1, geometry=geometry, limits=limits), labels)
    np.testing.assert_array_equal(shrink(labels, 1, by_mm=1, geometry=geometry, limits=limits), labels)


def test_limits_say_what_may_be_changed():
    limits = Limits(protected=frozenset({0, 3}), over=frozenset({0, 2, 3}))
    values = np.array([0, 1, 2, 3, 4], np.uint8)
    assert limits.editable(values).tolist() == [False, True, True, False, True]
    assert limits.free_for(1, values).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(("label", "reason"), [(3, "label 3 is locked"), (256, "256 is no label")])
def test_a_locked_label_is_not_edited(label, reason):
    with pytest.raises(ReviewError, match=reason):
        Limits(protected=frozenset({3})).require_unlocked(1, label)
