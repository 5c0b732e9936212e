"""An image as its file stores it, before it becomes a tensor: the value every format's loader returns."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.free_memory import free_memory_bytes

__all__ = ["StoredImage", "check_memory", "check_shape"]

READ_BYTES_PER_VOXEL = 8
"""While a scan is read: its voxels as stored, and as float32."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """Values (C, I, J, K) in the type they are stored in, with scaling applied; affine; and what had to be assumed.

    ``modality`` is DICOM's word for what took it (``CT``); empty where the file does not say.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    modality: str = ""


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Nothing, if ``shape`` is that of a volume or of a volume with channels: 3 or 4 axes, none of them empty.

    Raises:
        ImageError: the shape is another.
    """
    text = "×".join(str(size) for size in shape)
    if 0 in shape:
        raise ImageError(f"{path.name} has shape {text}: an axis without voxels. Export the image again.")
    if len(shape) < 3:
        raise ImageError(
            f"{path.name} is a 2D image of {text} pixels: a 3D scan was expected. "
            "Give the whole scan as one file, or the folder of its DICOM slices."
        )
    if len(shape) > 4:
        raise ImageError(
            f"{path.name} has {len(shape)} axes ({text}): a 3D scan, or a 4D one whose last axis holds the channels, "
            "was expected. Save the volumes wanted as files of their own."
        )


def check_memory(path: Path, shape: tuple[int, ...]) -> None:
    """Nothing, if a scan of this shape fits into the memory that is free; call it before the voxels are read.

    A packed file of a few megabytes may claim, and hold, more than any machine has: the system would then end this
    process, or another.

    Raises:
        ImageError: it does not fit.
    """
    needed, free = math.prod(shape) * READ_BYTES_PER_VOXEL, free_memory_bytes()
    if needed > free:
        text = "×".join(str(size) for size in shape)
        raise ImageError(
            f"{path.name} claims {text} voxels, more than fit into memory ({needed / 1e9:.0f} GB, {free / 1e9:.0f} GB "
            "are free). Check the file, or use a machine with more memory."
        )
