"""napari's writers: a layer as a file on the grid of the scan that it came from.

In: a layer's voxels and attributes. Out: NIfTI, NRRD or MHA. A layer that napari made itself is written by its
scale and translation. napari has asked whether a file may be replaced before it calls a writer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.errors import OutputError
from medseg.geometry import Geometry
from medseg.io import write_image, write_labels
from medseg.review.label_names import MOST_LABELS, completed_table
from medseg.review.layers import stored_values
from medseg.segmentation import Segmentation

__all__ = ["save_image", "save_labels"]


def save_labels(path: str, data: NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer: as uint8 where its values allow it, else as uint16.

    Raises:
        GeometryError: the layer was moved, turned or reshaped.
        OutputError: a value is negative or beyond 65535, or the file cannot be written.
    """
    labels, source = stored_values(np.asarray(data), attributes)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > np.iinfo(np.uint16).max:
        raise OutputError(
            f"{Path(path).name}: labels from {lowest} to {highest} were found: 0 to {np.iinfo(np.uint16).max} were "
            "expected. Renumber them."
        )
    if highest > MOST_LABELS:
        return _written(path, labels.astype(np.uint16), source.geometry)
    small = labels.astype(np.uint8)
    segmentation = Segmentation(small, source.geometry, completed_table(source.label_table, small))
    write_labels(segmentation, Path(path), overwrite=True)
    return [path]


def save_image(path: str, data: NDArray[Any], attributes: Mapping[str, Any]) -> list[str]:
    """Write an image layer in float32.

    Raises:
        GeometryError: the layer was moved, turned or reshaped.
        OutputError: the file cannot be written.
    """
    values, source = stored_values(np.asarray(data), attributes)
    return _written(path, values.astype(np.float32), source.geometry)


def _written(path: str, array: NDArray[Any], geometry: Geometry) -> list[str]:
    image = MetaTensor(
        torch.from_numpy(np.ascontiguousarray(array))[None], affine=torch.from_numpy(geometry.affine.copy())
    )
    write_image(image, Path(path), overwrite=True)
    return [path]
