"""What an image says of its labels: channels in the wrong order, labels of another edition, left taken for right.

In: a case as read. Out: one line for each doubt. These are signs, not proofs: a tumour may look unusual.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable

__all__ = ["doubts_of_brain_tumour", "doubts_of_channels", "doubts_of_sides"]

Volume = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

BRAIN_TUMOUR_CHANNELS = ("t1", "t1ce", "t2", "flair")

FEW_VOXELS = 100
"""A label below this many voxels says nothing of its intensity."""

CLEAR_DIFFERENCE = 0.5
"""In standard deviations of the brain: differences below it are left uncommented."""

FAR_MORE = 3
"""How many times more than oedema a tumour's core may border on healthy brain before that looks wrong."""

NEVER_ENHANCING = ("resection_cavity", "cystic_component")
"""Labels of fluid: contrast agent in them, where no enhancing tumour is marked, tells of another edition."""

BRIGHTEST = 97
"""Percentile above which healthy brain counts as bright: cerebrospinal fluid in T2."""


def doubts_of_channels(channels: Mapping[str, Volume]) -> list[str]:
    """Channels (I, J, K) that hold the same image."""
    names = list(channels)
    return [
        f"channels {first} and {second} hold the same image"
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        if np.array_equal(channels[first], channels[second])
    ]


def doubts_of_sides(labels: Labels, geometry: Geometry, table: LabelTable) -> list[str]:
    """Paired structures whose centre lies on the other side of their partner's, in the patient's axes."""
    doubts = _doubts_of_front_and_back(labels, geometry, table)
    for left, right in _pairs(table):
        centres = [_centre_mm(labels == label.index, geometry) for label in (left, right)]
        if centres[0] is None or centres[1] is None:
            continue
        if centres[0][0] > centres[1][0]:  # the first axis of the patient's space runs from left to right
            doubts.append(
                f"{left.name} lies to the right of {right.name}: image and labels are mirrored, or the two are swapped"
            )
    return doubts


def doubts_of_brain_tumour(channels: Mapping[str, Volume], labels: Labels, table: LabelTable) -> list[str]:
    """MR channels t1, t1ce, t2 and flair (I, J, K) that look like each other, and labels like those of another edition.

    Oedema is brighter in T2 and FLAIR than in both T1; fluid is bright in T2 and dark in FLAIR; enhancing tumour
    is what gains most from T1 to contrast-enhanced T1.
    """
    values = {label.name: label.index for label in table}
    if set(channels) != set(BRAIN_TUMOUR_CHANNELS) or not {"edema", "enhancing_tumor"} <= set(values):
        return []
    brain = np.all([volume != 0 for volume in channels.values()], axis=0)
    if brain.sum() < FEW_VOXELS:
        return []
    z = {name: _z_score(volume, brain) for name, volume in channels.items()}
    masks = {name: brain & (labels == value) for name, value in values.items()}
    masks = {name: mask for name, mask in masks.items() if mask.sum() >= FEW_VOXELS}
    healthy = brain & (labels == 0)
    doubts = _fluid(z, healthy) if healthy.sum() >= FEW_VOXELS else []
    if "edema" in masks:
        doubts += _oedema(z, masks["edema"])
    return doubts or _enhancement(z, masks) or _layers(labels, masks)


def _fluid(z: Mapping[str, Volume], healthy: NDArray[np.bool_]) -> list[str]:
    def mean_where_bright(name: str, bright: str) -> float:
        threshold = np.percentile(z[bright][healthy], BRIGHTEST)
        there = z[name][healthy & (z[bright] > threshold)]
        return float(there.mean()) if len(there) else float("nan")  # a channel of one value is nowhere bright

    if mean_where_bright("flair", "t2") > mean_where_bright("t2", "flair") + CLEAR_DIFFERENCE:
        return ["what is bright in t2 is bright in flair too, but not the other way round: t2 and flair look swapped"]
    return []


def _oedema(z: Mapping[str, Volume], edema: NDArray[np.bool_]) -> list[str]:
    mean = {name: float(volume[edema].mean()) for name, volume in z.items()}
    return [
        f"oedema is brighter in {dark} than in {bright}: {dark} and {bright} look swapped"
        for dark in ("t1", "t1ce")
        for bright in ("t2", "flair")
        if mean[dark] > mean[bright] + CLEAR_DIFFERENCE
    ]


def _enhancement(z: Mapping[str, Volume], masks: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    gain = {name: float((z["t1ce"] - z["t1"])[mask].mean()) for name, mask in masks.items()}
    ranked = sorted(gain, key=lambda name: gain[name])
    if len(gain) == 1:
        return []
    if "enhancing_tumor" not in gain:
        if ranked[-1] in NEVER_ENHANCING and gain[ranked[-1]] - gain[ranked[-2]] > CLEAR_DIFFERENCE:
            return [f"contrast agent gathers in {ranked[-1]}: the labels look like those of another edition"]
        return []
    if ranked[0] == "enhancing_tumor" and gain[ranked[1]] - gain[ranked[0]] > CLEAR_DIFFERENCE:
        return ["enhancing tumour is darker in t1ce than in t1: t1 and t1ce look swapped"]
    if gain[ranked[-1]] - gain["enhancing_tumor"] > CLEAR_DIFFERENCE:
        return [
            f"contrast agent gathers in {ranked[-1]}, not in enhancing_tumor: the labels look like those of "
            "another edition"
        ]
    return []


def _layers(labels: Labels, masks: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    """Oedema is the outermost layer: no other label should border on healthy tissue far more than it."""
    near_background = ndimage.binary_dilation(labels == 0)
    contact = {name: int((mask & near_background).sum()) for name, mask in masks.items()}
    outermost = max(contact, key=lambda name: contact[name], default="edema")
    if outermost in ("edema", "enhancing_tumor") or contact[outermost] < FAR_MORE * contact.get("edema", 0):
        return []
    return [f"{outermost} lies around edema, not inside it: the labels look like those of another edition"]


def _doubts_of_front_and_back(labels: Labels, geometry: Geometry, table: LabelTable) -> list[str]:
    """Parts whose names say that one lies in front of the other; the second axis runs from back to front."""
    backs = {label.name.lower().replace("posterior", ""): label for label in table if "posterior" in label.name.lower()}
    doubts = []
    for front in table:
        back = backs.get(front.name.lower().replace("anterior", "")) if "anterior" in front.name.lower() else None
        centres = [_centre_mm(labels == label.index, geometry) for label in (front, back) if label is not None]
        if len(centres) == 2 and centres[0] is not None and centres[1] is not None and centres[0][1] < centres[1][1]:
            doubts.append(f"{front.name} lies behind the posterior one: image and labels are mirrored, or swapped")
    return doubts


def _z_score(volume: Volume, brain: NDArray[np.bool_]) -> Volume:
    inside = volume[brain].astype(np.float64)
    low, high = np.percentile(inside, [1, 99])
    inside = np.clip(inside, low, high)
    scored: Volume = (volume - inside.mean()) / (inside.std() or 1.0)
    return scored


def _pairs(table: LabelTable) -> list[tuple[Label, Label]]:
    def stem(label: Label) -> str:
        return label.name.lower().replace(label.laterality or "", "")

    lefts = [label for label in table if label.laterality == "left"]
    rights = {stem(label): label for label in table if label.laterality == "right"}
    return [(left, rights[stem(left)]) for left in lefts if stem(left) in rights]


def _centre_mm(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float64] | None:
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    centre: NDArray[np.float64] = (geometry.affine @ np.append(voxels.mean(axis=0), 1))[:3]
    return centre
