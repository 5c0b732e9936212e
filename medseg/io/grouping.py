"""Files side by side → cases: those whose names differ only in the channel belong together.

In: image files (and DICOM folders) and the channels a model wants. Out: one ``CaseFiles`` a case, a
``FailedCase`` where a case lacks a channel or has one twice.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import CaseError, MedsegError
from medseg.io.case import CaseFiles, ChannelFile, FailedCase
from medseg.io.formats import name_without_suffix
from medseg.io.loading import count_channels
from medseg.io.naming import ChannelVocabulary, ParsedName

__all__ = ["group_files"]

BARE_NAMES = {"image", "img", "volume", "scan", "ct", "mr", "mri", "pet", "cbct"}
"""File names that say nothing about the case: in a folder of its own, the folder's name is the case's."""


@dataclass(frozen=True)
class NamedFile:
    """A file and what its name says."""

    path: Path
    parsed: ParsedName


def group_files(
    paths: Sequence[Path], vocabulary: ChannelVocabulary, *, folder: Path, are_typed: bool = False
) -> list[CaseFiles | FailedCase]:
    """The cases among ``paths``; ``folder`` names a case whose files say nothing but their channel.

    Files that a person typed one by one keep their own names where each is a case.
    """
    files = [NamedFile(path, vocabulary.parse(name_without_suffix(path))) for path in paths]
    if len(vocabulary.names) == 1:
        return list(_one_case_each(files, vocabulary.names[0], None if are_typed else folder))
    groups, unnamed = _groups(files)
    cases: list[CaseFiles | FailedCase] = [
        _attempt(rest or folder.resolve().name, group, vocabulary) for rest, group in groups.items()
    ]
    leftover: list[Path] = []
    for path in unnamed:
        try:
            channels = count_channels(path)
            if channels > 1:
                cases.append(_frames_case(path, channels, vocabulary))
            else:
                leftover.append(path)
        except MedsegError as error:
            cases.append(FailedCase(name_without_suffix(path), str(error)))
    return _with_leftover(cases, leftover, vocabulary, folder=folder)


def _one_case_each(files: Sequence[NamedFile], channel: str, folder: Path | None) -> list[CaseFiles]:
    """For models of one channel: every file is a case.

    In a folder, files that name another channel are left out, and ``folder`` names a file that has no name of its
    own; None: the files were typed one by one, and all are meant as they are.
    """
    if folder is not None and any(file.parsed.channel for file in files):
        files = [file for file in files if not file.parsed.is_other]
    numbers = {file.parsed.number for file in files} - {None}
    cases = []
    for file in files:
        name = name_without_suffix(file.path)
        if file.parsed.number == 0 and numbers == {0}:  # with other numbers beside it, it counts cases, not channels
            name = file.parsed.rest
        if folder is not None and (not file.parsed.rest or (name.lower() in BARE_NAMES and len(files) == 1)):
            name = folder.resolve().name
        cases.append(CaseFiles(name, (ChannelFile(channel, file.path),)))
    return cases


def _groups(files: Sequence[NamedFile]) -> tuple[dict[str, list[NamedFile]], list[Path]]:
    """Files of one case by what is left of their names without the channel; and files that name no channel."""
    counted = {file.parsed.rest for file in files if file.parsed.number == 0}
    groups: dict[str, list[NamedFile]] = {}
    unnamed = []
    for file in files:
        parsed = file.parsed
        if parsed.channel or parsed.is_other or (parsed.number is not None and parsed.rest in counted):
            groups.setdefault(parsed.rest, []).append(file)
        else:
            unnamed.append(file.path)
    return groups, unnamed


def _attempt(case_id: str, group: Sequence[NamedFile], vocabulary: ChannelVocabulary) -> CaseFiles | FailedCase:
    try:
        return _channels_case(case_id, group, vocabulary)
    except MedsegError as error:
        return FailedCase(case_id, str(error))


def _channels_case(case_id: str, group: Sequence[NamedFile], vocabulary: ChannelVocabulary) -> CaseFiles:
    """The case whose channels are files of their own."""
    numbered, note = _channels_by_number(group, vocabulary)
    files_of: dict[str, list[Path]] = {}
    for file in group:
        number = file.parsed.number
        channel = file.parsed.channel if number is None else numbered[number]
        if channel is not None:
            files_of.setdefault(channel, []).append(file.path)
    for channel, paths in files_of.items():
        if len(paths) > 1:
            raise CaseError(
                f"{case_id} has {len(paths)} files for channel {channel} ({_names(paths)}): one was expected. "
                f"Remove all but one, or name each channel's file, {channel}=PATH and so on."
            )
    missing = [name for name in vocabulary.names if name not in files_of]
    if missing:
        raise CaseError(
            f"{case_id} has no file for {' or '.join(missing)}: {', '.join(vocabulary.names)} were expected, "
            f"{_names([file.path for file in group])} found. Add it, or name each channel's file, {missing[0]}=PATH "
            "and so on."
        )
    channels = tuple(ChannelFile(name, files_of[name][0]) for name in vocabulary.names)
    return CaseFiles(case_id, channels, notes=(f"{case_id}: {note}.",) if note else ())


def _channels_by_number(
    group: Sequence[NamedFile], vocabulary: ChannelVocabulary
) -> tuple[tuple[str | None, ...], str]:
    """The channel of each of nnU-Net's numbers in ``group``, and where that is known from ("" without numbers)."""
    numbers = sorted({file.parsed.number for file in group if file.parsed.number is not None})
    if not numbers:
        return (), ""
    count = numbers[-1] + 1
    declared = _declared_channels(group[0].path.parent, vocabulary)
    channels, note = declared if declared else vocabulary.numbered_channels(count)
    if len(channels) < count:
        raise CaseError(
            f"{group[0].parsed.rest} has channels numbered up to {numbers[-1]:04d}: "
            f"{', '.join(vocabulary.names)} were expected. "
            f"Name each channel's file, {vocabulary.names[0]}=PATH and so on."
        )
    return channels, note


