"""Segments of a DICOM SEG: which structure each label value is, by its coded concept.

MONAI Label hands dcmqi a description of the labels that are present, in their order, and calls whatever it is not
told "Anatomical Structure". Here every present value gets the concept of the model's label table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.labels import CodedConcept, Label, LabelTable

__all__ = ["SIDES", "coded_segments"]

ALGORITHM = "medseg"
CATEGORY = CodedConcept(value="123037004", meaning="Anatomical Structure")
UNKNOWN_TYPE = CodedConcept(value="85756007", meaning="Tissue")
SIDES = {
    "left": CodedConcept(value="7771000", meaning="Left"),
    "right": CodedConcept(value="24028007", meaning="Right"),
}
OTHER_COLOR = (255, 0, 0)


def coded_segments(
    values: Sequence[int], names: Mapping[int, str], tables: Sequence[LabelTable]
) -> list[dict[str, Any]]:
    """An entry for each of the label values that are present, in their order, as MONAI Label and dcmqi want it.

    Args:
        names: what a client called the values; a structure of that name in ``tables`` gives its concept. Where the
            client says nothing, the value itself is looked up in the first table.
    """
    by_name = {label.name.casefold(): label for table in reversed(tables) for label in table}
    by_value = {label.index: label for label in tables[0]} if tables else {}
    entries = []
    for value in values:
        known = by_name.get(names[value].casefold()) if value in names else by_value.get(value)
        entries.append(_segment(value, known, names.get(value) or (known.name if known else f"label {value}")))
    return entries


def _segment(value: int, label: Label | None, name: str) -> dict[str, Any]:
    concept = (label.concept if label else None) or UNKNOWN_TYPE
    color = label.color if label else OTHER_COLOR
    attribute: dict[str, Any] = {
        "labelID": value,
        "SegmentLabel": name,
        "SegmentDescription": name,
        "SegmentAlgorithmType": "SEMIAUTOMATIC",
        "SegmentAlgorithmName": ALGORITHM,
        "SegmentedPropertyCategoryCodeSequence": _code(CATEGORY),
        "SegmentedPropertyTypeCodeSequence": _code(concept),
        "recommendedDisplayRGBValue": list(color),
    }
    if label and label.laterality:
        attribute["SegmentedPropertyTypeModifierCodeSequence"] = _code(SIDES[label.laterality])
    return {"name": name, "idx": value, "color": list(color), "model_name": ALGORITHM, "segmentAttribute": attribute}


def _code(concept: CodedConcept) -> dict[str, str]:
    return {
        "CodeValue": concept.value,
        "CodingSchemeDesignator": concept.scheme,
        "CodeMeaning": concept.meaning,
    }
