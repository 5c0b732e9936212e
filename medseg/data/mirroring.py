"""Was something mirrored? Labels that fit their image better in a mirror, and channels that fit each other better.

In: channels (I, J, K) and labels of one grid. Out: one line for each doubt. A structure is of one kind of tissue, so
that intensities vary less inside its labels than inside their mirror image, and its border follows edges of the image.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

__all__ = ["doubts_of_mirrored_channels", "doubts_of_mirrored_labels"]

Volume = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

AXES = {"R": "left and right", "L": "left and right", "A": "front and back", "P": "front and back"}
"""By the letter of an axis; the others run between top and bottom."""

MOST_VOXELS = 20_000
"""Voxels of one label that are looked at."""

FEW_VOXELS = 20

CLEARLY_EVENER = 0.8
"""The labels' mirror image varies this much less. Of 152 intact scans of hippocampi and of heads none came below 1."""

CLEARLY_SHARPER = 1.1
"""The border's mirror image follows edges this much better, while it is at least as even inside."""

CLEARLY_LIKER = 0.1
"""By how much the correlation of two channels' edges is higher in the mirror."""

COARSE = 3
"""Every third voxel along each axis is enough to compare channels."""

Scaled = tuple[Volume, tuple[float, float, float]]
"""A channel, and its range."""


def doubts_of_mirrored_labels(channels: Mapping[str, Volume], labels: Labels, geometry: Geometry) -> list[str]:
    """Axes along which the labels fit the image better when they are mirrored."""
    scaled = [(volume, _range_of(volume)) for volume in channels.values()]
    inside = [places for value in np.unique(labels)[1:] if (places := _some(labels == value)) is not None]
    border = _some(_border(labels))
    if not scaled or not inside or border is None:
        return []
    spread, edges = _spread(scaled, inside), _edges(scaled, border)
    doubts = []
    for axis, letter in enumerate(geometry.axcodes):
        evenness = _ratio(_spread(scaled, [_mirrored(places, labels.shape, axis) for places in inside]), spread)
        sharpness = _ratio(_edges(scaled, _mirrored(border, labels.shape, axis)), edges)
        if evenness < CLEARLY_EVENER or (evenness < 1 and sharpness > CLEARLY_SHARPER):
            sides = AXES.get(letter, "top and bottom")
            doubts.append(f"the labels fit the image better with {sides} exchanged: one of the two is mirrored")
    return doubts


def doubts_of_mirrored_channels(channels: Mapping[str, Volume], geometry: Geometry) -> list[str]:
    """Pairs of channels whose edges lie on one another only when one channel is mirrored."""
    edges = {name: _gradient(volume[::COARSE, ::COARSE, ::COARSE]) for name, volume in channels.items()}
    doubts = []
    for first, second in combinations(edges, 2):
        likeness = _likeness(edges[first], edges[second])
        for axis, letter in enumerate(geometry.axcodes):
            if _likeness(edges[first], np.flip(edges[second], axis)) > likeness + CLEARLY_LIKER:
                sides = AXES.get(letter, "top and bottom")
                doubts.append(f"channels {first} and {second} fit each other better with {sides} exchanged in one")
    return doubts


def _range_of(volume: Volume) -> tuple[float, float, float]:
    """Lowest and highest intensity that count, and the deviation between them."""
    coarse = volume[::COARSE, ::COARSE, ::COARSE]
    low, high = np.percentile(coarse, [1, 99])
    return float(low), float(high), float(np.clip(coarse, low, high).std()) or 1.0


def _at(scaled: Scaled, places: NDArray[np.intp]) -> Volume:
    volume, (low, high, deviation) = scaled
    values: Volume = np.clip(volume[tuple(places.T)], low, high) / deviation
    return values


def _some(mask: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    """Voxels (N, 3) of a mask, evenly thinned out; None where there are too few to tell anything."""
    places = np.flatnonzero(mask)
    if len(places) < FEW_VOXELS:
        return None
    return np.stack(np.unravel_index(places[:: -(-len(places) // MOST_VOXELS)], mask.shape), axis=1)


def _border(labels: Labels) -> NDArray[np.bool_]:
    border = np.zeros(labels.shape, bool)
    for axis in range(3):
        differs = np.moveaxis(np.diff(labels.astype(np.int32), axis=axis) != 0, axis, 0)
        along = np.moveaxis(border, axis, 0)
        along[:-1] |= differs
        along[1:] |= differs
    return border


def _mirrored(places: NDArray[np.intp], shape: tuple[int, ...], axis: int) -> NDArray[np.intp]:
    mirrored = places.copy()
    mirrored[:, axis] = shape[axis] - 1 - places[:, axis]
    return mirrored


def _spread(channels: Sequence[Scaled], inside: Sequence[NDArray[np.intp]]) -> float:
    """Mean distance of intensities from the median of their label."""
    values = [_at(scaled, places) for scaled in channels for places in inside]
    return float(np.mean([np.abs(one - np.median(one)).mean() for one in values]))


def _edges(channels: Sequence[Scaled], places: NDArray[np.intp]) -> float:
    """Mean length of the gradient."""
    total = []
    for scaled in channels:
        squared = np.zeros(len(places))
        for axis in range(3):
            before, after = places.copy(), places.copy()
            before[:, axis] = np.maximum(places[:, axis] - 1, 0)
            after[:, axis] = np.minimum(places[:, axis] + 1, scaled[0].shape[axis] - 1)
            squared += (_at(scaled, after) - _at(scaled, before)) ** 2
        total.append(np.sqrt(squared).mean())
    return float(np.mean(total))


def _gradient(volume: Volume) -> Volume:
    volume = np.clip(volume, *np.percentile(volume, [1, 99]))
    length: Volume = np.sqrt(sum(np.gradient(volume, axis=axis) ** 2 for axis in range(3) if volume.shape[axis] > 1))
    return length


def _likeness(one: Volume, other: Volume) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):  # a channel without edges is like nothing
        return float(np.nan_to_num(np.corrcoef(one.ravel(), other.ravel())[0, 1]))


def _ratio(value: float, base: float) -> float:
    return value / base if base else 1.0
