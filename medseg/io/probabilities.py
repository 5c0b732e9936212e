"""Probabilities of every label, written plane by plane: the whole soft volume is never in memory."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from medseg.atomic import atomic_write
from medseg.errors import OutputError
from medseg.geometry import Geometry
from medseg.io.write import placed_nifti

__all__ = ["PROBABILITY_SUFFIX", "probability_file"]

PROBABILITY_SUFFIX = ".nii"
"""Not packed: planes come in any order, and a packed file is written from front to back."""

STEPS = 255
"""Probabilities are stored as whole numbers of 1/255; the file says so, and readers give 0 to 1."""

CHUNK_BYTES = 2**24


@contextmanager
def probability_file(
    path: Path, geometry: Geometry, *, overwrite: bool, is_of_regions: bool = False
) -> Iterator[Callable[[int, int, torch.Tensor], None]]:
    """A NIfTI file (I, J, K, L) uint8 that takes planes: an axis, the first plane's number, and (L, I, J, K) of 0 to 1.

    Nothing is there under its name unless the block ends well. What is stored sums to 1 in every voxel, too, unless
    the probabilities are of regions, each by itself.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    in_steps = _rounded if is_of_regions else _shared_out
    with atomic_write(path, overwrite=overwrite) as temporary:
        volume: list[NDArray[np.uint8]] = []

        def put(axis: int, first: int, values: torch.Tensor) -> None:
            if not volume:
                volume.append(_opened(temporary, geometry, n_channels=values.shape[0]))
            planes = [slice(None)] * 3
            planes[axis] = slice(first, first + values.shape[axis + 1])
            volume[0][(*planes, slice(None))] = in_steps(values).movedim(0, 3).numpy(force=True)

        yield put
        if not volume:
            raise OutputError(f"{path.name}: no probabilities were found to write.")
        written: Any = volume.pop()
        written.flush()


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return (values * STEPS).round().to(torch.uint8)


def _shared_out(values: torch.Tensor) -> torch.Tensor:
    """All steps, shared out among the labels of a voxel: what is left after rounding down goes to the largest rests."""
    exact = values.movedim(0, -1).float().contiguous() * STEPS  # a voxel's labels side by side: sorted in half the time
    whole = exact.floor()
    left = STEPS - whole.sum(-1, keepdim=True)
    order = (exact - whole).argsort(dim=-1, descending=True, stable=True)
    gets_one = torch.arange(len(values), device=values.device) < left
    return whole.scatter_add_(-1, order, gets_one.to(whole.dtype)).to(torch.uint8).movedim(-1, 0)


def _opened(path: Path, geometry: Geometry, *, n_channels: int) -> NDArray[np.uint8]:
    """A file of the right size with its header, as an array."""
    shape = (*geometry.shape, n_channels)
    image = placed_nifti(np.broadcast_to(np.uint8(0), shape), geometry)  # no memory: one voxel, repeated
    header: Any = image.header
    header.set_slope_inter(1 / STEPS, 0)
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    start = int(header.single_vox_offset)
    block = header.binaryblock
    with path.open("wb") as file:
        file.write(block + bytes(start - len(block)))
        _reserve(file, int(np.prod(shape)))
    assert nib.Nifti1Image.header_class is type(header), "a single NIfTI-1 file"
    return np.memmap(path, dtype=np.uint8, mode="r+", offset=start, shape=shape, order="F")


def _reserve(file: BinaryIO, count: int) -> None:
    """So many bytes after what is written, on the disk for certain: a full one ends a process that writes by mapping.

    Raises:
        OSError: the disk is full.
    """
    file.flush()
    start = file.tell()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), start, count)
        return
    for first in range(0, count, CHUNK_BYTES):
        file.write(bytes(min(CHUNK_BYTES, count - first)))
