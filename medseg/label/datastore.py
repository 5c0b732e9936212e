"""The data stores: a folder of studies, and a DICOMweb server, with what MONAI Label's own stores lack.

An image is a file, a folder with one DICOM series, or a folder with one file for each channel (a BraTS case). Ids
and tags are names and never paths, and what a client sends is read as an image before it is kept.
"""

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore

from medseg.bundle import sha256_of
from medseg.errors import CaseError, MedsegError
from medseg.io import read_labels, read_volume, write_image
from medseg.io.dicom.series import is_dicom_folder
from medseg.io.formats import image_suffix, is_hidden, name_without_suffix
from medseg.io.naming import is_label_name
from medseg.label.decisions import ReviewJournal
from medseg.label.dicom_seg import coded_segments
from medseg.label.tags import tag_of
from medseg.labels import LabelTable

__all__ = ["ACCEPTED", "IMAGE_PATTERNS", "PacsDatastore", "StudiesDatastore", "UnknownImageError", "check_name"]

IMAGE_PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")
"""One file each; ``.mhd`` keeps its voxels in a second one, which a client could not send."""

LABELS_FOLDER = "labels"
ACCEPTED = tag_of("accepted")
REMOVED_TAG = {"reject": tag_of("rejected"), "second_reader": tag_of("needs_second_reader")}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +@-]{0,127}")
UID = re.compile(r"[0-9]+(\.[0-9]+)+")
UID_CHARACTERS = 64

LIST_AGAIN_AFTER_S = 30.0
"""A PACS is asked again for its series after this time."""

logger = logging.getLogger(__name__)


class UnknownImageError(CaseError):
    """The data store has no image, or no label, of that name."""


def check_name(name: str, *, what: str) -> str:
    """The name, if it is one: of a file, in no other folder, and not hidden.

    Raises:
        CaseError: it is something else.
    """
    if not NAME.fullmatch(name) or ".." in name or name.endswith((" ", ".")):
        raise CaseError(
            f"{what} {name[:40]!r} is no name: up to 128 letters, digits, dots, hyphens and underscores were expected."
        )
    return name


class StudiesDatastore(LocalDatastore):
    """A folder of studies; labels lie in its ``labels/TAG/``, what is noted of them in ``datastore_v2.json``."""

    def __init__(self, folder: Path, *, auto_reload: bool) -> None:
        self._root = folder.resolve()
        self.journal = ReviewJournal(self._root)
        super().__init__(str(self._root), extensions=list(IMAGE_PATTERNS), auto_reload=auto_reload)

    def get_image_uri(self, image_id: str) -> str:
        """The path of an image: a file, or the folder of one case.

        Raises:
            UnknownImageError: there is no such image.
        """
        path: str = super().get_image_uri(image_id)
        if not path:
            raise UnknownImageError(f"no image {image_id[:80]!r} in the data store: ask for /datastore/?output=all.")
        return path

    def scan_path(self, image_id: str) -> Path:
        """What the engine reads."""
        return Path(self.get_image_uri(image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The path of a label.

        Raises:
            UnknownImageError: there is no such label.
        """
        path: str = super().get_label_uri(label_id, label_tag)
        if not path:
            raise UnknownImageError(f"image {label_id[:80]!r} has no label with the tag {label_tag[:40]!r}.")
        return path

    def follow_review(self) -> None:
        """Take over what was decided in napari since this was last asked: an accepted case becomes ``final``.

        Raises:
            DataError: the journal is damaged.
        """
        for image_id, decision in self.journal.news().items():
            known = self._datastore.objects.get(image_id)
            if known is None:
                continue
            path = Path(super().get_label_uri(image_id, ACCEPTED) or self._root)
            if decision.action != "accept" and path.is_file():
                self._move_label(image_id, path, to=REMOVED_TAG.get(decision.action, "edited"))
            elif decision.labels is not None and not (path.is_file() and _is_same(path, decision.labels)):
                super().save_label(image_id, str(decision.labels), ACCEPTED, {"source": "review"})

    def _move_label(self, image_id: str, path: Path, *, to: str) -> None:
        """An accepted label that was taken back keeps its file under another tag."""
        super().save_label(image_id, str(path), to, {"source": "review"})
        path.unlink()
        self.refresh()

    def accepted(self) -> list[tuple[str, Path, Path]]:
        """Each image with an accepted label: id, image, label."""
        return [
            (image_id, self.scan_path(image_id), Path(self.get_label_uri(image_id, ACCEPTED)))
            for image_id in sorted(self.get_labeled_images())
        ]

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:  # noqa: ARG002  a client's
        """Keep an uploaded image; one that is there is not replaced.

        Raises:
            MedsegError: the name is none, is taken, or the file is no image.
        """
        check_name(image_id, what="the image id")
        path = _image_file(image_filename)
        if image_id in self._datastore.objects:
            raise CaseError(f"the image {image_id!r} exists already and was not replaced: choose another name.")
        read_volume(path)
        return str(super().add_image(image_id, image_filename, {}))

    def remove_image(self, image_id: str) -> None:
        """Remove an image that is one file, with its labels; a folder is left to those who made it.

        Raises:
            UnknownImageError: there is no such image.
        """
        path = Path(self.get_image_uri(image_id))
        if path.is_dir():
            raise CaseError(f"{image_id!r} is a folder of several files: remove it where it lies.")
        super().remove_image(image_id)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label; one with the same tag is replaced.

        Raises:
            MedsegError: the tag is no name, there is no such image, or the file is no label map.
        """
        self.get_image_uri(image_id)
        check_name(label_tag, what="the tag")
        read_labels(_image_file(label_filename))
        return str(super().save_label(image_id, label_filename, label_tag, label_info))

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label.

        Raises:
            UnknownImageError: there is no such label.
        """
        Path(self.get_label_uri(label_id, label_tag)).unlink(missing_ok=True)
        self.refresh()

    def _to_id(self, file: str) -> tuple[str, str]:
        path = self._root / file
        if path.is_dir():
            return file, ""
        name = Path(file)
        stem = name_without_suffix(name)
        return stem, name.name[len(stem) :]

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = super()._list_files(path, patterns)
        if Path(path).resolve() != self._root:
            return {name: file for name, file in found.items() if not is_hidden(Path(name))}
        files = {
            name: file for name, file in found.items() if not is_hidden(Path(name)) and not is_label_name(Path(name))
        }
        folders = [one for one in self._root.iterdir() if one.is_dir() and one.name != LABELS_FOLDER]
        return files | {one.name: one.name for one in sorted(folders) if not is_hidden(one) and _is_case(one)}


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
            from monailabel.datastore.utils.dicom import dicom_web_download_series

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
            present = set(read_labels(_image_file(label_filename)).unique().int().tolist()) - {0}
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


def _is_case(folder: Path) -> bool:
    try:
        inside = [one for one in folder.iterdir() if not is_hidden(one)]
        return any(one.is_file() and image_suffix(one) for one in inside) or is_dicom_folder(folder)
    except (OSError, MedsegError) as error:
        logger.warning("a folder of the studies was passed over: %s", type(error).__name__)
        return False


def _image_file(name: str) -> Path:
    path = Path(name)
    if not any(path.match(pattern) for pattern in IMAGE_PATTERNS):
        raise CaseError(
            f"a file that ends in {path.suffix[:12]!r} was sent: one of {', '.join(IMAGE_PATTERNS)} please."
        )
    return path


def _is_same(one: Path, other: Path) -> bool:
    return sha256_of(one) == sha256_of(other)
