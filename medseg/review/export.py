"""What a review came to, for others: a table of its decisions, and its accepted labels as a data set to train on.

In: the journal, or a worklist with its versions. Out: CSV text, or a folder with scans, labels and a manifest::

    OUTPUT/dataset.json           read by medseg.data.load_manifest: medseg train BUNDLE --data OUTPUT
    OUTPUT/images/<case>_<channel>.nii.gz
    OUTPUT/labels/<case>.nii.gz
"""

import csv
import io
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from medseg.atomic import atomic_write
from medseg.data import Channel, DataManifest, SplitRule
from medseg.data.splits import Splits
from medseg.errors import DataError, MedsegError, OutputError
from medseg.io import CaseFiles, FailedCase, read_case, write_image
from medseg.io.formats import image_suffix
from medseg.io.loading import stored_files
from medseg.labels import LabelTable
from medseg.record import JournalRecord
from medseg.review.folder import folder_name
from medseg.review.label_names import is_numbered
from medseg.review.versions import Version, file_sha256, latest_version
from medseg.review.worklist import Worklist, WorklistCase
from medseg.settings import Settings

__all__ = ["TABLE_COLUMNS", "DatasetChoices", "ExportedDataset", "export_dataset", "export_table"]

TABLE_COLUMNS = (
    "number",
    "time_utc",
    "reviewer",
    "case_id",
    "action",
    "structure",
    "reason",
    "comment",
    "bundle",
    "bundle_version",
    "weights_sha256",
    "input_sha256",
    "output_sha256",
    "voxels_changed",
    "seconds_spent",
    "sha256",
)
"""The columns of the table, one row for each line of the journal."""

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""Text that begins so is run by spreadsheets: it gets an apostrophe in front."""

COPIED_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Scans that are one file of these are taken as they are; everything else is written as NIfTI."""


class DatasetChoices(Settings):
    """How the data set is made.

    ``split`` draws cases by the hash of their patient, so that a later export splits them alike. ``images``:
    ``copy``, or ``link`` to where the scans lie, which saves the space and breaks when they move.
    """

    title: str = "Accepted labels of a review"
    licence: str = "not stated"
    modality: str = "MR"
    split: SplitRule = Field(default_factory=SplitRule)
    images: Literal["copy", "link"] = "copy"


@dataclass(frozen=True)
class ExportedDataset:
    """What was written, and the cases that were left out although somebody accepted them, with the reason."""

    folder: Path
    case_ids: tuple[str, ...]
    left_out: tuple[FailedCase, ...]


