"""Data manifests: which cases a data set has, what its channels and labels mean, how it is split.

In: a JSON file of ``data_manifests/`` and the folder where the scans lie. Out: cases with paths. The manifest
never holds a path of anybody's machine: only patterns below the data set's own folder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from medseg.data.shared_folder import shared_folder
from medseg.errors import DataError
from medseg.labels import Label, LabelTable
from medseg.settings import Settings

__all__ = ["Archive", "Channel", "DataCase", "DataManifest", "Split", "load_manifest"]

Split = Literal["train", "validation", "test"]


class Channel(Settings):
    """One image channel: its name and the imaging modality behind it."""

    name: str
    modality: str


class Archive(Settings):
    """Where the data set is published: address of the archive and its checksum as its publisher states it."""

    url: str
    md5: str


class CaseHashes(Settings):
    """SHA-256 of the published files of one case."""

    image_sha256: str
    label_sha256: str


class Splits(Settings):
    """Case ids by use; no case stands in two of them."""

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCase:
    """One examination on disk: an image file for each channel, in the manifest's order, and its reference labels."""

    case_id: str
    images: tuple[Path, ...]
    label: Path


class DataManifest(Settings):
    """One data set: ``image`` and ``label`` are patterns with ``{case_id}`` and, for many channels, ``{channel}``."""

    name: str
    title: str
    folder: str
    licence: str
    citation: str
    archive: Archive | None = None
    channels: tuple[Channel, ...] = Field(min_length=1)
    labels: tuple[Label, ...] = Field(min_length=1)
    image: str
    label: str
    cases: dict[str, CaseHashes]
    splits: Splits
    notes: str = ""

    @model_validator(mode="after")
    def _splits_are_disjoint_and_known(self) -> "DataManifest":
        every = [*self.splits.train, *self.splits.validation, *self.splits.test]
        if len(set(every)) != len(every):
            raise ValueError("a case id stands in two splits, or twice in one")
        unknown = sorted(set(every) - set(self.cases))
        if unknown:
            raise ValueError(f"the splits name {unknown[0]!r}, which is not among the cases")
        return self

    @model_validator(mode="after")
    def _labels_are_a_table(self) -> "DataManifest":
        try:
            LabelTable(labels=self.labels)
        except ValidationError as error:
            raise ValueError(f"labels: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
        return self

    @model_validator(mode="after")
    def _patterns_name_case_and_channel_only(self) -> "DataManifest":
        for pattern in (self.image, self.label):
            try:
                filled = pattern.format(case_id="case", channel="channel")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"{pattern!r} may hold {{case_id}} and {{channel}} only, found {error}") from error
            if "{case_id}" not in pattern or PurePosixPath(filled).is_absolute():
                raise ValueError(f"{pattern!r} must hold {{case_id}} and lie below the data set's folder")
        return self

    @property
    def label_table(self) -> LabelTable:
        """What each label value means."""
        return LabelTable(labels=self.labels)

    def locate(self, data_root: Path, *, split: Split) -> list[DataCase]:
        """The cases of one split below ``data_root``, which is the data set's folder or the folder around it.

        Raises:
            DataError: the folder is not there, or a file of the split is missing.
        """
        folder = self._folder_below(data_root)
        cases = [self._case(folder, case_id) for case_id in getattr(self.splits, split)]
        missing = [path for case in cases for path in (*case.images, case.label) if not path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} files of {self.name} are missing, the first is {missing[0].relative_to(folder)}: "
                f"expected the layout {self.image} and {self.label}. Fetch the data set again."
            )
        return cases

    def _folder_below(self, data_root: Path) -> Path:
        for folder in (data_root / self.folder, data_root):
            if any(self._case(folder, case_id).images[0].parent.is_dir() for case_id in self.cases):
                return folder
        source = f" It is published at {self.archive.url}." if self.archive else ""
        raise DataError(
            f"{data_root} holds no {self.folder}: a folder with {Path(self.image).parent}/ was expected. "
            f"Give its place with --data-root.{source}"
        )

    def _case(self, folder: Path, case_id: str) -> DataCase:
        images = [folder / self.image.format(case_id=case_id, channel=channel.name) for channel in self.channels]
        return DataCase(case_id, tuple(dict.fromkeys(images)), folder / self.label.format(case_id=case_id))


def load_manifest(name_or_path: str | Path) -> DataManifest:
    """The manifest in a file, or the one of that name that medseg brings along.

    Raises:
        DataError: there is no such file or name, or it is not JSON.
        SettingsError: a value in it is wrong.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = shared_folder("data_manifests") / f"{name_or_path}.json"
    if not path.is_file():
        known = ", ".join(_known_names()) or "none"
        raise DataError(f"no data manifest {str(name_or_path)!r}: expected a JSON file or one of {known}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not valid JSON ({error}): correct it at that place.") from error
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}): check its permissions.") from error
    return DataManifest.from_mapping(values, source=path.name)


def _known_names() -> Sequence[str]:
    return sorted(path.stem for path in shared_folder("data_manifests").glob("*.json"))
