"""Accepted labels as new versions: nothing that was accepted is ever overwritten.

In: a segmentation that was accepted, and where it comes from. Out: ``versions/<case>/v0001.nii.gz`` with a JSON file
of its origin and its hash beside, v0002 for the next. A version counts once its JSON file is there.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import Field

from medseg.atomic import atomic_write
from medseg.errors import DataError, OutputError, SettingsError
from medseg.geometry import geometry_of
from medseg.io import read_labels, write_labels
from medseg.labels import Label, LabelTable
from medseg.record import UsedBundle
from medseg.record.run_record import Sha256, Utc
from medseg.review.edits import NestedRegions
from medseg.review.folder import ReviewFolder
from medseg.segmentation import Segmentation
from medseg.settings import Settings

__all__ = [
    "Origin",
    "Version",
    "VersionRecord",
    "damaged_versions",
    "file_sha256",
    "latest_version",
    "list_versions",
    "save_version",
]

LOCK_WAIT_S = 120.0
"""A large label map takes seconds to write."""

NUMBERED = re.compile(r"v(\d{4,})\.(nii\.gz|json)")


class Origin(Settings):
    """Where an accepted label map comes from.

    ``input_sha256`` is the hash of the scan, ``base_sha256`` that of the label file the corrections began with (None:
    drawn from nothing), ``bundle`` the model that made that one, ``regions`` what is nested in it. ``voxels_changed``
    counts for each label the voxels that joined or left it, ``edits`` the edits that stood.
    """

    reviewer: str = Field(min_length=1)
    input_sha256: Sha256 | None = None
    base_sha256: Sha256 | None = None
    bundle: UsedBundle | None = None
    regions: NestedRegions | None = None
    voxels_changed: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    edits: int = Field(default=0, ge=0)


class VersionRecord(Settings):
    """What is written beside a version: its place in the row, its hash, its labels and its origin."""

    schema_version: Literal[1] = 1
    case_id: str = Field(min_length=1)
    number: int = Field(ge=1)
    previous: int | None = None
    saved_utc: Utc = Field(default_factory=lambda: datetime.now(UTC))
    labels_sha256: Sha256
    labels: tuple[Label, ...] = Field(min_length=1)
    origin: Origin


@dataclass(frozen=True)
class Version:
    """One accepted label map on the disk."""

    path: Path
    record: VersionRecord

    @property
    def number(self) -> int:
        """From 1, in the order of acceptance."""
        return self.record.number

    @property
    def label_table(self) -> LabelTable:
        """What its values mean."""
        return LabelTable(labels=self.record.labels)

    def check(self) -> None:
        """Nothing, if the file still is the one that was accepted.

        Raises:
            DataError: it is gone or was changed.
        """
        try:
            found = file_sha256(self.path)
        except OSError as error:
            raise DataError(f"{self.path.name} of {self.record.case_id} cannot be read ({error.strerror}).") from error
        if found != self.record.labels_sha256:
            raise DataError(
                f"{self.path.name} of {self.record.case_id} was changed after it was accepted: the hash in its record "
                "was expected. Bring it back from a copy, or review the case again."
            )

    def read(self) -> Segmentation:
        """The labels, checked against their hash.

        Raises:
            DataError: the file is gone or was changed.
        """
        self.check()
        image = read_labels(self.path)
        labels = np.ascontiguousarray(image.as_tensor()[0].numpy(), dtype=np.uint8)
        return Segmentation(labels, geometry_of(image), self.label_table)


def save_version(folder: ReviewFolder, segmentation: Segmentation, *, case_id: str, origin: Origin) -> Version:
    """Write an accepted label map as the next version of its case; two that do so at once get two numbers.

    Raises:
        OutputError: it cannot be written; nothing half-written is left.
    """
    place = folder.versions_of(case_id)
    with _alone(place):
        earlier = list_versions(folder, case_id)
        number = 1 + max((_number(path) for path in place.iterdir()), default=0)
        path = place / f"v{number:04d}.nii.gz"
        write_labels(segmentation, path, overwrite=False)
        record = VersionRecord(
            case_id=case_id,
            number=number,
            previous=earlier[-1].number if earlier else None,
            labels_sha256=file_sha256(path),
            labels=segmentation.label_table.labels,
            origin=origin,
        )
        with atomic_write(_record_path(path), overwrite=False) as temporary:
            temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return Version(path, record)


def list_versions(folder: ReviewFolder, case_id: str) -> tuple[Version, ...]:
    """Every version of a case, the oldest first; a label map that no record tells of is none.

    Raises:
        DataError: the record of a version cannot be read.
        SettingsError: it says something unknown.
    """
    place = folder.versions_of(case_id)
    paths = [path for path in place.glob("v*.json") if NUMBERED.fullmatch(path.name)] if place.is_dir() else []
    versions = (
        Version(path.with_name(f"{path.stem}.nii.gz"), _read_record(path)) for path in sorted(paths, key=_number)
    )
    return tuple(version for version in versions if version.path.is_file())


def latest_version(folder: ReviewFolder, case_id: str) -> Version | None:
    """The version that was accepted last; None where there is none.

    Raises:
        DataError: the record of a version cannot be read.
    """
    versions = list_versions(folder, case_id)
    return versions[-1] if versions else None


def damaged_versions(folder: ReviewFolder) -> tuple[str, ...]:
    """A line for every version of any case whose labels are gone or were changed, or whose record cannot be read."""
    found = []
    for path in sorted(path for path in folder.versions.glob("*/v*.json") if NUMBERED.fullmatch(path.name)):
        try:
            Version(path.with_name(f"{path.stem}.nii.gz"), _read_record(path)).check()
        except (DataError, SettingsError) as error:
            found.append(str(error))
    return tuple(found)


def file_sha256(path: Path) -> str:
    """The hash of a file's content, read anew each time: a check must not trust what was seen before."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".guard", timeout=LOCK_WAIT_S):
            yield
    except Timeout as error:
        raise OutputError(f"{place.name} is being written by another process: try again.") from error
    except OSError as error:
        raise OutputError(f"a version cannot be written to {place} ({error.strerror}): check the folder.") from error


def _number(path: Path) -> int:
    found = NUMBERED.fullmatch(path.name)
    return int(found[1]) if found else 0


def _record_path(labels: Path) -> Path:
    return labels.with_name(labels.name.removesuffix(".nii.gz") + ".json")


def _read_record(path: Path) -> VersionRecord:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} of {path.parent.name} cannot be read ({error}): bring it back.") from error
    return VersionRecord.from_mapping(values, source=f"{path.parent.name}/{path.name}")
