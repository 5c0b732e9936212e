"""Label schemas: what every edition of BraTS means by its values, and what is kept on the way between editions."""

import numpy as np
import pytest

from medseg.data import convert_labels, load_manifest, load_schema, manifest_names, schema_names
from medseg.data.label_schema import LabelSchema
from medseg.errors import DataError, SettingsError

WITH_REGIONS = [name for name in schema_names() if load_schema(name).regions]
REVERSIBLE = [name for name in WITH_REGIONS if name != "brats_2012"]


def every_value(schema: LabelSchema) -> np.ndarray:
    """A volume in which every value of the schema occurs, background included."""
    values = [0, *(label.index for label in schema.labels)]
    return np.random.default_rng(0).choice(np.array(values, np.uint8), size=(9, 8, 7))


@pytest.mark.parametrize("name", REVERSIBLE)
def test_labels_return_from_their_regions(name):
    schema = load_schema(name)
    labels = every_value(schema)
    assert np.array_equal(schema.decode(schema.encode(labels)), labels)
    assert schema.is_reversible


def test_necrosis_and_non_enhancing_tumour_of_the_first_editions_share_their_regions():
    schema = load_schema("brats_2012")
    assert not schema.is_reversible
    assert schema.decode(schema.encode(np.array([0, 1, 2, 3, 4], np.uint8))).tolist() == [0, 1, 2, 1, 4]


@pytest.mark.parametrize("name", WITH_REGIONS)
def test_tumour_regions_nest(name):
    schema = load_schema(name)
    whole, core, enhancing = (
        set(schema.values_of(region)) for region in ("whole_tumor", "tumor_core", "enhancing_tumor")
    )
    assert whole > core > enhancing


@pytest.mark.parametrize(
    ("name", "whole", "core", "enhancing"),
    [
        ("brats_2012", (1, 2, 3, 4), (1, 3, 4), (4,)),
        ("brats_2018", (1, 2, 4), (1, 4), (4,)),
        ("brats_2021", (1, 2, 4), (1, 4), (4,)),
        ("brats_2023", (1, 2, 3), (1, 3), (3,)),
        ("brats_2024_gli", (1, 2, 3), (1, 3), (3,)),
        ("brats_2024_ped", (1, 2, 3, 4), (1, 2, 3), (1,)),
        ("msd_brain_tumour", (1, 2, 3), (2, 3), (3,)),
    ],
)
def test_the_regions_are_those_of_the_edition(name, whole, core, enhancing):
    schema = load_schema(name)
    assert schema.values_of("whole_tumor") == whole
    assert schema.values_of("tumor_core") == core
    assert schema.values_of("enhancing_tumor") == enhancing


def test_the_resection_cavity_lies_outside_the_whole_tumour():
    schema = load_schema("brats_2024_gli")
    assert schema.values_of("resection_cavity") == (4,)
    assert 4 not in schema.values_of("whole_tumor")


def test_regions_go_by_name_in_any_order():
    schema = load_schema("brats_2021")
    order = ["tumor_core", "whole_tumor", "enhancing_tumor"]
    labels = every_value(schema)
    membership = schema.encode(labels, regions=order)
    assert np.array_equal(membership[0], np.isin(labels, (1, 4)))
    assert np.array_equal(schema.decode(membership, regions=order), labels)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("brats_2021", "brats_2023", {0: 0, 1: 1, 2: 2, 4: 3}),
        ("brats_2023", "brats_2018", {0: 0, 1: 1, 2: 2, 3: 4}),
        ("msd_brain_tumour", "brats_2021", {0: 0, 1: 2, 2: 1, 3: 4}),
        ("brats_2012", "brats_2021", {0: 0, 1: 1, 2: 2, 3: 1, 4: 4}),
        (
            "btcv_13",
            "synapse_8",
            {0: 0, 1: 7, 2: 4, 3: 3, 4: 2, 5: 0, 6: 5, 7: 8, 8: 1, 9: 0, 10: 0, 11: 6, 12: 0, 13: 0},
        ),
    ],
)
def test_labels_go_from_edition_to_edition_by_name(source, target, expected):
    source_schema, target_schema = load_schema(source), load_schema(target)
    values = np.array(list(expected), np.uint8)
    assert convert_labels(values, source=source_schema, target=target_schema).tolist() == list(expected.values())


