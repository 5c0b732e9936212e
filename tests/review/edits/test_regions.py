"""Nested regions: every edition's table, and a nesting that no order of strokes breaks."""

import nibabel as nib
import numpy as np
import pytest

from medseg.data import load_schema, schema_names
from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import (
    Limits,
    NestedRegion,
    NestedRegions,
    edit_region,
    erase_region,
    grow,
    nested_regions,
    paint_region,
    shrink,
)

NESTED = [
    "brats_2012", "brats_2018", "brats_2021", "brats_2023", "brats_2024_gli", "brats_2024_ped", "msd_brain_tumour"
]  # fmt: skip
WT, TC, ET = "whole_tumor", "tumor_core", "enhancing_tumor"


def one_voxel(edit, schema, region, value, limits=None):
    regions = nested_regions(load_schema(schema))
    labels = np.array([value, value], np.uint8)
    chosen = {} if limits is None else {"limits": limits}
    edited = edit(labels, np.array([True, False]), region=region, regions=regions, **chosen)
    assert edited[1] == value, "outside the stroke nothing changes"
    return int(edited[0])


def test_the_schemas_with_regions_in_one_another_are_edited_as_regions():
    assert [name for name in schema_names() if nested_regions(load_schema(name)) is not None] == NESTED


@pytest.mark.parametrize(
    ("schema", "region", "before", "after"),
    [
        ("brats_2021", ET, 0, 4),
        ("brats_2021", ET, 2, 4),
        ("brats_2021", TC, 4, 4),
        ("brats_2021", TC, 2, 1),
        ("brats_2021", WT, 0, 2),
        ("brats_2021", WT, 1, 1),
        ("brats_2021", WT, 4, 4),
        ("brats_2023", ET, 1, 3),
        ("brats_2012", TC, 3, 3),
        ("brats_2012", TC, 2, 1),
        ("brats_2024_ped", ET, 3, 1),
        ("brats_2024_ped", TC, 4, 2),
        ("brats_2024_ped", "cystic_component", 1, 3),
        ("brats_2024_ped", WT, 0, 4),
        ("brats_2024_gli", WT, 4, 2),
        ("brats_2024_gli", "resection_cavity", 3, 4),
    ],
)
def test_painting_a_region_gives_its_shell_to_what_is_outside_it(schema, region, before, after):
    assert one_voxel(paint_region, schema, region, before) == after


@pytest.mark.parametrize(
    ("schema", "region", "before", "after"),
    [
        ("brats_2021", ET, 4, 1),
        ("brats_2021", ET, 1, 1),
        ("brats_2021", TC, 4, 2),
        ("brats_2021", TC, 1, 2),
        ("brats_2021", TC, 2, 2),
        ("brats_2021", WT, 4, 0),
        ("brats_2021", WT, 0, 0),
        ("brats_2023", TC, 3, 2),
        ("brats_2012", TC, 3, 2),
        ("brats_2024_ped", ET, 1, 2),
        ("brats_2024_ped", "cystic_component", 3, 2),
        ("brats_2024_ped", TC, 3, 4),
        ("brats_2024_gli", WT, 4, 4),
        ("brats_2024_gli", "resection_cavity", 4, 0),
    ],
)
def test_erasing_a_region_gives_the_shell_of_the_region_around_it(schema, region, before, after):
    assert one_voxel(erase_region, schema, region, before) == after


@pytest.mark.parametrize("schema", NESTED)
def test_after_any_strokes_a_region_holds_the_one_inside_it_and_strokes_do_what_they_say(schema):
    loaded = load_schema(schema)
    regions = nested_regions(loaded)
    rng = np.random.default_rng(11)
    labels = rng.choice([0, *(label.index for label in loaded.labels)], (8, 9, 10)).astype(np.uint8)
    for _ in range(40):
        stroke = rng.random(labels.shape) < 0.3
        name = str(rng.choice(regions.names))
        is_painting = bool(rng.integers(2))
        edit = paint_region if is_painting else erase_region
        before = {region: np.isin(labels, loaded.values_of(region)) for region in regions.names}
        labels = edit(labels, stroke, region=name, regions=regions)
        after = {region: np.isin(labels, loaded.values_of(region)) for region in regions.names}
        expected = before[name] | stroke if is_painting else before[name] & ~stroke
        np.testing.assert_array_equal(after[name], expected)
        assert not (after[ET] & ~after[TC]).any()
        assert not (after[TC] & ~after[WT]).any()


def test_a_locked_label_is_neither_painted_over_nor_erased():
    locked = Limits(protected=frozenset({1}))
    assert one_voxel(paint_region, "brats_2021", ET, 1, locked) == 1
    assert one_voxel(paint_region, "brats_2021", ET, 2, locked) == 4
    assert one_voxel(erase_region, "brats_2021", ET, 4, locked) == 4, "erasing would give a voxel to a locked label"


def test_names_run_from_the_outermost_region_to_the_innermost():
    assert nested_regions(load_schema("brats_2021")).names == (WT, TC, ET)
    assert nested_regions(load_schema("brats_2024_ped")).names[:2] == (WT, TC)


def test_an_unknown_region_is_refused_with_those_there_are():
    with pytest.raises(ReviewError, match="no region 'necrosis' here: expected one of whole_tumor, tumor_core"):
        one_voxel(paint_region, "brats_2021", "necrosis", 0)


