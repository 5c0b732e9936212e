"""``dataset.json`` of others: the Medical Segmentation Decathlon's and nnU-Net's, as the values of a manifest.

They look alike and are not: the Decathlon lists its files and writes labels as ``{"1": "name"}``; the first nnU-Net
lists them too, and keeps each channel in a file of its own; the second finds files by their names and writes
``{"name": 1}``, or ``{"name": [1, 2]}`` for regions.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.data.splits import SplitRule, with_training
from medseg.errors import DataError

__all__ = ["is_dataset_json", "manifest_values"]

COLORS = (
    (230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66),
    (148, 103, 189), (140, 86, 75), (23, 190, 207), (188, 189, 34), (127, 127, 127),
)  # fmt: skip
"""Colours for labels that have none: Okabe and Ito's, then more."""

NNUNET_CHANNEL = "_{number:04d}"

NUMBERED = re.compile(r"_\d{4}$")
"""How the name of a channel's file ends, before its suffix."""

WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*")
"""A word in a name, however it is written: ``left_kidney``, ``LeftKidney``."""

SIDES = {"left": {"left", "lt", "l"}, "right": {"right", "rt", "r"}}
"""Words that state a side."""

Case = tuple[str, str, list[str], str]
"""Split, case id, images and label."""


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
    cases = _nnunet_cases(values, folder, len(names)) if is_nnunet else _msd_cases(values, folder, len(names))
    unlabelled = _nnunet_unlabelled(values, folder, cases) if is_nnunet else _msd_unlabelled(values, folder, len(names))
    title = str(values.get("name") or folder.name)
    labels, regions = _labels(values)
    manifest = {
        "name": title,
        "title": title,
        "folder": ".",
        "licence": str(values.get("licence") or values.get("license") or "not stated"),
        "citation": str(values.get("reference") or values.get("description") or "not stated"),
        "channels": [{"name": name, "modality": _modality(name)} for name in names],
        "labels": labels,
        "regions": regions,
        "image": "imagesTr/{case_id}*",
        "label": "labelsTr/{case_id}*",
        "cases": {case_id: {"images": images, "label": label} for _, case_id, images, label in cases},
        "unlabelled": unlabelled,
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
    return with_training(drawn)


def _msd_cases(values: Mapping[str, Any], folder: Path, channels: int) -> list[Case]:
    cases = []
    for key, split in (("training", "train"), ("validation", "validation"), ("test", "test")):
        entries = values.get(key) or []
        if not isinstance(entries, list):
            raise DataError(f"dataset.json: {key} is {entries!r}: a list of images and labels was expected.")
        for entry in entries:
            if not isinstance(entry, Mapping) or "label" not in entry:
                continue  # a scan without labels
            if not entry.get("image"):
                raise DataError(f"dataset.json: an entry of {key} has no image: image and label were expected.")
            images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
            label = str(entry["label"])
            cases.append((split, _stem(label), _on_disk([str(image) for image in images], folder, channels), label))
    if not cases:
        raise DataError("dataset.json names no case with a label: entries with image and label were expected.")
    return _told_apart(cases)


def _msd_unlabelled(values: Mapping[str, Any], folder: Path, channels: int) -> dict[str, list[str]]:
    """Listed images without a label that are there; an image may be listed by its path alone."""
    found: dict[str, list[str]] = {"train": [], "test": []}
    for key, split in (("training", "train"), ("validation", "train"), ("test", "test")):
        for entry in values.get(key) or []:
            images = entry.get("image") if isinstance(entry, Mapping) and "label" not in entry else entry
            images = [images] if isinstance(images, str) else images
            if isinstance(images, list) and images and (folder / _on_disk(images, folder, channels)[0]).exists():
                found[split].append(_stem(images[0]))
    return found


def _on_disk(images: list[str], folder: Path, channels: int) -> list[str]:
    """The files of a case: the first nnU-Net lists ``case.nii.gz`` and keeps ``case_0000.nii.gz`` and so on."""
    if len(images) > 1 or (folder / images[0]).exists():
        return images
    place, _, name = images[0].rpartition("/")
    stem, ending = _stem(name), name.removeprefix(_stem(name))
    numbered = [str(PurePosixPath(place) / f"{stem}_{number:04d}{ending}") for number in range(channels)]
    return numbered if (folder / numbered[0]).exists() else images


def _told_apart(cases: list[Case]) -> list[Case]:
    """The cases under the names of their label files, or of their whole paths where those are not enough.

    Raises:
        DataError: a file of labels stands in the list twice.
    """
    paths = Counter(label for *_, label in cases)
    twice = next((path for path, count in paths.items() if count > 1), None)
    if twice is not None:
        raise DataError(f"dataset.json lists {twice} twice: each case once was expected. Remove one of the entries.")
    if len({case_id for _, case_id, _, _ in cases}) == len(cases):
        return cases
    return [(split, _whole_name(label), images, label) for split, _, images, label in cases]


def _whole_name(label: str) -> str:
    return "_".join(
        part for part in PurePosixPath(label.replace("\\", "/")).with_name(_stem(label)).parts if part != "."
    )


def _nnunet_cases(values: Mapping[str, Any], folder: Path, channels: int) -> list[Case]:
    listed = values.get("dataset")
    if isinstance(listed, Mapping) and listed:
        try:
            return [
                ("train", str(name), list(map(str, one["images"])), str(one["label"])) for name, one in listed.items()
            ]
        except (KeyError, TypeError) as error:
            raise DataError("dataset.json: an entry of dataset lacks images or label: both were expected.") from error
    ending = str(values.get("file_ending", ".nii.gz"))
    cases = []
    for split, images_folder, labels_folder in (("train", "imagesTr", "labelsTr"), ("test", "imagesTs", "labelsTs")):
        for label in sorted((folder / labels_folder).glob(f"[!.]*{ending}")):
            case_id = label.name.removesuffix(ending)
            images = [
                f"{images_folder}/{case_id}{NNUNET_CHANNEL.format(number=number)}{ending}" for number in range(channels)
            ]
            cases.append((split, case_id, images, f"{labels_folder}/{label.name}"))
    if not cases:
        raise DataError(f"beside this nnU-Net dataset.json lies no labelsTr/*{ending}: it was expected there.")
    return cases


def _nnunet_unlabelled(values: Mapping[str, Any], folder: Path, cases: Sequence[Case]) -> dict[str, list[str]]:
    """Images on disk that belong to no case: those of nnU-Net's test cases, and others that lack their labels."""
    ending = str(values.get("file_ending", ".nii.gz"))
    known = {case_id for _, case_id, _, _ in cases} | {_stem(image) for _, _, images, _ in cases for image in images}
    found = {}
    for split, place in (("train", "imagesTr"), ("test", "imagesTs")):
        stems = {path.name.removesuffix(ending) for path in (folder / place).glob(f"[!.]*{ending}")} - known
        found[split] = sorted({NUMBERED.sub("", stem) for stem in stems} - known)
    return found


def _labels(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Label entries of either kind, without background and without nnU-Net's ``ignore``; and regions."""
    if not isinstance(values["labels"], Mapping):
        raise DataError(f"dataset.json: labels are {values['labels']!r}: names with their numbers were expected.")
    pairs: list[tuple[int, str]] = []
    unions: list[tuple[str, list[int]]] = []
    for key, value in values["labels"].items():
        if str(key).isdigit():
            pairs.append((int(key), str(value)))
        elif isinstance(value, int):
            pairs.append((value, str(key)))
        elif isinstance(value, Sequence) and value and all(isinstance(one, int) for one in value):
            unions.append((str(key), [int(one) for one in value]))
        else:
            raise DataError(f"dataset.json: label {key!r} is {value!r}: a number was expected.")
    kept = [(index, name) for index, name in pairs if index and name != "ignore"]
    regions: list[dict[str, Any]] = []
    if unions:
        ordered = [(name, [index]) for index, name in kept]
        place = list(map(str, values["labels"]))
        ordered = sorted([*ordered, *unions], key=lambda region: place.index(region[0]))
        kept, regions = _regions(ordered, values.get("regions_class_order"))
    entries = [
        {"index": index, "name": name, "color": COLORS[place % len(COLORS)], **_side(name)}
        for place, (index, name) in enumerate(sorted(kept))
    ]
    return entries, regions


def _regions(
    unions: Sequence[tuple[str, list[int]]], order: object
) -> tuple[list[tuple[int, str]], list[dict[str, Any]]]:
    """The labels that nnU-Net's regions are made of, and the regions in the order in which they paint.

    A value belongs to the region that paints it; what other regions paint inside that one is no part of the label.

    Raises:
        DataError: ``regions_class_order`` does not say what each region paints, or a value is painted by none.
    """
    if not isinstance(order, Sequence) or len(order) != len(unions):
        raise DataError(
            f"dataset.json: {len(unions)} regions need regions_class_order, the value that each of them paints: "
            f"found {order!r}."
        )
    painted = [int(value) for value in order]
    values = sorted({value for _, members in unions for value in members})
    if sorted(painted) != values or any(
        paint not in members for paint, (_, members) in zip(painted, unions, strict=True)
    ):
        raise DataError(
            f"dataset.json: regions_class_order {painted} must hold each value of the regions, {values}, once, and in "
            "the place of a region that it belongs to."
        )
    names = {}
    for paint, (name, members) in zip(painted, unions, strict=True):
        inside = [
            other for value, (other, _) in zip(painted, unions, strict=True) if value in members and value != paint
        ]
        names[paint] = f"{name} without {' and '.join(inside)}" if inside else name
    regions = [
        {"name": name, "labels": [names[value] for value in members], "paints": names[paint]}
        for paint, (name, members) in zip(painted, unions, strict=True)
    ]
    return list(names.items()), regions


def _side(name: str) -> dict[str, str]:
    """The side that a label's own name states: ``left kidney``, ``LeftKidney``, ``kidney_l``, ``Kidney (Lt)``."""
    words = {word.lower() for word in WORD.findall(name)}
    sides = [side for side, signs in SIDES.items() if words & signs]
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
