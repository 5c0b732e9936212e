"""Segmentations in a PACS: which series each belongs to, and a DICOM SEG as a label map in a model's values.

In: a client of a DICOMweb server, the label table of a model, the grid of the scan. Out: the newest segmentation of
each series; a ``Segmentation``. The numbers of segments say nothing: dcmqi counts what is present, others as they
like. A segment is known by its name, else by its coded concept and side.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor

from medseg.errors import DataError, SettingsError
from medseg.geometry import Geometry, Interpolation, resample_onto
from medseg.io import read_labels
from medseg.label.dicom_seg import SIDES
from medseg.labels import Label, LabelTable
from medseg.segmentation import Segmentation

__all__ = ["AS_STORED", "PacsSegmentation", "PacsSegmentations", "read_seg"]

PROGRAM = "segimage2itkimage"
SIDE_OF_CODE = {concept.value: side for side, concept in SIDES.items()}
AS_STORED = (("application/dicom", "*"),)
"""Not every PACS can unpack a compressed series: it is to give it as it is."""


@dataclass(frozen=True)
class PacsSegmentation:
    """One segmentation: the series that it belongs to, where it is, and when it was made (sortable, as told)."""

    image_uid: str
    study_uid: str
    series_uid: str
    made: str


class PacsSegmentations:
    """The segmentations of a DICOMweb server. Mutable: each is asked for its facts once."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._known: dict[str, PacsSegmentation | None] = {}

    def newest(self) -> Mapping[str, PacsSegmentation]:
        """The newest segmentation of each series that has one, by the series' UID."""
        listed = {
            str(entry["0020000E"]["Value"][0]): str(entry["0020000D"]["Value"][0])
            for entry in self._client.search_for_series(search_filters={"Modality": "SEG"})
        }
        for series_uid, study_uid in listed.items():
            if series_uid not in self._known:
                self._known[series_uid] = self._facts(study_uid, series_uid)
        found = [one for series_uid in listed if (one := self._known[series_uid]) is not None]
        return {one.image_uid: one for one in sorted(found, key=lambda one: (one.made, one.series_uid))}

    def fetch(self, segmentation: PacsSegmentation, path: Path) -> None:
        """Write a segmentation's file.

        Raises:
            DataError: the PACS has none any more, or several instances of it.
        """
        instances = self._client.retrieve_series(segmentation.study_uid, segmentation.series_uid, media_types=AS_STORED)
        if len(instances) != 1:
            raise DataError(f"a segmentation has {len(instances)} instances in the PACS: one was expected.")
        instances[0].save_as(path)

    def _facts(self, study_uid: str, series_uid: str) -> PacsSegmentation | None:
        """What a segmentation says of itself; None where it names no series."""
        metadata = self._client.retrieve_series_metadata(study_uid, series_uid)
        first: Mapping[str, Any] = metadata[0] if metadata else {}
        references = _values(first, "00081115")
        image_uid = _text(references[0], "0020000E") if references else ""
        made = "".join(_text(first, tag) for tag in ("00080023", "00080033"))
        return PacsSegmentation(image_uid, study_uid, series_uid, made) if image_uid else None


def read_seg(path: Path, *, table: LabelTable, grid: Geometry) -> Segmentation:
    """A DICOM SEG as labels (I, J, K) on the grid of its scan, in the values of a table.

    Raises:
        DataError: dcmqi cannot read it, ``table`` lacks one of its structures, or two structures overlap.
        SettingsError: dcmqi is not installed.
    """
    labels = np.zeros(grid.shape, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for label, mask in _segments(path, Path(folder), table):
            placed = resample_onto(mask, grid, interpolation=Interpolation.NEAREST, outside=0).numpy()[0] > 0
            if (labels[placed] != 0).any():
                raise DataError(f"two structures of a segmentation overlap, {label.name} and another: no label map.")
            labels[placed] = label.index
    return Segmentation(labels, grid, table)


def _segments(path: Path, folder: Path, table: LabelTable) -> list[tuple[Label, MetaTensor]]:
    """Each segment's structure, and its mask on the grid that dcmqi gives it."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise SettingsError(f"{PROGRAM} is not installed: pip install dcmqi")
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nrrd"]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode != 0:
        raise DataError("a segmentation of the PACS cannot be read by dcmqi: a DICOM SEG was expected.")
    described = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    found = []
    for number, group in enumerate(described["segmentAttributes"], start=1):
        image = read_labels(folder / f"{number}.nrrd")
        for segment in group:
            mask = MetaTensor((image.as_tensor() == int(segment["labelID"])).byte(), affine=image.affine)
            found.append((_label_of(segment, table), mask))
    return found


def _label_of(segment: Mapping[str, Any], table: LabelTable) -> Label:
    name = str(segment.get("SegmentLabel", ""))
    code = segment.get("SegmentedPropertyTypeCodeSequence", {})
    side = SIDE_OF_CODE.get(segment.get("SegmentedPropertyTypeModifierCodeSequence", {}).get("CodeValue", ""))
    coded = [
        label
        for label in table
        if label.concept is not None
        and (label.concept.value, label.concept.scheme) == (code.get("CodeValue"), code.get("CodingSchemeDesignator"))
        and label.laterality == side
    ]
    named = [label for label in table if label.name.casefold() == name.casefold()]
    known = named or (coded if len(coded) == 1 else [])
    if not known:
        raise DataError(f"a segmentation holds {name[:60]!r}: expected one of {', '.join(table.names)}.")
    return known[0]


def _values(dataset: Mapping[str, Any], tag: str) -> list[Any]:
    values = dataset.get(tag, {}).get("Value")
    return values if isinstance(values, list) else []


def _text(dataset: Mapping[str, Any], tag: str) -> str:
    values = _values(dataset, tag)
    return str(values[0]) if values else ""
