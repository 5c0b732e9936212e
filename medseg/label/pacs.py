"""The data store over a DICOMweb server: its series are the images, accepted labels go back as DICOM SEG."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.utils.dicom import dicom_web_download_series

from medseg.io import read_labels, read_volume, write_image
from medseg.io.formats import name_without_suffix
from medseg.label.dicom_seg import coded_segments
from medseg.label.names import UnknownImageError, check_name, image_file
from medseg.labels import LabelTable

__all__ = ["PacsDatastore"]

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
UID_CHARACTERS = 64

LIST_AGAIN_AFTER_S = 30.0
"""A PACS is asked again for its series after this time."""


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
        self._segmented: tuple[float, list[str]] = (-LIST_AGAIN_AFTER_S, [])
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
        """The series that a segmentation in the PACS refers to; MONAI Label would remember an answer for two hours."""
        asked, series = self._segmented
        if time.monotonic() - asked > LIST_AGAIN_AFTER_S:
            series = sorted(set(DICOMWebDatastore.get_labeled_images.__wrapped__(self)))
            self._segmented = (time.monotonic(), series)
        return series

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The series that no segmentation in the PACS refers to."""
        labelled = set(self.get_labeled_images(label_tag, labels))
        return [series for series in self.list_images() if series not in labelled]

    def scan_path(self, image_id: str) -> Path:
        """The folder with the series' slices, fetched if need be: the engine reads DICOM itself."""
        self._check(image_id)
        folder = Path(self._datastore.image_path()).resolve() / image_id
        if not folder.is_dir() or not any(folder.iterdir()):
            dicom_web_download_series(None, image_id, str(folder), self._client, self._fetch_by_frame)
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

    def save_label(  # noqa: PLR0917  MONAI Label's signature
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Keep a label; with the tag ``final`` it is also stored in the PACS.

        Raises:
            MedsegError: the id is no UID, the tag no name, or the file no label map.
        """
        check_name(label_tag, what="the tag")
        self.get_image_uri(image_id)
        path = Path(label_filename)
        if path.suffix != ".bin":  # OHIF sends voxels alone; MONAI Label lays them on the series' grid
            present = set(read_labels(image_file(label_filename)).unique().int().tolist()) - {0}
            given = {int(one["idx"]): str(one["name"]) for one in label_info.get("label_info") or [] if "idx" in one}
            label_info = {**label_info, "label_info": coded_segments(sorted(present), given, self._tables)}
        kept = str(super().save_label(image_id, label_filename, label_tag, label_info, label_id))
        self._segmented = (-LIST_AGAIN_AFTER_S, [])
        return kept

    def accepted(self) -> list[tuple[str, Path, Path]]:
        """Each series with a segmentation in the PACS: UID, slices, label."""
        pairs = [(Path(one["image"]), Path(one["label"])) for one in self.datalist()]
        return [
            (name_without_suffix(image), self.scan_path(name_without_suffix(image)), label) for image, label in pairs
        ]

    def _check(self, image_id: str) -> None:
        if not UID.fullmatch(image_id) or len(image_id) > UID_CHARACTERS:
            raise UnknownImageError(f"no series {image_id[:80]!r}: a SeriesInstanceUID was expected.")

    def _dicom_info(self, series_id: str) -> dict[str, Any]:
        """What MONAI Label notes of a series, without the patient's id and the date."""
        known: dict[str, Any] = super()._dicom_info(series_id)
        return {key: value for key, value in known.items() if key not in ("PatientID", "StudyDate", "StudyTime")}
