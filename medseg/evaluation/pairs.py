"""Which prediction belongs to which reference: by file name, completely or not at all.

In: two files, or two folders (or one of each). Out: one ``Pair`` a case, in the order of the case ids.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import CaseError
from medseg.io.formats import ITK_SUFFIXES, MAP_WORDS, NIFTI_SUFFIXES, image_suffix, is_hidden, name_without_suffix

__all__ = ["Pair", "pair_files"]

EXPECTED = f"a name ending in {', '.join(NIFTI_SUFFIXES + ITK_SUFFIXES)} was expected"

NAMED_AT_MOST = 5
"""File names that an error lists before it only counts."""


@dataclass(frozen=True)
class Pair:
    """One case: the file of the prediction and the file of the reference."""

    case_id: str
    prediction: Path
    reference: Path


def pair_files(predictions: Path, references: Path) -> list[Pair]:
    """The pairs of two files or folders, matched by file name without its ending (``X.seg.nrrd`` ↔ ``X.nii.gz``).

    Two single files are a pair whatever their names are; the reference's name is then the case id. In a folder
    only label files count: hidden files, sub-folders and the pictures, records and tables that lie beside
    predictions (``.png``, ``.json``, ``.csv``, …) are not looked at, nor maps beside them (``X_uncertainty.nii.gz``)
    that no reference is called after.

    Raises:
        CaseError: a path is missing or holds no label file, two files of one folder have the same case id, or
            a file has no partner.
    """
    if predictions.is_file() and references.is_file():
        prediction, reference = _label_files(predictions), _label_files(references)
        case_id = next(iter(reference))
        return [Pair(case_id=case_id, prediction=next(iter(prediction.values())), reference=reference[case_id])]
    found, expected = _label_files(predictions), _label_files(references)
    predicted = {case_id: path for case_id, path in found.items() if case_id in expected or not _is_map(case_id, found)}
    _refuse_unmatched(predicted, expected, what="prediction", partner="reference", place=references)
    _refuse_unmatched(expected, predicted, what="reference", partner="prediction", place=predictions)
    return [
        Pair(case_id=case_id, prediction=predicted[case_id], reference=expected[case_id])
        for case_id in sorted(expected)
    ]


def _label_files(place: Path) -> dict[str, Path]:
    """The label files at ``place`` by case id."""
    if place.is_file():
        if image_suffix(place) is None:
            raise CaseError(f"{place} is no label file: {EXPECTED}.")
        return {name_without_suffix(place): place}
    if not place.is_dir():
        raise CaseError(f"{place} does not exist: a label file, or a folder of label files, was expected.")
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        if is_hidden(path) or image_suffix(path) is None or not path.is_file():
            continue
        case_id = name_without_suffix(path)
        if case_id in files:
            raise CaseError(
                f"{place} holds {files[case_id].name} and {path.name} for one case: one label file a case was "
                "expected. Move one of them elsewhere."
            )
        files[case_id] = path
    if not files:
        raise CaseError(f"{place} holds no label file: {EXPECTED}, directly in that folder.")
    return files


def _is_map(name: str, files: Collection[str]) -> bool:
    """Whether a file is called as ``medseg segment`` calls a map beside one of the label files."""
    return any(name.endswith(f"_{word}") and name.removesuffix(f"_{word}") in files for word in MAP_WORDS)


def _refuse_unmatched(
    files: dict[str, Path], partners: dict[str, Path], *, what: str, partner: str, place: Path
) -> None:
    lonely = [files[case_id].name for case_id in sorted(set(files) - set(partners))]
    if not lonely:
        return
    named = ", ".join(lonely[:NAMED_AT_MOST]) + (
        f" and {len(lonely) - NAMED_AT_MOST} more" if len(lonely) > NAMED_AT_MOST else ""
    )
    raise CaseError(
        f"{len(lonely)} {what} file{'s' if len(lonely) > 1 else ''} without a {partner} in {place}: {named}. "
        "Files pair by name without ending: rename, add or move files until both sides hold the same cases."
    )
