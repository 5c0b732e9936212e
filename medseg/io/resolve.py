"""From the paths a person typed to cases whose channels are known by name.

In: files, folders and ``CHANNEL=PATH`` strings. Out: one ``CaseFiles`` a case, in the channel order of the
model. A folder is one series where it holds DICOM slices, else one case or several by the names of its files,
else a cohort of such folders, at most two levels deep (``HGG/BraTS19_…/``).
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from medseg.errors import CaseError, MedsegError
from medseg.io.case import CaseFiles, ChannelFile, ChannelSpec, FailedCase
from medseg.io.dicom.series import is_dicom_folder
from medseg.io.formats import image_suffix, is_hidden, name_without_suffix
from medseg.io.grouping import group_files
from medseg.io.naming import ChannelVocabulary, is_label_name

__all__ = ["resolve_cases", "unread_files"]

COHORT_DEPTH = 2
"""Folders of case folders, and one level of grades between them, as BraTS 2018 and 2019 have it."""

FRAME = re.compile(r"^(?P<path>.+)#(?P<frame>\d+)$")


def resolve_cases(
    inputs: Sequence[str | Path], *, channels: Sequence[ChannelSpec], passing_over: Collection[Path] = ()
) -> list[CaseFiles | FailedCase]:
    """The cases that ``inputs`` name, each with one file for every one of ``channels``.

    All ``CHANNEL=PATH`` strings together are one case; ``PATH#2`` in them is one frame of a 4D file. What a
    person typed must resolve; of a cohort folder, members that do not come back as ``FailedCase``.

    Args:
        inputs: what a person typed.
        channels: what a model wants.
        passing_over: files and folders below the folders of ``inputs`` that are known to be no scans.
    Raises:
        CaseError: an input does not resolve or is ambiguous, or two cases have the same case id.
    """
    vocabulary = ChannelVocabulary(channels)
    cases: list[CaseFiles | FailedCase] = []
    files: list[Path] = []
    named: list[ChannelFile] = []
    try:
        for given in inputs:
            if not str(given).strip():  # else the folder one is in, where a variable of a script is not set
                raise CaseError("an empty input was given: a file, a folder or CHANNEL=PATH was expected.")
            entry = _named_channel(str(given), vocabulary)
            path = Path(given)
            if entry is not None:
                named.append(entry)
            elif path.is_dir():
                cases.extend(_folder_cases(path, vocabulary, frozenset(passing_over)))
            elif path.exists():
                files.append(path)
            else:
                raise CaseError(f"{given} does not exist: a file, a folder or CHANNEL=PATH was expected.")
    except OSError as error:
        raise CaseError(f"{error.filename or 'an input'} cannot be opened: {error.strerror}. Check it.") from error
    if files:
        cases.extend(_typed(group_files(files, vocabulary, folder=files[0].parent, are_typed=True), "the files given"))
    if named:
        cases.append(_named_case(named, vocabulary))
    cases = [_named_in_text(case, inputs) for case in cases]
    if not cases:
        raise CaseError("no input was given: a file, a folder or CHANNEL=PATH was expected.")
    _refuse_same_id(cases)
    return cases


def unread_files(inputs: Sequence[str | Path]) -> tuple[Path, ...]:
    """The files in the folders among ``inputs`` that are no image of a known format and are passed over."""
    folders = [leaf for given in inputs if Path(given).is_dir() for leaf in _case_folders(Path(given), COHORT_DEPTH)]
    return tuple(
        path
        for folder in folders
        if not is_dicom_folder(folder)
        for path in sorted(folder.iterdir())
        if path.is_file() and not is_hidden(path) and image_suffix(path) is None
    )


def _folder_cases(folder: Path, vocabulary: ChannelVocabulary, over: frozenset[Path]) -> list[CaseFiles | FailedCase]:
    cases: list[CaseFiles | FailedCase] = []
    for leaf in _case_folders(folder, COHORT_DEPTH, over):
        try:
            cases.extend(_cases_in(leaf, vocabulary, over))
        except MedsegError as error:
            cases.append(FailedCase(leaf.resolve().name, str(error)))
    return _typed(cases, folder.name) if all(isinstance(case, FailedCase) for case in cases) else cases


def _typed(cases: list[CaseFiles | FailedCase], name: str) -> list[CaseFiles | FailedCase]:
    """``cases``, unless one failed: what a person typed is refused as a whole."""
    failed = [case.message for case in cases if isinstance(case, FailedCase)]
    if failed:
        more = f" ({len(failed) - 1} more of {name} fail likewise.)" if len(failed) > 1 else ""
        raise CaseError(f"{failed[0]}{more}")
    return cases


def _named_in_text(case: CaseFiles | FailedCase, inputs: Sequence[str | Path]) -> CaseFiles | FailedCase:
    """The case, or a failed one where its name holds bytes that are no text: no record can be written of it.

    Raises:
        CaseError: it is all that a person typed.
    """
    name = case.case_id.encode("utf-8", "backslashreplace").decode()
    if name == case.case_id:
        return case
    message = f"{name}: the name of the file holds bytes that are no text in UTF-8. Rename it."
    if len(inputs) == 1 and not Path(inputs[0]).is_dir():
        raise CaseError(message)
    return FailedCase(name, message.partition(": ")[2])


def _case_folders(folder: Path, depth: int, over: frozenset[Path] = frozenset()) -> list[Path]:
    """The folders in and below ``folder`` that hold images themselves; an empty one stands for itself."""
    subfolders = [path for path in _shown(folder, over) if path.is_dir()]
    if depth == 0 or not subfolders or is_dicom_folder(folder) or _image_files(folder, over):
        return [folder]
    return [leaf for subfolder in subfolders for leaf in _case_folders(subfolder, depth - 1, over)]


def _shown(folder: Path, over: frozenset[Path]) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not is_hidden(path) and path not in over]


def _image_files(folder: Path, over: frozenset[Path]) -> list[Path]:
    return [path for path in _shown(folder, over) if path.is_file() and image_suffix(path) is not None]


def _cases_in(folder: Path, vocabulary: ChannelVocabulary, over: frozenset[Path]) -> list[CaseFiles | FailedCase]:
    """The cases that lie in ``folder`` itself."""
    name = folder.resolve().name
    images = _image_files(folder, over)
    if is_dicom_folder(folder):
        if images:
            raise CaseError(
                f"{name} holds DICOM slices and other images ({images[0].name}): one kind was expected. Separate them."
            )
        if len(vocabulary.names) > 1:
            raise CaseError(
                f"{name} is one DICOM series, one channel: {', '.join(vocabulary.names)} were expected. "
                f"Name each channel's folder, {vocabulary.names[0]}=FOLDER and so on."
            )
        return [CaseFiles(name, (ChannelFile(vocabulary.names[0], folder),))]
    series = [path for path in _shown(folder, over) if path.is_dir() and is_dicom_folder(path)]
    candidates = [path for path in images if not is_label_name(path)] + series
    if not candidates:
        found = "only label maps" if images else "no images"
        raise CaseError(
            f"{name} holds {found}: NIfTI, NRRD or MHA files, DICOM slices or folders of these were expected."
        )
    return _refuse_doubled(group_files(candidates, vocabulary, folder=folder), folder)


def _refuse_doubled(cases: list[CaseFiles | FailedCase], folder: Path) -> list[CaseFiles | FailedCase]:
    """``cases``, unless one is called like its folder: then the folder is that case, and other files are too many."""
    name = folder.resolve().name
    own = [case for case in cases if case.case_id.casefold() == name.casefold()]
    others = [case for case in cases if case not in own]
    if own and others and len(cases) > 1 and isinstance(own[0], CaseFiles):
        raise CaseError(
            f"{name} holds the files of {others[0].case_id} beside its own: one file for each channel was expected. "
            "Move them into a folder of their own."
        )
    return cases


def _named_channel(text: str, vocabulary: ChannelVocabulary) -> ChannelFile | None:
    """The channel that ``CHANNEL=PATH`` names, or None where ``text`` is a path."""
    word, equals, rest = text.partition("=")
    if not equals or "/" in word or "\\" in word or Path(text).exists():
        return None
    channel = vocabulary.channel(word)
    if channel is None:
        raise CaseError(f"{text}: no channel is called {word!r}: {', '.join(vocabulary.names)} were expected.")
    framed = FRAME.match(rest)
    path, frame = Path(rest), None
    if framed and not path.exists():
        path, frame = Path(framed["path"]), int(framed["frame"])
    if not path.exists():
        raise CaseError(f"{path} does not exist: the file of channel {channel} was expected there.")
    if path.is_dir() and not is_dicom_folder(path):
        raise CaseError(f"{path} holds no DICOM slices: a file or one DICOM series was expected for {channel}.")
    return ChannelFile(channel, path, frame)


def _named_case(named: Sequence[ChannelFile], vocabulary: ChannelVocabulary) -> CaseFiles:
    entry_of: dict[str, ChannelFile] = {}
    for entry in named:
        if entry.channel in entry_of:
            raise CaseError(
                f"channel {entry.channel} was given twice ({entry_of[entry.channel].path.name}, {entry.path.name}): "
                "one file for each channel was expected."
            )
        entry_of[entry.channel] = entry
    missing = [name for name in vocabulary.names if name not in entry_of]
    if missing:
        raise CaseError(
            f"no file was given for channel {' or '.join(missing)}: {', '.join(vocabulary.names)} were expected. "
            f"Add {missing[0]}=PATH."
        )
    channels = tuple(entry_of[name] for name in vocabulary.names)
    return CaseFiles(_shared_name([entry.path for entry in channels], vocabulary), channels)


def _shared_name(paths: Sequence[Path], vocabulary: ChannelVocabulary) -> str:
    """What the case is called whose channels lie in ``paths``: what their names share, else their folder's name."""
    if len(set(paths)) == 1:
        return name_without_suffix(paths[0])
    rests = {vocabulary.parse(name_without_suffix(path)).rest for path in paths}
    if len(rests) == 1 and (shared := rests.pop()):
        return shared
    folders = {path.resolve().parent for path in paths}
    return folders.pop().name if len(folders) == 1 else name_without_suffix(paths[0])


def _refuse_same_id(cases: Sequence[CaseFiles | FailedCase]) -> None:
    path_of: dict[str, Path] = {}
    for case in cases:
        if isinstance(case, FailedCase):
            continue
        key = case.case_id.casefold()  # some disks take names that differ in case only for one
        if key in path_of and path_of[key].resolve() == case.channels[0].path.resolve():
            raise CaseError(f"{case.channels[0].path} was given twice: give it once.")
        if key in path_of:
            raise CaseError(
                f"two cases are called {case.case_id} ({path_of[key]} and {case.channels[0].path}): their results "
                "would overwrite each other. Rename one, or run them one after the other."
            )
        path_of[key] = case.channels[0].path
