"""Data manifests: which cases a data set has, what its channels and labels mean, how it is split.

In: a JSON file of ``data_manifests/`` (or a ``dataset.json``) and the folder where the scans lie. Out: cases with
paths. The manifest never holds a path of anybody's machine: only patterns below the data set's own folder.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, ValidationError, model_validator

from medseg.data.dataset_json import is_dataset_json, manifest_values
from medseg.data.label_schema import LabelSchema, Region, load_schema
from medseg.data.splits import Split, SplitRule, Splits, with_training
from medseg.errors import DataError
from medseg.io import ChannelFile
from medseg.labels import Label, LabelTable
from medseg.settings import Settings
from medseg.shared_folder import shared_folder

__all__ = ["Archive", "Channel", "DataCase", "DataManifest", "Split", "load_manifest", "manifest_names"]


class Channel(Settings):
    """One image channel: its name, the imaging modality behind it, and the word that stands for it in file names."""

    name: str
    modality: str
    file: str | None = None

    @property
    def word(self) -> str:
        """What ``{channel}`` in a pattern becomes."""
        return self.file or self.name


class Archive(Settings):
    """Where the data set is published: address of the archive and its checksum as its publisher states it."""

    url: str
    md5: str


class CaseRecord(Settings):
    """What is known of one case: SHA-256 of its published files; its paths where they follow no pattern."""

    image_sha256: str | None = None
    label_sha256: str | None = None
    images: tuple[str, ...] | None = None
    label: str | None = None


class Access(Settings):
    """Where the data set is to be had."""

    url: str
    login: bool
    how: str = ""


@dataclass(frozen=True)
class DataCase:
    """One examination on disk: an image file for each channel, in the manifest's order, and its reference labels."""

    case_id: str
    images: tuple[Path, ...]
    label: Path

    def channel_files(self, names: Sequence[str]) -> tuple[ChannelFile, ...]:
        """The file, or the frame of the only file, of each of the manifest's channels."""
        if len(self.images) == 1 and len(names) > 1:
            return tuple(ChannelFile(name, self.images[0], frame, len(names)) for frame, name in enumerate(names))
        return tuple(ChannelFile(name, path) for name, path in zip(names, self.images, strict=True))