def _frames_case(path: Path, count: int, vocabulary: ChannelVocabulary) -> CaseFiles:
    """The case whose channels are the frames of one 4D file."""
    declared = _declared_channels(path.parent, vocabulary)
    channels, note = declared if declared and len(declared[0]) == count else vocabulary.frame_channels(count)
    missing = [name for name in vocabulary.names if name not in channels]
    if missing:
        first = vocabulary.names[0]
        raise CaseError(
            f"{path.name} holds {count} channels, of which none is known to be {' or '.join(missing)}: "
            f"{', '.join(vocabulary.names)} were expected. Name each channel's frame, {first}={path.name}#0 and so on."
        )
    entries = tuple(ChannelFile(name, path, channels.index(name)) for name in vocabulary.names)
    return CaseFiles(name_without_suffix(path), entries, notes=(f"{path.name}: {note}.",))


def _with_leftover(
    cases: list[CaseFiles | FailedCase], leftover: Sequence[Path], vocabulary: ChannelVocabulary, *, folder: Path
) -> list[CaseFiles | FailedCase]:
    """``cases`` and what becomes of single-channel files that no name ties to a channel.

    Beside the one case of a folder they are passed over with a note; anywhere else each is a failed case.
    """
    if leftover and len(cases) == 1 and isinstance(cases[0], CaseFiles):
        only = cases[0]
        note = f"{folder.resolve().name}: not used, since its name gives no channel: {_names(leftover)}."
        return [CaseFiles(only.case_id, only.channels, (*only.notes, note))]
    return cases + [
        FailedCase(
            name_without_suffix(path),
            f"{path.name} holds one channel and its name does not say which of {', '.join(vocabulary.names)}. "
            f"Give a folder with one file for each, or name each channel's file, {vocabulary.names[0]}=PATH and so on.",
        )
        for path in leftover
    ]


def _declared_channels(folder: Path, vocabulary: ChannelVocabulary) -> tuple[tuple[str | None, ...], str] | None:
    """The channels that a ``dataset.json`` in ``folder`` or above it lists, Decathlon's or nnU-Net's; None without."""
    for path in (folder / "dataset.json", folder.resolve().parent / "dataset.json"):
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            listed = content.get("channel_names") or content.get("modality")
            words = [str(listed[key]) for key in sorted(listed, key=int)] if listed else []
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise CaseError(
                f"{path.parent.name}/dataset.json does not list its channels as numbers and names ({error}): repair or "
                "remove it."
            ) from error
        if words:
            return tuple(vocabulary.channel(word) for word in words), "channels were read in the order of dataset.json"
    return None


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)
