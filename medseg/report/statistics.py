"""Numbers for every label: how much, how bright, where, and whether the scan may have cut it off.

In: a segmentation and the image it was made from, on one grid. Out: one ``LabelStatistics`` for each label of
the table, or a JSON file with the unit in the name of every key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.atomic import atomic_write
from medseg.errors import DataError, GeometryError, ImageError
from medseg.geometry import Geometry, geometry_of
from medseg.label_map import Box, areas_along, label_boxes
from medseg.labels import Label
from medseg.segmentation import Segmentation

__all__ = ["LabelStatistics", "label_statistics", "write_statistics"]

SCHEMA_VERSION = 1
"""Raised whenever a key of the file changes its name or meaning."""


@dataclass(frozen=True)
class LabelStatistics:
    """One label of a segmentation in numbers; what a label without voxels cannot have is None.

    ``mean_intensity`` is one value for each image channel, None where the image is not finite. ``centroid_mm`` is
    the centre of all its voxels (x, y, z), RAS+. ``extent_mm`` is the size of its box along the scan's axes, ordered
    left–right, posterior–anterior, inferior–superior. ``touches_border``: it reaches the edge of the scan, so the
    volume may be that of a part only; an axis of one voxel (a single slice) is not asked. ``volume_interval_ml`` is
    that of the segmentation's uncertainty, None where it was not measured.
    """

    index: int
    name: str
    voxels: int
    volume_ml: float
    mean_intensity: Mapping[str, float | None] | None
    centroid_mm: tuple[float, float, float] | None
    extent_mm: tuple[float, float, float] | None
    touches_border: bool | None
    volume_interval_ml: tuple[float, float] | None = None


def label_statistics(
    segmentation: Segmentation, image: MetaTensor, *, channel_names: Sequence[str]
) -> tuple[LabelStatistics, ...]:
    """The statistics of every label of the table, in its order.

    Args:
        segmentation: the labels.
        image: (C, I, J, K), the scan as read, on the grid of the labels.
        channel_names: what each of the C channels is called.
    Raises:
        GeometryError: image and labels lie on different grids.
        ImageError: there is not one name for each channel.
        DataError: the labels hold a value that their table does not have.
    """
    if not geometry_of(image).matches(segmentation.geometry):
        raise GeometryError(
            f"the image has {geometry_of(image).describe()}, the labels {segmentation.geometry.describe()}: "
            "one grid was expected. Give the scan the labels were made from."
        )
    if len(channel_names) != image.shape[0] or len(set(channel_names)) != len(channel_names):
        raise ImageError(
            f"{image.shape[0]} channels and the names {', '.join(channel_names) or '(none)'} found: "
            "one name of its own for each channel was expected. Name them in the order of the image."
        )
    array: NDArray[np.float32 | np.int16] = image.detach().cpu().numpy()
    channels = dict(zip(channel_names, array, strict=True))
    boxes = _boxes_of_labels(segmentation)
    found = (
        _statistics(label, boxes[label.index], segmentation, channels) if label.index in boxes else _absent(label)
        for label in segmentation.label_table
    )
    uncertainty = segmentation.uncertainty
    intervals = (uncertainty.volume_interval_ml if uncertainty else None) or {}
    return tuple(replace(entry, volume_interval_ml=intervals.get(entry.name)) for entry in found)


def write_statistics(path: Path, statistics: Sequence[LabelStatistics], *, case_id: str, overwrite: bool) -> None:
    """The statistics as JSON.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    values = {
        "schema_version": SCHEMA_VERSION,
        "case_id": case_id,
        "coordinate_system": "RAS+ mm",
        "labels": [_as_json(entry) for entry in statistics],
    }
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _as_json(entry: LabelStatistics) -> dict[str, Any]:
    values = asdict(entry)
    return values if entry.volume_interval_ml else {key: values[key] for key in values if key != "volume_interval_ml"}


def _boxes_of_labels(segmentation: Segmentation) -> dict[int, Box]:
    boxes = label_boxes(segmentation.labels)
    unknown = sorted(boxes.keys() - {label.index for label in segmentation.label_table})
    if unknown:
        table = ", ".join(f"{label.index} {label.name}" for label in segmentation.label_table)
        raise DataError(
            f"the labels hold the value {unknown[0]}, the label table has {table}: every value needs an entry. "
            "Give the table that belongs to these labels."
        )
    return boxes


def _absent(label: Label) -> LabelStatistics:
    return LabelStatistics(
        index=label.index,
        name=label.name,
        voxels=0,
        volume_ml=0.0,
        mean_intensity=None,
        centroid_mm=None,
        extent_mm=None,
        touches_border=None,
    )


def _statistics(
    label: Label,
    box: Box,
    segmentation: Segmentation,
    channels: Mapping[str, NDArray[np.float32 | np.int16]],
) -> LabelStatistics:
    mask = segmentation.labels[box] == label.index
    geometry = segmentation.geometry
    voxels = int(np.count_nonzero(mask))
    return LabelStatistics(
        index=label.index,
        name=label.name,
        voxels=voxels,
        volume_ml=voxels * geometry.voxel_volume_mm3 / 1000,
        mean_intensity={name: _finite_mean(channel[box][mask]) for name, channel in channels.items()},
        centroid_mm=_centroid_mm(mask, box, geometry),
        extent_mm=_extent_mm(box, geometry),
        touches_border=any(
            size > 1 and (side.start == 0 or side.stop == size) for side, size in zip(box, geometry.shape, strict=True)
        ),
    )


def _finite_mean(values: NDArray[np.float32 | np.int16]) -> float | None:
    mean = float(values.mean(dtype=np.float64))
    return mean if np.isfinite(mean) else None


def _centroid_mm(mask: NDArray[np.bool_], box: Box, geometry: Geometry) -> tuple[float, float, float]:
    """The mean voxel centre; from the counts along each axis, so that no list of coordinates is needed."""
    centre = [1.0, 1.0, 1.0, 1.0]
    for axis, side in enumerate(box):
        centre[axis] = float(np.average(np.arange(side.start, side.stop), weights=areas_along(mask, axis)))
    x, y, z = (float(value) for value in (geometry.affine @ centre)[:3])
    return x, y, z


def _extent_mm(box: Box, geometry: Geometry) -> tuple[float, float, float]:
    patient_axes = nib.orientations.io_orientation(geometry.affine)[:, 0].astype(int)
    extent = [0.0, 0.0, 0.0]
    for side, spacing_mm, patient_axis in zip(box, geometry.spacing_mm, patient_axes, strict=True):
        extent[patient_axis] = (side.stop - side.start) * spacing_mm
    left_right, posterior_anterior, inferior_superior = extent
    return left_right, posterior_anterior, inferior_superior