@pytest.mark.parametrize(
    ("regions", "reason"),
    [
        ([("a", {1, 2}, 1), ("b", {2, 3}, 3)], "regions a and b overlap, but none lies in the other"),
        ([("a", {1, 2}, 3)], "region a paints 3, which is none of its labels"),
        ([("a", {1, 2}, 2), ("b", {2}, 2)], "the label that a paints lies in b"),
    ],
)
def test_regions_that_cannot_be_kept_apart_are_refused(regions, reason):
    with pytest.raises(ReviewError, match=reason):
        NestedRegions(tuple(NestedRegion(name, frozenset(values), shell) for name, values, shell in regions))


def test_erasing_the_core_of_a_real_tumour_leaves_a_tumour_of_the_same_extent(test_data):
    scan = nib.load(test_data / "BraTS/expert/BraTS2021_00006/BraTS2021_00006_seg.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    regions = nested_regions(load_schema("brats_2021"))
    stroke = np.zeros(labels.shape, bool)
    stroke[tuple(slice(a.min(), (a.min() + a.max()) // 2) for a in np.nonzero(labels))] = True
    edited = erase_region(labels, stroke, region=TC, regions=regions)
    np.testing.assert_array_equal(edited > 0, labels > 0)
    assert not np.isin(edited[stroke], (1, 4)).any()
    assert np.count_nonzero(edited != labels) == np.count_nonzero(stroke & np.isin(labels, (1, 4))) > 0


def nested_line(*values):
    """Values along i, each five by five across."""
    return np.repeat(np.array(values, np.uint8), 25).reshape(-1, 5, 5)


def line_of(labels):
    return labels[:, 2, 2].tolist()


@pytest.mark.parametrize(
    ("before", "limits", "after"),
    [
        ([0, 2, 2, 1, 4, 1, 2, 0], Limits(), [0, 2, 1, 1, 4, 1, 1, 0]),
        ([0, 0, 0, 1, 4, 1, 2, 0], Limits(), [0, 0, 1, 1, 4, 1, 1, 0]),
        ([0, 0, 7, 1, 4, 1, 2, 0], Limits(), [0, 0, 7, 1, 4, 1, 1, 0]),
        ([0, 0, 7, 1, 4, 1, 2, 0], Limits(over=frozenset({7})), [0, 0, 1, 1, 4, 1, 1, 0]),
        ([0, 2, 2, 1, 4, 1, 2, 0], Limits(protected=frozenset({2})), [0, 2, 2, 1, 4, 1, 2, 0]),
    ],
)
def test_a_region_grows_into_the_shell_of_the_region_around_it(before, limits, after):
    labels = nested_line(*before)
    regions = nested_regions(load_schema("brats_2021"))
    geometry = Geometry(labels.shape, np.eye(4))
    edited = edit_region(
        labels, lambda mask: grow(mask, 1, by_mm=1, geometry=geometry), region=TC, regions=regions, limits=limits
    )
    assert line_of(edited) == after


def test_what_a_region_loses_goes_to_the_region_around_it():
    labels = nested_line(0, 2, 1, 4, 4, 4, 2, 0)
    regions = nested_regions(load_schema("brats_2021"))
    geometry = Geometry(labels.shape, np.eye(4))

    def smaller(mask):
        return shrink(mask, 1, by_mm=1, geometry=geometry)

    assert line_of(edit_region(labels, smaller, region=ET, regions=regions)) == [0, 2, 1, 1, 4, 1, 2, 0]
    assert line_of(edit_region(labels, smaller, region=TC, regions=regions)) == [0, 2, 2, 4, 4, 2, 2, 0]
    assert line_of(edit_region(labels, smaller, region=WT, regions=regions)) == [0, 0, 1, 4, 4, 4, 0, 0]


def test_a_sibling_is_not_grown_over():
    labels = nested_line(0, 4, 3, 1, 2, 4, 0)  # paediatric: 4 oedema, 3 cyst, 1 enhancing, 2 non-enhancing
    regions = nested_regions(load_schema("brats_2024_ped"))
    geometry = Geometry(labels.shape, np.eye(4))
    edited = edit_region(labels, lambda mask: grow(mask, 1, by_mm=1, geometry=geometry), region=ET, regions=regions)
    assert line_of(edited) == [0, 4, 3, 1, 1, 4, 0]


def test_editing_a_region_that_is_nowhere_is_refused():
    with pytest.raises(ReviewError, match="region enhancing_tumor is nowhere in this case"):
        edit_region(nested_line(0, 2, 1), np.copy, region=ET, regions=nested_regions(load_schema("brats_2021")))


def test_the_rim_that_real_enhancement_loses_stays_tumour_core(test_data):
    scan = nib.load(test_data / "BraTS/expert/BraTS2021_00006/BraTS2021_00006_seg.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    geometry = Geometry(labels.shape, scan.affine)
    edited = edit_region(
        labels,
        lambda mask: shrink(mask, 1, by_mm=1, geometry=geometry),
        region=ET,
        regions=nested_regions(load_schema("brats_2021")),
    )
    lost = (labels == 4) & (edited != 4)
    assert lost.any()
    assert (edited[lost] == 1).all()
    np.testing.assert_array_equal(edited[~lost], labels[~lost])
