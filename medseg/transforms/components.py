"""Cleaning label maps by connected parts: islands too small to be true, holes that should be filled.

In: labels (1, I, J, K) with their affine, on the scan's own grid. Out: the same, cleaned. A bundle names these
in its ``postprocessing``, where MONAI's own work on binary masks only (MONAI 1.6.1, labels as whole numbers):
``RemoveSmallObjectsd`` takes all voxels of one label for one object, ``FillHolesd`` fills an enclosed label too.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import ImageError, SettingsError
from medseg.geometry import geometry_of
from medseg.label_map import box_around, label_boxes

__all__ = ["FillHolesd", "RemoveSmallComponentsd", "fill_holes", "remove_small_components"]

SAME_VOLUME = 1 - 1e-6
"""Volumes this close are equal: an affine in float32 is exact to seven digits."""

ALL_NEIGHBOURS = ndimage.generate_binary_structure(3, 3)
"""Voxels of one label hang together by faces, edges and corners (26 neighbours)."""

FACE_NEIGHBOURS = ndimage.generate_binary_structure(3, 1)
"""Background hangs together by faces (6 neighbours): it does not leak through a wall of the other kind."""


def remove_small_components(labels: NDArray[Any], *, voxel_volume_mm3: float, min_volume_mm3: float) -> NDArray[Any]:
    """Labels (I, J, K) without the islands below ``min_volume_mm3``, each label by itself; they become background."""
    cleaned = labels.copy()
    for value, box in label_boxes(labels).items():
        parts, _ = ndimage.label(labels[box] == value, structure=ALL_NEIGHBOURS)
        too_small = np.bincount(parts.ravel()) * voxel_volume_mm3 < min_volume_mm3 * SAME_VOLUME
        too_small[0] = False  # 0 is everything that is not this label
        cleaned[box][too_small[parts]] = 0
    return cleaned


def fill_holes(labels: NDArray[Any], *, voxel_volume_mm3: float, max_volume_mm3: float | None) -> NDArray[Any]:
    """Labels (I, J, K) whose holes up to ``max_volume_mm3``, or all of them, took the label around them.

    A hole is background that one label encloses on all sides, inside the scan. What lies between two labels, or
    is open to the border, is no hole; other labels inside the enclosing one stay::

        1 1 1 1 1 1        1 1 1 1 1 1
        1 0 1 2 0 1   →    1 1 1 2 0 1      between 1 and 2: whose is it?
        1 1 1 1 1 1        1 1 1 1 1 1
    """
    boxes = list(label_boxes(labels).values())
    if not boxes:
        return labels.copy()
    box = box_around(boxes)
    walled = np.pad(labels[box], 1)  # the background outside is then one part, and it holds the first corner
    parts, count = ndimage.label(walled == 0, structure=FACE_NEIGHBOURS)
    fillings = _enclosing_labels(walled, parts, count)
    fillings[parts[0, 0, 0]] = 0
    if max_volume_mm3 is not None:
        fillings[np.bincount(parts.ravel()) * voxel_volume_mm3 * SAME_VOLUME > max_volume_mm3] = 0
    filled = labels.copy()
    filled[box] += fillings[parts][1:-1, 1:-1, 1:-1]
    return filled


class RemoveSmallComponentsd(MapTransform):
    """MONAI transform: label maps (1, I, J, K) without islands below ``min_volume_mm3``, each label by itself.

    Raises:
        SettingsError: the volume is not above 0.
    """

    def __init__(self, keys: KeysCollection, min_volume_mm3: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        _check_positive("min_volume_mm3", min_volume_mm3)
        self.min_volume_mm3 = min_volume_mm3

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key cleaned.

        Raises:
            ImageError: a key holds no single-channel label map with an affine.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            labels, voxel_volume_mm3 = _label_map(result[key], key)
            cleaned = remove_small_components(
                labels, voxel_volume_mm3=voxel_volume_mm3, min_volume_mm3=self.min_volume_mm3
            )
            result[key] = _like(result[key], cleaned)
        return result


class FillHolesd(MapTransform):
    """MONAI transform: label maps (1, I, J, K) whose holes took the label that encloses them; see ``fill_holes``.

    Raises:
        SettingsError: the volume is given and not above 0.
    """

    def __init__(
        self, keys: KeysCollection, max_volume_mm3: float | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if max_volume_mm3 is not None:
            _check_positive("max_volume_mm3", max_volume_mm3)
        self.max_volume_mm3 = max_volume_mm3

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with each key filled.

        Raises:
            ImageError: a key holds no single-channel label map with an affine.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            labels, voxel_volume_mm3 = _label_map(result[key], key)
            filled = fill_holes(labels, voxel_volume_mm3=voxel_volume_mm3, max_volume_mm3=self.max_volume_mm3)
            result[key] = _like(result[key], filled)
        return result


def _enclosing_labels(labels: NDArray[Any], parts: NDArray[Any], count: int) -> NDArray[Any]:
    """For each part of the background the one label that touches its faces; 0 where several do."""
    lowest = np.full(count + 1, np.iinfo(labels.dtype).max, dtype=labels.dtype)
    highest = np.zeros(count + 1, dtype=labels.dtype)
    for here, there in _face_pairs():
        touching = (parts[here] > 0) & (labels[there] > 0)
        part, label = parts[here][touching], labels[there][touching]
        np.minimum.at(lowest, part, label)
        np.maximum.at(highest, part, label)
    highest[lowest != highest] = 0
    return highest


def _face_pairs() -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Two views of a volume, shifted by one voxel: each voxel and its neighbour beyond each of the six faces."""
    for axis in range(3):
        later, earlier = ([slice(None)] * 3 for _ in range(2))
        later[axis], earlier[axis] = slice(1, None), slice(None, -1)
        yield tuple(later), tuple(earlier)
        yield tuple(earlier), tuple(later)


def _label_map(image: Any, key: Hashable) -> tuple[NDArray[Any], float]:
    """The labels (I, J, K) under a key, and the volume of a voxel."""
    is_whole = isinstance(image, MetaTensor) and not image.is_floating_point() and image.dtype is not torch.bool
    if not is_whole or image.ndim != 4 or image.shape[0] != 1:
        raise ImageError(
            f"{key} holds {type(image).__name__} {getattr(image, 'dtype', '')} of shape "
            f"{tuple(getattr(image, 'shape', ()))}: whole numbers (1, I, J, K) with an affine were expected. "
            "Place this step after the one that makes labels."
        )
    return image.as_tensor()[0].cpu().numpy(), geometry_of(image).voxel_volume_mm3


def _like(image: MetaTensor, labels: NDArray[Any]) -> MetaTensor:
    placed = MetaTensor(torch.from_numpy(labels)[None].to(image.device), meta=dict(image.meta))
    placed.affine = image.affine
    return placed


def _check_positive(name: str, volume_mm3: float) -> None:
    if not volume_mm3 > 0:
        raise SettingsError(f"{name} is {volume_mm3}: a volume above 0 mm³ was expected.")
