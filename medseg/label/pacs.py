"""The data store over a DICOMweb server: its series are the images, accepted labels go back as DICOM SEG."""

import hashlib
import logging
import math
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.datastore.dicom import DICOMWebDatastore

from medseg.errors import CaseError, DataError, SettingsError
from medseg.geometry import geometry_of
from medseg.io import read_labels, read_volume, write_image, write_labels
from medseg.label.dicom_seg import coded_segments
from medseg.label.names import ACCEPTED, UnknownImageError, check_name, image_file
from medseg.label.pacs_segmentations import AS_STORED, PacsSegmentation, PacsSegmentations, read_seg
from medseg.labels import LabelTable

__all__ = ["PacsDatastore"]

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
UID_CHARACTERS = 64

LIST_AGAIN_AFTER_S = 30.0
"""A PACS is asked again for its series after this time."""

logger = logging.getLogger(__name__)


class PacsDatastore(DICOMWebDatastore):
    """The series of a DICOMweb server; accepted labels go back there as DICOM SEG with the models' coded concepts.

    Args:
        modalities: the series that are listed.
        tables: the label tables of the models, to find a structure's coded concept by its name.
    """

    def __init__(self, client: Any, *, cache: Path, modalities: Sequence[str], tables: Sequence[LabelTable]) -> None:
        self._modalities = tuple(modalities)
        self._tables = tuple(tables)
        self._listed: tuple[float, list[str]] = (-LIST_AGAIN_AFTER_S, [])
        self._segmentations = PacsSegmentations(client)
        self._segmented: tuple[float, Mapping[str, PacsSegmentation]] = (-LIST_AGAIN_AFTER_S, {})
        super().__init__(client=client, search_filter={}, cache_path=str(cache))

    def list_images(self) -> list[str]:
        """The UIDs of the series of the models' modalities."""
        asked, series = self._listed
        if time.monotonic() - asked > LIST_AGAIN_AFTER_S:
            found = [
                entry["0020000E"]["Value"][0]
                for modality in self._modalities
                for entry in self._client.search_for_series(search_filters={"Modality": modality})
            ]
            series = sorted(set(map(str, found)))
            self._listed = (time.monotonic(), series)
        return series

    def get_labeled_images(
        self,
        label_tag: str | None = None,  # noqa: ARG002  MONAI Label's signature
        labels: list[str] | None = None,  # noqa: ARG002
    ) -> list[str]:
        """The series that a segmentation in the PACS refers to."""
        return sorted(set(self._newest()) & set(self.list_images()))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The series that no segmentation in the PACS refers to."""
        labelled = set(self.get_labeled_images(label_tag, labels))
        return [series for series in self.list_images() if series not in labelled]

    def json(self) -> dict[str, Any]:
        """Every series and the tags of its labels; MONAI Label lists those alone that it has fetched."""
        told: dict[str, Any] = super().json()
        known, segmented = told["objects"], self._newest()
        nothing: dict[str, Any] = {"image": {"info": {}, "ext": ".nii.gz"}, "labels": {}}
        told["objects"] = {}
        for series in self.list_images():
            labels = {tag: one for tag, one in known.get(series, nothing)["labels"].items() if tag != ACCEPTED}
            if series in segmented:
                labels[ACCEPTED] = {"info": {"SeriesInstanceUID": segmented[series].series_uid}, "ext": ".nii.gz"}
            told["objects"][series] = {**known.get(series, nothing), "labels": labels}
        return told

    def scan_path(self, image_id: str) -> Path:
        """The folder with the series' slices, fetched if need be: the engine reads DICOM itself.

        Raises:
            UnknownImageError: the id is no UID, or the PACS has no such series.
        """
        self._check(image_id)
        folder = Path(self._datastore.image_path()).resolve() / image_id
        if not folder.is_dir():
            self._fetch(image_id, folder)
        return folder

    def get_image_uri(self, image_id: str) -> str:
        """The series as a NIfTI file for viewers that know no DICOM, made by medseg's own reader.

        Raises:
            MedsegError: the id is no UID, or the slices are no regular volume.
        """
        folder = self.scan_path(image_id)
        path = folder.with_name(f"{image_id}.nii.gz")
        if not path.exists():
            write_image(read_volume(folder), path, overwrite=True)
            self.refresh()
        return str(path)

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:  # noqa: ARG002
        """A label's file; an accepted one is the newest segmentation in the PACS, in the values of a model's table.

        Raises:
            UnknownImageError: there is no such label.
            DataError: no model has all of its structures.
        """
        self._check(label_id)
        if label_tag != ACCEPTED:
            path: str = super().get_label_uri(label_id, label_tag)
        else:
            found = self._newest().get(label_id)
            path = str(self._labels_of(found, *self._tables)) if found is not None else ""
        if not path:
            raise UnknownImageError(f"series {label_id} has no label with the tag {label_tag[:40]!r}.")
        return path

    def save_label(  # noqa: PLR0917  MONAI Label's signature
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Keep a label; with the tag ``final`` it is also stored in the PACS.

        Raises:
            MedsegError: the id is no UID, the tag no name, or the file no label map, or empty where it is accepted.
        """
        check_name(label_tag, what="the tag")
        self.get_image_uri(image_id)
        present = self._values_in(Path(label_filename), image_id)
        if not present and label_tag == ACCEPTED:
            raise CaseError("the label is empty: a DICOM SEG needs a structure. Keep it with another tag.")
        segments = coded_segments(present, _given_names(label_info), self._tables)
        label_info = {**label_info, "label_info": segments}
        kept = str(super().save_label(image_id, label_filename, label_tag, label_info, label_id))
        self._segmented = (-LIST_AGAIN_AFTER_S, {})
        return kept

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label that is not in the PACS.

        Raises:
            CaseError: it is in the PACS, which DICOMweb lets nobody remove it from.
        """
        if label_tag == ACCEPTED:
            raise CaseError("an accepted label is a segmentation in the PACS: remove it there.")
        Path(self.get_label_uri(label_id, label_tag)).unlink(missing_ok=True)
        self.refresh()

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:  # noqa: ARG002
        """Refused: a PACS gets its images from elsewhere.

        Raises:
            CaseError: always.
        """
        raise CaseError("the images are those of a PACS: send new ones there.")

    def remove_image(self, image_id: str) -> None:  # noqa: ARG002
        """Refused, likewise.

        Raises:
            CaseError: always.
        """
        raise CaseError("the images are those of a PACS: remove them there.")

    def accepted(self, table: LabelTable) -> list[tuple[str, Path, Path]]:
        """Each series with a segmentation in the PACS that a model's table has the structures of: UID, slices, label.

        Those of other structures are passed over.
        """
        found, others = [], 0
        for series in self.get_labeled_images():
            try:
                labels = self._labels_of(self._newest()[series], table)
            except DataError:
                others += 1
                continue
            found.append((series, self.scan_path(series), labels))
        if others:
            logger.info("%d segmentations in the PACS hold other structures and were passed over", others)
        return found

    def datalist(self, full_path: bool = True) -> list[dict[str, str]]:  # noqa: ARG002  MONAI Label's signature
        """Each series with a segmentation, as files."""
        return [
            {"image": self.get_image_uri(series), "label": self.get_label_uri(series, ACCEPTED)}
            for series in self.get_labeled_images()
        ]

    def _newest(self) -> Mapping[str, PacsSegmentation]:
        asked, newest = self._segmented
        if time.monotonic() - asked > LIST_AGAIN_AFTER_S:
            newest = self._segmentations.newest()
            self._segmented = (time.monotonic(), newest)
        return newest

    def _values_in(self, label: Path, image_id: str) -> list[int]:
        """The values but 0 of a label file; OHIF sends voxels alone, which MONAI Label lays on the series' grid."""
        if label.suffix != ".bin":
            values = read_labels(image_file(str(label))).unique().int().tolist()
        else:
            shape = read_volume(self.scan_path(image_id)).shape[-3:]
            if label.stat().st_size != math.prod(shape):
                raise CaseError(f"{label.stat().st_size} bytes were sent: one for each of {shape} voxels was expected.")
            values = np.unique(np.fromfile(label, np.uint8)).tolist()
        return sorted(set(values) - {0})

    def _labels_of(self, segmentation: PacsSegmentation, *tables: LabelTable) -> Path:
        """The file of a segmentation's labels in the values of the first table that has its structures."""
        failure = DataError("there is no model whose structures could be looked for.")
        for table in tables:
            names = hashlib.sha256(table.model_dump_json().encode()).hexdigest()[:16]
            path = Path(self._datastore_path) / "segmentations" / names / f"{segmentation.series_uid}.nii.gz"
            if path.is_file():
                return path
            seg = path.with_name(f".{secrets.token_hex(6)}.dcm")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._segmentations.fetch(segmentation, seg)
                grid = geometry_of(read_volume(self.scan_path(segmentation.image_uid)))
                write_labels(read_seg(seg, table=table, grid=grid), path, overwrite=True)
            except DataError as error:
                failure = error
            else:
                return path
            finally:
                seg.unlink(missing_ok=True)
        raise failure

    def _fetch(self, series: str, folder: Path) -> None:
        """The slices of a series, all of them or none."""
        found = self._client.search_for_series(search_filters={"SeriesInstanceUID": series})
        studies = [str(one["0020000D"]["Value"][0]) for one in found if one["0020000E"]["Value"] == [series]]
        if not studies:
            raise UnknownImageError(f"the PACS has no series {series}: ask for /datastore/?output=all.")
        partial = folder.with_name(f".{secrets.token_hex(6)}.partial")
        try:
            partial.mkdir(parents=True)
            for instance in self._client.retrieve_series(studies[0], series, media_types=AS_STORED):
                instance.save_as(partial / f"{instance.SOPInstanceUID}.dcm")
            if not folder.is_dir():  # another request may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _check(self, image_id: str) -> None:
        if not UID.fullmatch(image_id) or len(image_id) > UID_CHARACTERS:
            raise UnknownImageError(f"no series {image_id[:80]!r}: a SeriesInstanceUID was expected.")


def _given_names(label_info: Mapping[str, Any]) -> dict[int, str]:
    """What a client calls the values of a label; entries without a value say nothing."""
    given = label_info.get("label_info") or []
    try:
        if not isinstance(given, list):
            raise TypeError
        return {int(one["idx"]): str(one["name"]) for one in given if "idx" in one}
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError('label_info: a list of {"name": …, "idx": …} was expected.') from error
