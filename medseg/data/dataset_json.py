"""``dataset.json`` of others: the Medical Segmentation Decathlon's and nnU-Net's, as the values of a manifest.

The two look alike and are not: the Decathlon lists its files and writes labels as ``{"1": "name"}``; nnU-Net
finds files by their names and writes ``{"name": 1}``, or ``{"name": [1, 2]}`` for regions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.data.splits import SplitRule
from medseg.errors import DataError

__all__ = ["is_dataset_json", "manifest_values"]

COLORS = (
    (230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66),
    (148, 103, 189), (140, 86, 75), (23, 190, 207), (188, 189, 34), (127, 127, 127),
)  # fmt: skip
"""Colours for labels that have none: Okabe and Ito's, then more."""

NNUNET_CHANNEL = "_{number:04d}"


def is_dataset_json(values: object) -> bool:
    """Whether the content of a JSON file is a ``dataset.json`` rather than a manifest."""
    return isinstance(values, Mapping) and "labels" in values and bool({"modality", "channel_names"} & set(values))


def manifest_values(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values of a manifest for a data set whose ``dataset.json`` lies in ``folder``.

    Cases with labels under ``test`` are the test split; without any, and for validation, cases are drawn by hash.

    Raises:
        DataError: the file contradicts itself, or its labels or cases cannot be understood.
    """
    is_nnunet = "channel_names" in values
    kind = "nnU-Net" if is_nnunet else "Medical Segmentation Decathlon"
    names = _numbered(values["channel_names"] if is_nnunet else values["modality"], "channels")
    cases = _nnunet_cases(values, folder, len(names)) if is_nnunet else _msd_cases(values)
    title = str(values.get("name") or folder.name)
    manifest = {
        "name": title,
        "title": title,
        "folder": ".",
        "licence": str(values.get("licence") or values.get("license") or "not stated"),
        "citation": str(values.get("reference") or values.get("description") or "not stated"),
        "channels": [{"name": name, "modality": _modality(name)} for name in names],
        "labels": _labels(values["labels"]),
        "image": "imagesTr/{case_id}*",
        "label": "labelsTr/{case_id}*",
        "cases": {case_id: {"images": images, "label": label} for _, case_id, images, label in cases},
        "notes": f"read from a dataset.json of the kind {kind}",
    }
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for split, case_id, _, _ in sorted(cases):
        splits[split].append(case_id)
    if splits["validation"] and splits["test"]:
        return manifest | {"splits": splits}
    return manifest | {"splits": _drawn(splits)}


def _drawn(splits: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The splits with validation, and a test split where none was given, drawn from the training cases."""
    rule = SplitRule(
        validation=0 if splits["validation"] else 0.1,
        test=0 if splits["test"] else 0.2,
    )
    drawn = {name: list(case_ids) for name, case_ids in splits.items()} | {"train": []}
    for case_id in splits["train"]:
        drawn[rule.split_of(case_id)].append(case_id)
    return drawn


def _msd_cases(values: Mapping[str, Any]) -> list[tuple[str, str, list[str], str]]:
    cases = []
    for key, split in (("training", "train"), ("validation", "validation"), ("test", "test")):
        for entry in values.get(key) or []:
            if not isinstance(entry, Mapping) or "label" not in entry:
                continue  # a scan without labels
            if "image" not in entry:
                raise DataError(f"dataset.json: an entry of {key} has no image: image and label were expected.")
            images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
            case_id = _stem(str(entry["label"]))
            cases.append((split, case_id, [str(image) for image in images], str(entry["label"])))
    if not cases:
        raise DataError("dataset.json names no case with a label: entries with image and label were expected.")
    return cases


def _nnunet_cases(values: Mapping[str, Any], folder: Path, channels: int) -> list[tuple[str, str, list[str], str]]:
    ending = str(values.get("file_ending", ".nii.gz"))
    cases = []
    for split, images_folder, labels_folder in (("train", "imagesTr", "labelsTr"), ("test", "imagesTs", "labelsTs")):
        for label in sorted((folder / labels_folder).glob(f"*{ending}")):
            case_id = label.name.removesuffix(ending)
            images = [
                f"{images_folder}/{case_id}{NNUNET_CHANNEL.format(number=number)}{ending}" for number in range(channels)
            ]
            cases.append((split, case_id, images, f"{labels_folder}/{label.name}"))
    if not cases:
        raise DataError(f"beside this nnU-Net dataset.json lies no labelsTr/*{ending}: it was expected there.")
    return cases


def _labels(labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Label entries of either kind, without background and without nnU-Net's ``ignore``."""
    pairs: list[tuple[int, str]] = []
    for key, value in labels.items():
        if str(key).isdigit():
            pairs.append((int(key), str(value)))
        elif isinstance(value, int):
            pairs.append((value, str(key)))
        elif isinstance(value, Sequence):
            raise DataError(
                f"dataset.json: {key!r} is a region of several values {list(value)}: name each value as a label, "
                "or write a manifest with a label schema that has regions."
            )
        else:
            raise DataError(f"dataset.json: label {key!r} is {value!r}: a number was expected.")
    kept = sorted((index, name) for index, name in pairs if index and name != "ignore")
    return [
        {"index": index, "name": name, "color": COLORS[place % len(COLORS)], **_side(name)}
        for place, (index, name) in enumerate(kept)
    ]


def _side(name: str) -> dict[str, str]:
    """The side that a label's own name states."""
    sides = [side for side in ("left", "right") if name.lower().startswith(side) or name.lower().endswith(side)]
    return {"laterality": sides[0]} if len(sides) == 1 else {}


def _numbered(entries: Mapping[str, Any], what: str) -> list[str]:
    try:
        return [str(entries[key]) for key in sorted(entries, key=int)]
    except (ValueError, AttributeError) as error:
        raise DataError(f"dataset.json: {what} must be numbered from 0, found {entries!r}") from error


def _modality(name: str) -> str:
    return "CT" if name.upper() == "CT" else "MR"


def _stem(path: str) -> str:
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return name.removesuffix(".gz").rsplit(".", 1)[0]
