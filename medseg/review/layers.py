"""Scans and label maps as napari's layer tuples: what a viewer is given, without napari itself.

In: images (C, I, J, K) and labels (I, J, K) on any grid. Out: (data, attributes, type) in the screen's order
(z, y, x), placed in millimetres, with the scan's own grid in the layer's metadata, by which labels go home::

    scan on its grid  ──image_layers, labels_layer──▶  layer in the viewer  ──stored_labels──▶  scan's grid
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.geometry import Geometry, geometry_of
from medseg.labels import LabelTable
from medseg.review.display import DisplayGrid
from medseg.review.windowing import first_window

__all__ = [
    "AXIS_LABELS",
    "LayerData",
    "LayerSource",
    "image_layers",
    "labels_layer",
    "placement",
    "source_of",
    "stored_values",
]

LayerData = tuple[NDArray[Any], dict[str, Any], Literal["image", "labels"]]
"""What napari's readers return for one layer."""

AXIS_LABELS: Final = ("z", "y", "x")

METADATA_KEY: Final = "medseg"
"""Where a layer's metadata keeps its ``LayerSource``."""

UNNAMED_COLOR: Final = (1.0, 0.0, 1.0, 1.0)
"""A value that the label table lacks must be seen, not hidden."""

MOVED_TOLERANCE_MM: Final = 1e-3


@dataclass(frozen=True, eq=False)
class LayerSource:
    """Where a layer comes from: the case, the scan's own grid, what the labels mean; ``channel`` of an image."""

    case_id: str
    geometry: Geometry
    label_table: LabelTable | None = None
    channel: str | None = None

    @property
    def grid(self) -> DisplayGrid:
        """How the scan's voxels lie on the screen."""
        return DisplayGrid(self.geometry)


def source_of(metadata: Mapping[str, Any]) -> LayerSource | None:
    """What ``layer.metadata`` says of a layer's origin; None where medseg did not make the layer."""
    source = metadata.get(METADATA_KEY)
    return source if isinstance(source, LayerSource) else None


def image_layers(image: MetaTensor, *, case_id: str, channels: Sequence[str] = ()) -> list[LayerData]:
    """One grey layer a channel of an image (C, I, J, K); only the first is visible, since each hides the others.

    Args:
        image: the scan.
        case_id: the name of the layer, and of a single channel's.
        channels: names of the channels; where they are absent, their numbers.
    """
    geometry = geometry_of(image)
    names = list(channels) or [str(number) for number in range(image.shape[0])]
    layers: list[LayerData] = []
    for number, (values, channel) in enumerate(zip(image.as_tensor().numpy(), names, strict=True)):
        source = LayerSource(case_id, geometry, channel=channel)
        attributes = placement(source) | {
            "name": case_id if len(names) == 1 else f"{case_id} {channel}",
            "contrast_limits": first_window(values).limits,
            "colormap": "gray",
            "visible": number == 0,
        }
        layers.append((np.ascontiguousarray(source.grid.shown(values)), attributes, "image"))
    return layers


def labels_layer(
    labels: NDArray[Any], source: LayerSource, *, name: str = "segmentation", opacity: float = 0.5
) -> LayerData:
    """The layer of a label map (I, J, K), with the names and colours of the source's label table.

    Raises:
        GeometryError: the labels do not have the shape of the source's grid.
    """
    if labels.shape != source.geometry.shape:
        raise GeometryError(
            f"labels of shape {labels.shape} found on a grid of {source.geometry.shape}: both must agree."
        )
    attributes = placement(source) | {"name": name, "opacity": opacity}
    if source.label_table is not None:
        attributes |= _named(source.label_table)
    return np.ascontiguousarray(source.grid.shown(labels)), attributes, "labels"


def placement(source: LayerSource) -> dict[str, Any]:
    """The attributes that put a layer where the scan lies: millimetres towards the head, the back and the left.

    An oblique scan is placed by its first voxel and shown along its own axes.
    """
    right, front, up = source.grid.world_mm((0, 0, 0))
    return {
        "scale": source.grid.scale_mm,
        "translate": (up, -front, -right),
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXIS_LABELS,
        "metadata": {METADATA_KEY: source},
    }


def stored_values(data: NDArray[Any], attributes: Mapping[str, Any]) -> tuple[NDArray[Any], LayerSource]:
    """A layer's voxels (Z, Y, X) back on the grid (I, J, K) that they came from, and that grid.

    A layer that is not medseg's own is taken to run to the head, the back and the left, as napari shows it, with its
    scale and translation in millimetres.

    Raises:
        GeometryError: the layer was turned, moved or reshaped, or is not three-dimensional.
    """
    name = str(attributes.get("name", "the layer"))
    _refuse_turned(attributes, name)
    source = source_of(attributes.get("metadata") or {})
    if source is None:
        source = _plain_source(data, attributes, name)
    elif data.shape != source.grid.shape:
        raise GeometryError(
            f"layer {name!r} has shape {data.shape}, its scan {source.grid.shape}: both must agree. "
            "Undo the change of its shape, or save it as a layer of its own."
        )
    elif not _lies_on(source, attributes):
        raise GeometryError(
            f"layer {name!r} was moved or scaled, so that its voxels no longer lie on its scan: reset its transform."
        )
    return source.grid.stored(data), source


def _named(table: LabelTable) -> dict[str, Any]:
    colors: dict[int | None, tuple[float, ...]] = {None: UNNAMED_COLOR, 0: (0.0, 0.0, 0.0, 0.0)}
    colors |= {label.index: (*(part / 255 for part in label.color), 1.0) for label in table}
    features = {"index": [0, *(label.index for label in table)], "name": ["background", *table.names]}
    return {"colormap": colors, "features": features}


def _lies_on(source: LayerSource, attributes: Mapping[str, Any]) -> bool:
    expected = placement(source)
    return all(
        np.allclose(attributes.get(key, expected[key]), expected[key], rtol=0, atol=MOVED_TOLERANCE_MM)
        for key in ("scale", "translate")
    )


def _refuse_turned(attributes: Mapping[str, Any], name: str) -> None:
    for key in ("rotate", "shear", "affine"):
        value = attributes.get(key)
        if value is None:
            continue
        matrix = np.asarray(value, dtype=np.float64)
        neutral = np.zeros_like(matrix) if key == "shear" and matrix.ndim == 1 else np.eye(len(matrix))
        if not np.allclose(matrix, neutral):
            raise GeometryError(f"layer {name!r} was turned or moved ({key}): reset its transform before saving.")


def _plain_source(data: NDArray[Any], attributes: Mapping[str, Any], name: str) -> LayerSource:
    if data.ndim != 3:
        raise GeometryError(f"layer {name!r} has {data.ndim} axes: three were expected. Save one volume at a time.")
    scale = np.asarray(attributes.get("scale", np.ones(3)), dtype=np.float64)
    up, back, left = np.asarray(attributes.get("translate", np.zeros(3)), dtype=np.float64)
    affine = np.diag([-scale[2], -scale[1], scale[0], 1.0])
    affine[:3, 3] = (-left, -back, up)
    z, y, x = data.shape
    return LayerSource(name, Geometry((x, y, z), affine))