@pytest.mark.parametrize(
    ("one", "other"), [("brats_2021", "brats_2023"), ("brats_2018", "brats_2021"), ("brats_2023", "msd_brain_tumour")]
)
def test_there_and_back_is_the_identity(one, other):
    first, second = load_schema(one), load_schema(other)
    labels = every_value(first)
    there = convert_labels(labels, source=first, target=second)
    assert np.array_equal(convert_labels(there, source=second, target=first), labels)


def test_a_label_without_a_meaning_in_the_other_edition_is_refused_only_where_it_occurs():
    source, target = load_schema("brats_2024_gli"), load_schema("brats_2023")
    with pytest.raises(DataError, match=r"label 4 \(resection_cavity\) of brats_2024_gli means nothing in brats_2023"):
        convert_labels(np.array([0, 4]), source=source, target=target)
    assert convert_labels(np.array([0, 1, 2, 3]), source=source, target=target).tolist() == [0, 1, 2, 3]


def test_values_of_another_edition_are_refused_with_the_editions_they_fit():
    with pytest.raises(DataError, match=r"label value 4 is unknown to the schema brats_2023.*fit .*brats_2021"):
        load_schema("brats_2023").encode(np.array([0, 1, 2, 4]))
    with pytest.raises(DataError, match=r"label value 3 is unknown to the schema brats_2021.*fit .*brats_2023"):
        load_schema("brats_2021").check([0, 1, 2, 3])


def test_a_region_or_schema_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="brats_2021 has no region 'cavity'"):
        load_schema("brats_2021").values_of("cavity")
    with pytest.raises(DataError, match="no label schema 'brats_1999': expected one of acdc"):
        load_schema("brats_1999")


def test_no_region_at_all_is_refused_with_those_there_are():
    schema, empty = load_schema("brats_2021"), np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match=r"no region was asked for, .* whole_tumor, tumor_core, enhancing_tumor"):
        schema.encode(empty, regions=[])
    with pytest.raises(DataError, match="has no regions to tell"):
        schema.model_copy(update={"regions": ()}).encode(empty)


def test_a_region_of_unknown_labels_is_refused():
    values = load_schema("brats_2021").model_dump()
    values["regions"][0]["labels"] = ["cavity"]
    with pytest.raises(SettingsError, match="'cavity' is no label of the schema"):
        LabelSchema.from_mapping(values, source="test")


@pytest.mark.parametrize("name", manifest_names())
def test_every_manifest_names_a_schema_a_licence_and_where_the_data_are(name):
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.label_schema in schema_names()
    assert manifest.licence
    assert manifest.access is not None
    assert manifest.access.url.startswith("http")
    assert manifest.splits is not None or manifest.split_rule is not None


@pytest.mark.parametrize("name", schema_names())
def test_paired_organs_come_in_pairs_and_state_their_side(name):
    labels = load_schema(name).labels
    sides = [label.laterality for label in labels]
    assert sides.count("left") == sides.count("right")
    for label in labels:
        side, _, organ = label.name.partition("_")
        if side in ("left", "right") and organ != "ventricle":  # the heart has one of each
            assert label.laterality == side


def test_transunets_split_is_the_published_one():
    splits = load_manifest("synapse").splits
    assert splits is not None
    assert len(splits.train) == 18
    assert splits.test == (
        "0001", "0002", "0003", "0004", "0008", "0022", "0025", "0029", "0032", "0035", "0036", "0038",
    )  # fmt: skip