class DataManifest(Settings):
    """One data set: ``image`` and ``label`` are patterns with ``{case_id}`` and, for many channels, ``{channel}``.

    A pattern may hold ``*`` where the layout varies; exactly one file must fit. The labels are those of
    ``label_schema``, or stand in the manifest. Cases that are not listed are found on disk by ``case_id``, a regular
    expression, and split by ``split_rule``. ``unlabelled`` are images for training and test without labels.
    """

    name: str
    title: str
    folder: str
    licence: str
    citation: str
    access: Access | None = None
    archive: Archive | None = None
    channels: tuple[Channel, ...] = Field(min_length=1)
    label_schema: str | None = None
    labels: tuple[Label, ...] = Field(min_length=1)
    regions: tuple[Region, ...] = ()
    image: str
    label: str
    case_id: str | None = None
    cases: dict[str, CaseRecord] = Field(default_factory=dict)
    splits: Splits | None = None
    split_rule: SplitRule | None = None
    unlabelled: dict[Split, tuple[str, ...]] = Field(default_factory=dict)
    notes: str = ""

    @model_validator(mode="before")
    @classmethod
    def _labels_come_from_the_schema(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("label_schema") and "labels" not in values:
            return {**values, "labels": load_schema(str(values["label_schema"])).labels}
        return values

    @model_validator(mode="after")
    def _cases_and_splits_are_listed_or_can_be_found(self) -> "DataManifest":
        if not self.cases and self.case_id is None:
            raise ValueError("there are no cases: list them, or give case_id, an expression that their names match")
        if self.splits is None and self.split_rule is None:
            raise ValueError("there are no splits: list them by case id, or give a split_rule")
        return self

    @model_validator(mode="after")
    def _splits_are_disjoint_and_known(self) -> "DataManifest":
        every = [*self.splits.train, *self.splits.validation, *self.splits.test] if self.splits else []
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

    @property
    def schema_of_labels(self) -> LabelSchema:
        """The schema that the manifest names, or one made of its own labels."""
        if self.label_schema is not None:
            return load_schema(self.label_schema)
        return LabelSchema(name=self.name, title=self.title, source=self.name, labels=self.labels, regions=self.regions)

    def on_disk(self, data_root: Path) -> "DataManifest":
        """The manifest with cases and splits listed: as they stand in it, or else as found below ``data_root``.

        Raises:
            DataError: the folder is not there, or holds no case.
        """
        if self.splits is not None:
            return self
        cases = dict(self.cases) or dict.fromkeys(self._case_ids_below(self._folder_below(data_root)), CaseRecord())
        rule = self.split_rule or SplitRule()
        drawn: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for case_id in sorted(cases):
            drawn[rule.split_of(case_id)].append(case_id)
        splits = Splits(**{name: tuple(case_ids) for name, case_ids in with_training(drawn).items()})
        return self.model_copy(update={"cases": cases, "splits": splits})

    def locate(self, data_root: Path, *, split: Split, labelled: bool = True) -> list[DataCase]:
        """The cases of one split below ``data_root``, which is the data set's folder or the folder around it.

        Args:
            labelled: whether the files of labels must be there.
        Raises:
            DataError: the folder is not there, or a file of the split is missing.
        """
        listed = self.on_disk(data_root)
        folder = self._folder_below(data_root)
        cases = [listed.case(folder, case_id) for case_id in getattr(listed.splits, split)]
        needed = [path for case in cases for path in (*case.images, *([case.label] if labelled else []))]
        missing = [path for path in needed if not path.exists()]  # a DICOM series is a folder
        if missing:
            raise DataError(
                f"{len(missing)} files of {self.name} are missing, the first is {missing[0].relative_to(folder)}: "
                f"expected the layout {self.image} and {self.label}. Fetch the data set again."
            )
        return cases

    def locate_all(self, data_root: Path) -> list[DataCase]:
        """Every case that is listed or found below ``data_root``; files may be missing."""
        return [self.case(*place) for place in self.places(data_root)]

    def places(self, data_root: Path) -> list[tuple[Path, str]]:
        """What ``case`` takes for each case that is listed, or of which a file is found below ``data_root``."""
        folder = self._folder_below(data_root)
        case_ids = set(self.cases) or self._case_ids_below(folder, every_file=True)
        return [(folder, case_id) for case_id in sorted(case_ids)]

    def case(self, folder: Path, case_id: str) -> DataCase:
        """The files of one case below the data set's folder; a pattern that fits nothing stays as it is."""
        record = self.cases.get(case_id) or CaseRecord()
        names = record.images or [self.image.format(case_id=case_id, channel=one.word) for one in self.channels]
        label = record.label or self.label.format(case_id=case_id)
        images = [self._only_file(folder, name) for name in names]
        return DataCase(case_id, tuple(dict.fromkeys(images)), self._only_file(folder, label))

    def _only_file(self, folder: Path, name: str) -> Path:
        """The file that a filled pattern names.

        Raises:
            DataError: several files fit.
        """
        if "*" not in name:
            return folder / name
        found = sorted(folder.glob(name))
        if len(found) > 1:
            raise DataError(
                f"{self.name}: {name} fits {len(found)} files, {found[0].name} and {found[1].name} among them: one was "
                "expected. Remove what does not belong to the data set."
            )
        return found[0] if found else folder / name

    def _case_ids_below(self, folder: Path, *, every_file: bool = False) -> set[str]:
        """The cases whose label map, or any file, is below the folder, by the manifest's expression for names."""
        patterns = [self.label]
        if every_file:
            patterns += [self.image.replace("{channel}", channel.word) for channel in self.channels]
        return {found for pattern in patterns for found in self._case_ids_of(pattern, folder)}

    def _case_ids_of(self, pattern: str, folder: Path) -> Iterator[str]:
        expression = re.compile(self.case_id or ".*")
        file_pattern = PurePosixPath(pattern).name
        before, _, after = file_pattern.partition("{case_id}")
        tail = after.partition("*")[0]
        for path in folder.glob(pattern.format(case_id="*")):
            inner = path.name[len(before) :] if "{case_id}" in file_pattern else path.parent.name
            inner = inner.partition(tail)[0] if tail else inner
            if expression.fullmatch(inner):
                yield inner

    def _folder_below(self, data_root: Path) -> Path:
        for folder in (data_root / self.folder, data_root):
            if self._looks_right(folder):
                return folder
        place = self.archive.url if self.archive else self.access.url if self.access else ""
        source = f" It is published at {place}." if place else ""
        raise DataError(
            f"{data_root} holds no {self.folder}: a folder with {self.image} was expected. "
            f"Give its place with --data-root.{source}"
        )

    def _looks_right(self, folder: Path) -> bool:
        if not folder.is_dir():
            return False
        if not self.cases:
            return bool(self._case_ids_below(folder, every_file=True))
        return any(path.parent.is_dir() for case_id in self.cases for path in self.case(folder, case_id).images)


def load_manifest(name_or_path: str | Path) -> DataManifest:
    """The manifest in a file, or the one of that name that medseg brings along.

    The file may be a ``dataset.json`` of the Medical Segmentation Decathlon or of nnU-Net, or the folder it is in.

    Raises:
        DataError: there is no such file or name, or it is not JSON.
        SettingsError: a value in it is wrong.
    """
    path = Path(name_or_path)
    if (path / "dataset.json").is_file():
        path = path / "dataset.json"
    if not path.is_file():
        path = shared_folder("data_manifests") / f"{name_or_path}.json"
    if not path.is_file():
        known = ", ".join(manifest_names()) or "none"
        raise DataError(f"no data manifest {str(name_or_path)!r}: expected a JSON file or one of {known}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not valid JSON ({error}): correct it at that place.") from error
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}): check its permissions.") from error
    if is_dataset_json(values):
        values = manifest_values(values, path.resolve().parent)
    return DataManifest.from_mapping(values, source=path.name)


def manifest_names() -> Sequence[str]:
    """The names of the manifests that medseg brings along, sorted."""
    return sorted(path.stem for path in shared_folder("data_manifests").glob("*.json"))
