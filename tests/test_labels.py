"""Label tables: unique, ordered, and an error that a person can act on."""

import pytest
from pydantic import ValidationError

from medseg.errors import SettingsError
from medseg.labels import Label, LabelTable

SPLEEN = {"index": 1, "name": "spleen", "color": [157, 108, 162]}
LIVER = {"index": 2, "name": "liver", "color": [221, 130, 101]}


def test_a_table_stands_in_the_order_of_its_voxel_values():
    table = LabelTable.from_entries([LIVER, SPLEEN], source="labels")
    assert table.names == ("spleen", "liver")
    assert [label.index for label in table] == [1, 2]
    assert len(table) == 2


def test_a_coded_concept_is_of_snomed_ct_unless_it_says_otherwise():
    entry = SPLEEN | {"concept": {"value": "78961009", "meaning": "Spleen"}}
    (label,) = LabelTable.from_entries([entry], source="labels")
    assert label.concept is not None
    assert (label.concept.scheme, label.concept.value) == ("SCT", "78961009")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([SPLEEN, LIVER | {"index": 1}], "label index 1 stands twice"),
        ([SPLEEN, LIVER | {"name": "spleen"}], "label name 'spleen' stands twice"),
        ([SPLEEN | {"index": 0}], "labels.0.index"),
        ([SPLEEN | {"index": 256}], "labels.0.index"),
        ([SPLEEN | {"name": ""}], "labels.0.name"),
        ([SPLEEN | {"color": [0, 0, 256]}], "three parts from 0 to 255"),
        ([SPLEEN | {"colour": [0, 0, 0]}], "colour"),
        ([SPLEEN | {"index": "one"}, LIVER], "labels.0.index"),
        ([], "labels"),
        (None, "labels"),
        ({"1": "spleen"}, "labels"),
        (["spleen"], "labels.0"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line_that_names_its_source(entries, reason):
    with pytest.raises(SettingsError) as refusal:
        LabelTable.from_entries(entries, source="bundle x: labels")
    message = str(refusal.value)
    assert message.startswith("bundle x: labels: ")
    assert reason in message
    assert "\n" not in message


def test_a_label_cannot_be_changed():
    label = Label(index=1, name="spleen", color=(0, 0, 0))
    with pytest.raises(ValidationError):
        label.index = 2


@pytest.mark.parametrize(("index", "name", "is_same"), [(1, "liver", True), (2, "liver", False), (1, "spleen", False)])
def test_tables_mean_the_same_when_values_have_the_same_names(index, name, is_same):
    table = LabelTable(labels=(Label(index=1, name="liver", color=(200, 0, 0)),))
    other = LabelTable(labels=(Label(index=index, name=name, color=(0, 0, 9)),))
    assert table.means_the_same_as(other) is is_same
