"""Which label file belongs to which case, and what is known of it.

In: a folder. Out: the label files in it by case, found by what medseg wrote beside them (the run record names the
case), by their names (``case_seg.nii.gz``, BraTS's ``case-seg.nii.gz``, ``seg.nii.gz`` in the folder of one case) or
by the folder they are in (``labelsTr/case.nii.gz``; a label server's ``labels/final/case.nii.gz``); and all files
that belong to a result and are no scan.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle import Extras, OutputPaths
from medseg.errors import CaseError, SettingsError
from medseg.io import LABEL_SUFFIXES
from medseg.io.formats import image_suffix, is_hidden, name_without_suffix
from medseg.io.naming import is_label_name
from medseg.record import SHOWN_FIRST, UsedBundle, tag_of

__all__ = ["FoundLabels", "KnownSegmentation", "find_labels", "known_segmentation", "quality_of"]

DEPTH = 3
"""Folders below the one given: grades, cases, and a folder of results in each."""

LABEL_FOLDER = re.compile(r"labels?(tr|ts|val)?|seg(mentation)?s?|masks?|predictions?|results?", re.IGNORECASE)
"""How folders of label maps are called; in them a file is called like its case."""

LABEL_WORD = re.compile(r"[_\-. ]?(seg|segm|segmentation|label|labels|mask|msk|gtv|prediction)([_\-. ]silver)?$", re.I)

BY_ACCEPTANCE, BY_RECORD, BY_NAME, BY_FOLDER = range(4)
BY_TAG = {tag: BY_FOLDER + place for place, tag in enumerate(SHOWN_FIRST)} | {tag_of("accepted"): BY_ACCEPTANCE}
"""Which of several files counts. A label server's folders are called by tags: accepted labels first, proposals last."""


@dataclass(frozen=True)
class KnownSegmentation:
    """A label file and what its run record and statistics tell: the model, and a quality from 0 (worst) to 1."""

    path: Path
    bundle: UsedBundle | None = None
    quality: float | None = None
    made_utc: str = ""

    @property
    def is_result(self) -> bool:
        """Whether a run record lies beside it, which names its case."""
        return bool(self.made_utc)


@dataclass(frozen=True)
class FoundLabels:
    """The label file of each case by its case id, and everything below the folder that is no scan.

    ``beside`` has the same for the scans of one folder alone: two folders may use a name twice, each for its own.
    """

    of_case: Mapping[str, KnownSegmentation]
    beside: Mapping[tuple[Path, str], KnownSegmentation]
    no_scans: frozenset[Path]


def find_labels(folder: Path, *, skipping: Path | None = None) -> FoundLabels:
    """The label files in and below ``folder``.

    Of several for one case, what medseg wrote comes first, the newest of it before the rest.

    Args:
        folder: three levels of folders in it are looked through.
        skipping: a folder that is left out, and counts as none of scans.
    Raises:
        CaseError: the folder is not there or cannot be read.
    """
    claims: dict[str, list[tuple[int, KnownSegmentation]]] = {}
    no_scans = set() if skipping is None else {skipping}
    try:
        for below, names in _folders(folder, skipping, DEPTH):
            images = [path for path in names if image_suffix(path) is not None]
            taken = set(_add_claims(images, claims, rank_here=_rank_in(below, folder)))
            no_scans |= taken
            if below != folder and images and taken.issuperset(images):
                no_scans.add(below)
    except OSError as error:
        raise CaseError(f"{error.filename or folder} cannot be opened: {error.strerror}. Give a folder.") from error
    best = {case_id: _best(entries) for case_id, entries in claims.items()}
    return FoundLabels(best, _by_folder(claims), frozenset(no_scans))


def known_segmentation(path: Path) -> KnownSegmentation:
    """What lies beside a label file: its model and its quality."""
    if not path.name.lower().endswith(LABEL_SUFFIXES):  # of a format that is read and never written
        return KnownSegmentation(path)
    files = OutputPaths.beside(path)
    record, statistics = _json(files.record), _json(files.statistics)
    try:
        bundle = UsedBundle.from_mapping(record["bundle"], source=files.record.name) if "bundle" in record else None
    except SettingsError:  # a record of another program, which may use the same word
        bundle = None
    return KnownSegmentation(path, bundle, quality_of(record, statistics), str(record.get("started_utc", "")))


