"""The edition of BraTS that a case's file names follow, so that its labels get that edition's values.

Since 2023 channels are called t1n, t1c, t2w and t2f, and the enhancing tumour has the value 3 instead of 4.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from medseg.data import LabelSchema, convert_labels, load_schema
from medseg.io import CaseFiles
from medseg.segmentation import Segmentation

__all__ = ["edition_of", "in_the_cases_edition", "schema_of_cases"]

SINCE_2023 = re.compile(r"^BraTS-[A-Z]+(-RT)?-\d{4,5}-\d{1,3}[-_](t1n|t1c|t2w|t2f)\b")
"""``BraTS-GLI-00001-000-t1c.nii.gz``; the values of the 2024 editions agree with 2023 where the labels do."""

CASE_SINCE_2023 = re.compile(r"^BraTS-[A-Z]+(-RT)?-\d{4,5}-\d{1,3}$")

UNTIL_2021 = re.compile(r"^bra?ts(20)?(1[89]|2[01])_", re.IGNORECASE)
"""``BraTS2021_00006_t1.nii.gz``, ``BraTS20_Training_001_t1.nii.gz``: from 2018 to 2021 the values mean the same."""

PLAIN = re.compile(r"^BraTS-(GLI|MEN|MET|SSA)-")
"""Tasks whose values 1 to 3 mean the same in 2023 and 2024."""

CHANNELS = 4


def edition_of(case: CaseFiles) -> LabelSchema | None:
    """The schema of the edition that a case is named after; None where it is no case of BraTS, or not plainly one."""
    if len(case.channels) != CHANNELS:
        return None
    if _is_later(case):  # values of children's tumours and of radiotherapy's meningiomas changed their meaning in 2024
        return load_schema("brats_2023") if all(PLAIN.match(channel.path.name) for channel in case.channels) else None
    return load_schema("brats_2021") if all(UNTIL_2021.match(one.path.name) for one in case.channels) else None


def in_the_cases_edition(
    segmentation: Segmentation, case: CaseFiles, schema: LabelSchema
) -> tuple[Segmentation, tuple[str, ...]]:
    """The segmentation in the label values of the edition that the case is named after, and what to say of it.

    Models of other tasks, and cases named otherwise, come back as they are.
    """
    if schema.name not in ("brats_2018", "brats_2021") or not _is_later(case):
        return segmentation, ()
    target = load_schema("brats_2023")
    labels = convert_labels(segmentation.labels, source=schema, target=target)
    note = "labels have the values of BraTS 2023 (enhancing tumour is 3), after which the files are named"
    return replace(segmentation, labels=labels, label_table=target.label_table), (note,)


def schema_of_cases(case_ids: Iterable[str], schema: LabelSchema) -> LabelSchema:
    """What the values of label files mean that are called like these cases; ``schema`` where names do not say."""
    if schema.name in ("brats_2018", "brats_2021") and all(CASE_SINCE_2023.match(case_id) for case_id in case_ids):
        return load_schema("brats_2023")
    return schema


def _is_later(case: CaseFiles) -> bool:
    return all(SINCE_2023.match(channel.path.name) for channel in case.channels)
