"""Worklists from what lies on the disk: a folder of scans, or the data set of a manifest.

In: a folder. Out: a ``Worklist``, with the segmentations that lie beside the scans and what the journal says.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data import DataManifest
from medseg.errors import CaseError
from medseg.io import CaseFiles, ChannelSpec, FailedCase, resolve_cases
from medseg.io.formats import image_suffix, name_without_suffix
from medseg.io.naming import BRATS_WORDS, ChannelVocabulary
from medseg.record import Journal
from medseg.review.edits import nested_regions
from medseg.review.folder import ReviewFolder
from medseg.review.segmentations import FoundLabels, KnownSegmentation, find_labels, known_segmentation
from medseg.review.states import CaseReview, review_states
from medseg.review.worklist import Worklist, WorklistCase, natural_order

__all__ = ["worklist_from_files", "worklist_from_folder", "worklist_from_manifest"]

ONE_CHANNEL = (ChannelSpec("image"),)
"""What a folder is read with where no model says which channels it wants."""

BRATS_CHANNELS = tuple(ChannelSpec(name, "MR") for name in BRATS_WORDS)

IMAGE_WORD = re.compile(r"[_\-. ](image|img|scan|volume)$", re.IGNORECASE)
"""``case_image.nrrd`` has its labels in ``case_label.nrrd``."""


def worklist_from_folder(
    folder: Path,
    *,
    channels: Sequence[ChannelSpec] | None = None,
    segmentations: Path | None = None,
    review: ReviewFolder | None = None,
) -> Worklist:
    """The cases in a folder of scans: files side by side, case folders, DICOM folders.

    Args:
        folder: the scans, with or without label files among them.
        channels: what the model wants; absent, the four of BraTS where files are named so, else one.
        segmentations: a folder of label files that are called like their cases, or written by medseg.
        review: where the review is kept; absent, in the folder ``review`` among the scans.
    Raises:
        CaseError: nothing in the folder resolves to a case.
        DataError: the journal is damaged.
    """
    place = review or ReviewFolder.of(folder)
    found = find_labels(folder, skipping=place.path)
    given = {} if segmentations is None else _given_labels(segmentations)
    over = found.no_scans | ({segmentations} if segmentations is not None else set())
    if channels is None:
        channels = _channels_in(folder, over)
    resolved = resolve_cases([folder], channels=channels, passing_over=over)
    cases = [case for case in resolved if isinstance(case, CaseFiles)]
    failed = tuple(case for case in resolved if isinstance(case, FailedCase))
    folders = frozenset(_scan_of(case).parent for case in cases)
    return _worklist(
        cases, lambda files: given.get(files.case_id) or _found_for(files, found, folders), place=place, failed=failed
    )


def worklist_from_files(files: Sequence[Path], *, channels: Sequence[ChannelSpec] | None = None) -> Worklist:
    """The cases that some files belong to, all in one folder, whose review they share.

    Raises:
        CaseError: the files lie in several folders, or one of them belongs to no case.
        DataError: the journal is damaged.
    """
    folders = {path.resolve().parent for path in files}
    if len(folders) != 1:
        raise CaseError(f"files of {len(folders)} folders were given: give those of one folder, or the folder itself.")
    whole = worklist_from_folder(folders.pop(), channels=channels)
    wanted = {path.resolve() for path in files}
    cases = tuple(
        case
        for case in whole.cases
        if wanted & {channel.path.resolve() for channel in case.files.channels}
        or (case.segmentation is not None and case.segmentation.resolve() in wanted)
    )
    if not cases:
        raise CaseError(f"{files[0].name} is no scan of a case and no segmentation of one: a scan was expected.")
    return replace(whole, cases=cases)


def worklist_from_manifest(
    manifest: DataManifest,
    data_root: Path,
    *,
    segmentations: Path | None = None,
    review: ReviewFolder | None = None,
) -> Worklist:
    """The cases of a data set that are on the disk, with their reference labels.

    Args:
        manifest: the data set.
        data_root: its folder, or the folder around it.
        segmentations: a folder of label files that take the place of the references where they are.
        review: where the review is kept; absent, in the folder ``review`` below ``data_root``.
    Raises:
        DataError: the data set is not there, or the journal is damaged.
    """
    names = [channel.name for channel in manifest.channels]
    cases, failed, labels = [], [], {}
    for case in manifest.locate_all(data_root):
        if not all(path.exists() for path in case.images):
            failed.append(FailedCase(case.case_id, f"{case.case_id} is in the manifest, but its scan is not here."))
            continue
        cases.append(CaseFiles(case.case_id, case.channel_files(names)))
        if case.label.is_file():
            labels[case.case_id] = known_segmentation(case.label)
    if segmentations is not None:
        labels |= _given_labels(segmentations)
    place = review or ReviewFolder.of(data_root)
    worklist = _worklist(cases, lambda files: labels.get(files.case_id), place=place, failed=tuple(failed))
    return replace(worklist, label_table=manifest.label_table, regions=nested_regions(manifest.schema_of_labels))


def _worklist(
    cases: Iterable[CaseFiles],
    labels_of: Callable[[CaseFiles], KnownSegmentation | None],
    *,
    place: ReviewFolder,
    failed: tuple[FailedCase, ...],
) -> Worklist:
    reviews = review_states(Journal(place.journal).entries())
    listed = []
    for files in cases:
        review = reviews.get(files.case_id) or CaseReview(files.case_id)
        known = labels_of(files)
        if known is None:
            listed.append(WorklistCase(files, review))
        else:
            listed.append(WorklistCase(files, review, known.path, known.quality, known.bundle))
    return Worklist(place, tuple(sorted(listed, key=_urgency)), failed)


def _found_for(files: CaseFiles, found: FoundLabels, folders: frozenset[Path]) -> KnownSegmentation | None:
    """What medseg made of the case, else the labels in the scan's folder, else those in a folder of labels.

    Labels in the folder of another scan are that one's: each patient may have a ``ct_seg.nii.gz`` of their own.

    Args:
        files: the case; one of a single scan may be called like its folder, and its labels like the scan.
        found: the label files.
        folders: those of all scans.
    """
    scan = _scan_of(files)
    names = (files.case_id, IMAGE_WORD.sub("", files.case_id))
    elsewhere = next((found.of_case[name] for name in names if name in found.of_case), None)
    if elsewhere is not None and elsewhere.is_result:
        return elsewhere
    places = [(scan.parent, name) for name in (*names, name_without_suffix(scan))]
    near = next((found.beside[place] for place in places if place in found.beside), None)
    if near is None and elsewhere is not None and elsewhere.path.parent not in folders:
        return elsewhere
    return near


def _scan_of(files: CaseFiles) -> Path:
    return files.channels[0].path


def _urgency(case: WorklistCase) -> tuple[bool, float, tuple[tuple[int, int, str], ...]]:
    """Those of known quality first, the worst of them first."""
    return case.quality is None, case.quality or 0.0, natural_order(case.case_id)


def _given_labels(folder: Path) -> dict[str, KnownSegmentation]:
    """Every label file in a folder that holds nothing else: what medseg wrote, and files called like their cases."""
    found = find_labels(folder)
    named = {
        name_without_suffix(path): known_segmentation(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and image_suffix(path) is not None and path not in found.no_scans
    }
    return {**named, **found.of_case}


def _channels_in(folder: Path, over: frozenset[Path]) -> Sequence[ChannelSpec]:
    """The channels of BraTS where one folder holds all four of one case, else one."""
    vocabulary = ChannelVocabulary(BRATS_CHANNELS)
    channels_of: dict[tuple[Path, str], set[str]] = {}
    for path in folder.rglob("*"):
        if path not in over and image_suffix(path) is not None:
            parsed = vocabulary.parse(name_without_suffix(path))
            if parsed.channel is not None:
                channels_of.setdefault((path.parent, parsed.rest), set()).add(parsed.channel)
    is_brats = any(len(found) == len(BRATS_CHANNELS) for found in channels_of.values())
    return BRATS_CHANNELS if is_brats else ONE_CHANNEL