def quality_of(record: Mapping[str, Any], statistics: Mapping[str, Any]) -> float | None:
    """How far a segmentation can be trusted, from 0 to 1; None where nothing is known.

    It is the number called ``quality`` in the statistics or in the run record. Without one, and where the statistics
    hold intervals of the volumes, it is the mean over the labels of the least volume divided by the largest: 1 where
    every volume is certain, 0 where each may as well be nothing.
    """
    for values in (statistics, record):
        stated = values.get("quality")
        if isinstance(stated, int | float) and not isinstance(stated, bool):
            return float(stated)
    labels = statistics.get("labels")
    intervals = [_interval(entry) for entry in labels] if isinstance(labels, list) else []
    shares = [least / largest for least, largest in intervals if largest > 0]
    return sum(shares) / len(shares) if shares else None


def _folders(folder: Path, skipping: Path | None, depth: int) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder to look through, with its files."""
    entries = [path for path in sorted(folder.iterdir()) if not is_hidden(path) and path != skipping]
    yield folder, [path for path in entries if path.is_file()]
    if depth:
        for path in entries:
            if path.is_dir():
                yield from _folders(path, skipping, depth - 1)


def _rank_in(below: Path, folder: Path) -> int | None:
    """The rank of files called like their cases in a folder of label maps; None where it is none."""
    if below == folder:
        return None
    if LABEL_FOLDER.fullmatch(below.name):
        return BY_FOLDER
    is_by_tag = below.parent != folder and LABEL_FOLDER.fullmatch(below.parent.name)
    return BY_TAG.get(below.name) if is_by_tag else None


def _add_claims(
    images: Iterable[Path], claims: dict[str, list[tuple[int, KnownSegmentation]]], *, rank_here: int | None
) -> Iterator[Path]:
    """Note whose label maps ``images`` are, and name every file that is no scan; ``rank_here`` as by ``_rank_in``."""
    for path in images:
        is_own = path.name.lower().endswith(LABEL_SUFFIXES)
        files = OutputPaths.beside(path, Extras(uncertainty=True, probabilities=True)) if is_own else None
        record = _json(files.record) if files else {}
        name = name_without_suffix(path)
        if files and {"case_id", "bundle", "output_grid"} <= record.keys():
            case_id, rank = str(record["case_id"]), BY_RECORD
            yield from files.all
        elif is_label_name(path):
            case_id, rank = LABEL_WORD.sub("", name) or path.resolve().parent.name, BY_NAME
        elif rank_here is not None:
            case_id, rank = name, rank_here
        else:
            continue
        claims.setdefault(case_id, []).append((rank, known_segmentation(path)))
        yield path


def _best(entries: list[tuple[int, KnownSegmentation]]) -> KnownSegmentation:
    rank = min(rank for rank, _ in entries)
    return max((known for one, known in entries if one == rank), key=lambda known: known.made_utc)


def _by_folder(
    claims: Mapping[str, list[tuple[int, KnownSegmentation]]],
) -> dict[tuple[Path, str], KnownSegmentation]:
    """The best of each folder for each name; a label server's folders belong to that of its scans, labels/TAG above."""
    entries: dict[tuple[Path, str], list[tuple[int, KnownSegmentation]]] = {}
    for name, claimed in claims.items():
        for rank, known in claimed:
            is_by_tag = rank == BY_ACCEPTANCE or rank > BY_FOLDER
            entries.setdefault((known.path.parents[2 if is_by_tag else 0], name), []).append((rank, known))
    return {place: _best(claimed) for place, claimed in entries.items()}


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _interval(entry: Any) -> tuple[float, float]:
    """The interval of one label's volume; nothing to nothing where there is none."""
    match entry:
        case {"volume_interval_ml": [int() | float() as least, int() | float() as largest]}:
            return least, largest
    return 0.0, 0.0