def export_table(records: Iterable[JournalRecord]) -> str:
    """The journal as CSV text with a header, one row a line, safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records:
        entry = record.entry
        row: dict[str, Any] = {
            **entry.model_dump(mode="json", exclude={"schema_version", "bundle", "voxels_changed"}),
            "number": record.number,
            "sha256": record.sha256,
            "bundle": entry.bundle.name if entry.bundle else None,
            "bundle_version": entry.bundle.version if entry.bundle else None,
            "weights_sha256": entry.bundle.weights_sha256 if entry.bundle else None,
            "voxels_changed": "; ".join(f"{name} {count}" for name, count in sorted(entry.voxels_changed.items())),
        }
        writer.writerow({key: _harmless(value) for key, value in row.items()})
    return text.getvalue()


def export_dataset(worklist: Worklist, *, output: Path, choices: DatasetChoices | None = None) -> ExportedDataset:
    """The accepted cases with their latest version, as a data set in a new folder, completely or not at all.

    Raises:
        DataError: no case is accepted with a version, two have other label tables or channels, or none is left to
            train on.
        OutputError: the folder exists or cannot be written.
    """
    choices = choices or DatasetChoices()
    if output.exists():
        raise OutputError(f"{output} exists already and was not replaced: give a new folder.")
    chosen, left_out = _accepted(worklist)
    if not chosen:
        raise DataError(
            f"of {len(worklist.cases)} cases none is accepted with a version of its labels: accept some, then export."
        )
    table = _shared_table(chosen)
    splits = _splits([case.case_id for case, _ in chosen], choices.split)
    building = output.parent / f".{secrets.token_hex(6)}.partial"
    try:
        building.mkdir(parents=True)
        for name in ("images", "labels"):
            (building / name).mkdir()
        cases = {case.case_id: _write_case(building, case, version, choices.images) for case, version in chosen}
        manifest = _manifest(
            chosen[0][0].files, table=table, cases=cases, splits=splits, name=output.name, choices=choices
        )
        with atomic_write(building / "dataset.json", overwrite=False) as temporary:
            content = manifest.model_dump_json(indent=2, exclude_none=True, exclude_defaults=True)
            temporary.write_text(content + "\n", encoding="utf-8")
        building.rename(output)
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror}): choose another place.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return ExportedDataset(output, tuple(cases), left_out)


def _accepted(worklist: Worklist) -> tuple[list[tuple[WorklistCase, Version]], tuple[FailedCase, ...]]:
    """The accepted cases with their version, by case id; and those whose labels cannot stand for the decision."""
    chosen, left_out = [], []
    for case in sorted(worklist.cases, key=lambda case: case.case_id):
        if case.state != "accepted":
            continue
        try:
            chosen.append((case, _accepted_version(worklist, case)))
        except MedsegError as error:
            left_out.append(FailedCase(case.case_id, str(error)))
    return chosen, tuple(left_out)


def _accepted_version(worklist: Worklist, case: WorklistCase) -> Version:
    version = latest_version(worklist.folder, case.case_id)
    if version is None:
        raise DataError(f"{case.case_id} is accepted, but no version of its labels was written: accept it again.")
    version.check()
    stated = case.review.decision.output_sha256 if case.review.decision else None
    if stated is not None and stated != version.record.labels_sha256:
        raise DataError(f"{case.case_id}: v{version.number:04d} is not the one that was accepted: accept it again.")
    return version


def _shared_table(chosen: Sequence[tuple[WorklistCase, Version]]) -> LabelTable:
    """The label table of every version. Labels that have numbers for names are those that occur, and may differ.

    Raises:
        DataError: two differ, or two cases have other channels.
    """
    (first, version), *others = chosen
    channels = [entry.channel for entry in first.files.channels]
    for case, other in others:
        if _named(other) != _named(version):
            raise DataError(
                f"{first.case_id} and {case.case_id} have different label tables: one was expected for the whole data "
                "set. Export them apart."
            )
        if [entry.channel for entry in case.files.channels] != channels:
            raise DataError(f"{first.case_id} and {case.case_id} have different channels: export them apart.")
    return LabelTable(labels=tuple({label.index: label for _, one in chosen for label in one.label_table}.values()))


def _named(version: Version) -> list[tuple[int, str]]:
    return [(label.index, label.name) for label in version.label_table if not is_numbered(label)]


def _splits(case_ids: Iterable[str], rule: SplitRule) -> Splits:
    drawn: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for case_id in case_ids:
        drawn[rule.split_of(case_id)].append(case_id)
    if not drawn["train"]:
        raise DataError("no accepted case is left to train on: accept more cases, or ask for smaller other splits.")
    return Splits.from_mapping(drawn, source="splits")


def _write_case(folder: Path, case: WorklistCase, version: Version, images: str) -> dict[str, Any]:
    """Put one case into the folder; returns what the manifest says of it."""
    name = folder_name(case.case_id)
    label = f"labels/{name}.nii.gz"
    shutil.copyfile(version.path, folder / label)
    if all(_is_plain(entry.path) and entry.frame is None for entry in case.files.channels):
        listed = [
            _placed(entry.path, folder, f"images/{name}_{folder_name(entry.channel)}", images)
            for entry in case.files.channels
        ]
    else:
        listed = _written(case.files, folder, name)
    return {"images": listed, "label": label, "label_sha256": file_sha256(folder / label)}


def _is_plain(path: Path) -> bool:
    """Whether a scan is one file that can be taken as it is."""
    return path.is_file() and image_suffix(path) in COPIED_SUFFIXES and stored_files(path) == (path,)


def _placed(path: Path, folder: Path, stem: str, images: str) -> str:
    name = f"{stem}{image_suffix(path)}"
    if images == "link":
        (folder / name).symlink_to(path.resolve())
    else:
        shutil.copyfile(path, folder / name)
    return name


def _written(files: CaseFiles, folder: Path, name: str) -> list[str]:
    """Every channel of a DICOM series, or of a 4D file, as a NIfTI file of its own."""
    image = read_case(files).image
    listed = [f"images/{name}_{folder_name(entry.channel)}.nii.gz" for entry in files.channels]
    for number, path in enumerate(listed):
        write_image(image[number : number + 1], folder / path, overwrite=False)
    return listed


def _manifest(
    files: CaseFiles,
    *,
    table: LabelTable,
    cases: dict[str, dict[str, Any]],
    splits: Splits,
    name: str,
    choices: DatasetChoices,
) -> DataManifest:
    channels = [
        Channel(name=entry.channel, modality=choices.modality, file=folder_name(entry.channel))
        for entry in files.channels
    ]
    values = {
        "name": name,
        "title": choices.title,
        "folder": ".",
        "licence": choices.licence,
        "citation": "not stated",
        "channels": channels,
        "labels": table.labels,
        "image": "images/{case_id}_{channel}.nii.gz",
        "label": "labels/{case_id}.nii.gz",
        "cases": cases,
        "splits": splits,
    }
    return DataManifest.from_mapping(values, source="dataset.json")


def _harmless(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value
