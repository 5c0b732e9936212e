"""The data store over a folder of studies, with what MONAI Label's own lacks.

An image is a file, a folder with one DICOM series, or a folder with one file for each channel (a BraTS case). Ids
and tags are names and never paths, and what a client sends is read as an image before it is kept.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from medseg.bundle import sha256_of
from medseg.errors import CaseError, MedsegError
from medseg.io import read_labels, read_volume
from medseg.io.dicom.series import is_dicom_folder
from medseg.io.formats import image_suffix, is_hidden, name_without_suffix
from medseg.io.naming import is_label_name
from medseg.label.decisions import ReviewJournal
from medseg.label.names import ACCEPTED, IMAGE_PATTERNS, UnknownImageError, check_name, image_file
from medseg.labels import LabelTable
from medseg.record import tag_of

__all__ = ["StudiesDatastore"]


LABELS_FOLDER = "labels"
REMOVED_TAG = {"reject": tag_of("rejected"), "second_reader": tag_of("needs_second_reader")}

logger = logging.getLogger(__name__)


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

    def accepted(self, table: LabelTable) -> list[tuple[str, Path, Path]]:  # noqa: ARG002  a PACS needs it
        """Each image with an accepted label: id, image, label, whose values are taken as they are."""
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
        path = image_file(image_filename)
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
        read_labels(image_file(label_filename))
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


def _is_case(folder: Path) -> bool:
    try:
        inside = [one for one in folder.iterdir() if not is_hidden(one)]
        return any(one.is_file() and image_suffix(one) for one in inside) or is_dicom_folder(folder)
    except (OSError, MedsegError) as error:
        logger.warning("a folder of the studies was passed over: %s", type(error).__name__)
        return False


def _is_same(one: Path, other: Path) -> bool:
    return sha256_of(one) == sha256_of(other)
