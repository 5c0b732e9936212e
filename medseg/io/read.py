"""Reading: any supported file → image tensor (C, I, J, K) float32 with its affine (MONAI MetaTensor).

In: a path, or the files of a case. Out: a tensor that MONAI's transforms take as if their own ``LoadImage``
and ``EnsureChannelFirst`` had made it, and that carries nothing else of what the file says about the patient.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import SpaceKeys
from numpy.typing import NDArray

from medseg.errors import GeometryError, ImageError
from medseg.geometry import Geometry
from medseg.io.case import CaseFiles, ChannelFile
from medseg.io.compact import compacted
from medseg.io.loading import load_stored, stored_files
from medseg.io.stored import StoredImage

__all__ = ["Scan", "case_sha256", "read_case", "read_labels", "read_volume"]

WHOLE_NUMBER_TOLERANCE = 1e-4
"""Labels stored as floats are whole numbers to this; a header's scaling rounds in the seventh digit."""

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Scan:
    """One case as read: image (C, I, J, K), its grid, the hash of its files and what had to be assumed.

    The image is float32, or int16 where it was to be kept small. ``modalities`` are DICOM's words (``CT``, ``MR``) for
    its channels, each empty where the file does not say.

    ``sha256`` is the hash of the one file; of several, that of their sorted hashes joined by line breaks.
    """

    case_id: str
    image: MetaTensor
    geometry: Geometry
    sha256: str
    warnings: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()


def read_volume(path: Path) -> MetaTensor:
    """The image in one file or DICOM folder, (C, I, J, K) float32.

    Raises:
        ImageError: it cannot be read, is no 3D scan, or holds values that are no finite numbers.
        GeometryError: its affine does not place voxels in space.
    """
    stored = load_stored(path)
    return _tensor(_finite_float32(stored.array, path.name), _geometry(stored, path))


def read_labels(path: Path) -> MetaTensor:
    """The label map in one file, (1, I, J, K) in the smallest unsigned integer type that holds its labels.

    Raises:
        ImageError: it cannot be read, or holds more than one channel, fractions or negative values.
    """
    stored = load_stored(path)
    if stored.array.shape[0] != 1:
        raise ImageError(
            f"{path.name} holds {stored.array.shape[0]} channels: one label a voxel was expected. "
            "Merge overlapping structures into one label map first."
        )
    return _tensor(_whole_numbers(stored.array, path.name), _geometry(stored, path))


def read_case(case: CaseFiles, *, compact: bool = False) -> Scan:
    """The image of a case, its channels in the order of ``case``.

    Args:
        compact: keep the image in 16-bit integers where each value is one, as in a CT and most MR; a file that stores
            such is never held in floating point then.
    Raises:
        ImageError: a file cannot be read, or does not hold the one channel it stands for.
        GeometryError: two channels lie on different grids.
    """
    image: NDArray[Any] | None = None
    grids: list[tuple[ChannelFile, Geometry]] = []
    warnings, modalities = list(case.notes), list[str]()
    stored_of: dict[Path, StoredImage] = {}
    for position, entry in enumerate(case.channels):
        if entry.path not in stored_of:
            stored_of = {entry.path: load_stored(entry.path)}  # one file at a time in memory
            warnings.extend(stored_of[entry.path].warnings)
        stored = stored_of[entry.path]
        modalities.append(stored.modality)
        grids.append((entry, _geometry(stored, entry.path)))
        _check_same_grid(grids[0], grids[-1])
        values = _one_channel(stored.array, entry)
        is_kept = compact and np.can_cast(values.dtype, np.int16)
        values = np.ascontiguousarray(values, np.int16) if is_kept else _finite_float32(values, entry.path.name)
        image = values if len(case.channels) == 1 else _joined(image, values[0], position, of=len(case.channels))
    if image is None:
        raise ImageError(f"case {case.case_id} names no files: one for each channel was expected.")
    geometry = grids[0][1]
    tensor = _tensor(image, geometry)
    del stored_of, stored, values, image  # the scan as its file stores it
    told = tuple(dict.fromkeys(warnings))
    image_kept = compacted(tensor) if compact else tensor
    return Scan(case.case_id, image_kept, geometry, case_sha256(case), told, tuple(modalities))


def _joined(image: NDArray[Any] | None, channel: NDArray[Any], position: int, *, of: int) -> NDArray[Any]:
    """So many channels with one of them (I, J, K) in its position; in floating point as soon as one of them is."""
    if image is None:
        image = np.empty((of, *channel.shape), channel.dtype)
    elif image.dtype != channel.dtype:
        image = image.astype(np.float32, copy=False)
    image[position] = channel
    return image


def _geometry(stored: StoredImage, path: Path) -> Geometry:
    i, j, k = stored.array.shape[1:]
    try:
        return Geometry((int(i), int(j), int(k)), stored.affine)
    except GeometryError as error:
        raise GeometryError(f"{path.name}: {error}") from error


def _tensor(array: NDArray[Any], geometry: Geometry) -> MetaTensor:
    """The tensor with the metadata that MONAI's own reader sets and its transforms read, and no more."""
    meta = {
        "original_affine": geometry.affine.copy(),
        "spatial_shape": np.array(geometry.shape),
        "space": SpaceKeys.RAS,
        "original_channel_dim": 0,
    }
    return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(geometry.affine.copy()), meta=meta)


def _one_channel(array: NDArray[Any], entry: ChannelFile) -> NDArray[Any]:
    """The channel (1, I, J, K) that ``entry`` stands for."""
    frames = array.shape[0]
    if entry.n_frames not in (None, frames):
        raise ImageError(
            f"{entry.path.name} holds {frames} channels: {entry.n_frames} were expected. Fetch the file again, or "
            "correct the channels of the data set."
        )
    if entry.frame is None and frames == 1:
        return array
    last = frames - 1
    if entry.frame is None:
        raise ImageError(
            f"{entry.path.name} holds {frames} channels: one was expected for {entry.channel}. "
            f"Choose one with {entry.channel}={entry.path.name}#0 (… #{last})."
        )
    if not 0 <= entry.frame <= last:
        raise ImageError(
            f"{entry.path.name} has no channel #{entry.frame} for {entry.channel}: #0 to #{last} were expected."
        )
    return array[entry.frame : entry.frame + 1]


def _check_same_grid(first: tuple[ChannelFile, Geometry], other: tuple[ChannelFile, Geometry]) -> None:
    if not first[1].matches(other[1]):
        raise GeometryError(
            f"channels lie on different grids: {first[0].channel} ({first[0].path.name}) has {first[1].describe()}; "
            f"{other[0].channel} ({other[0].path.name}) has {other[1].describe()}. "
            "Resample them onto one grid first; they are never stacked as they are."
        )


def _finite_float32(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """``array`` as contiguous float32, in which every value is a finite number."""
    with np.errstate(over="ignore"):
        values: NDArray[np.float32] = np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype.kind in "iub" or (np.isfinite(values.min()) and np.isfinite(values.max())):
        return values
    broken = int(values.size - np.isfinite(array).sum())
    if broken:
        raise ImageError(
            f"{name} holds {broken} voxels that are no finite number (NaN or infinite): real intensities were "
            "expected. Repair the program that wrote it, or replace them, for example by the background value."
        )
    raise ImageError(
        f"{name} holds values up to {np.abs(array).max():.3g}, beyond 32-bit floating point. Rescale its intensities."
    )


def _whole_numbers(array: NDArray[Any], name: str) -> NDArray[Any]:
    """``array`` in the smallest unsigned integer type."""
    if array.dtype.kind == "f":
        array = _rounded(array, name)
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0:
        raise ImageError(f"{name} holds the label {lowest}: whole numbers from 0 were expected. Give a label map.")
    if highest > np.iinfo(np.uint32).max:
        raise ImageError(f"{name} holds the label {highest}: at most {np.iinfo(np.uint32).max} was expected.")
    return np.ascontiguousarray(array, dtype=np.min_scalar_type(highest))


def _rounded(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    rounded = np.rint(array)
    with np.errstate(invalid="ignore"):  # infinite minus infinite is no number, and counted below
        apart = np.abs(array - rounded)
    if not (apart <= WHOLE_NUMBER_TOLERANCE).all():
        broken = int((~(apart <= WHOLE_NUMBER_TOLERANCE)).sum())
        raise ImageError(
            f"{name} holds {broken} voxels that are no whole number: labels were expected. "
            "Give the label map itself, not probabilities or one that was resampled linearly."
        )
    whole: NDArray[np.int64] = rounded.astype(np.int64)
    return whole


def case_sha256(case: CaseFiles) -> str:
    """The hash of the files of a case, as its ``Scan`` carries it."""
    paths = dict.fromkeys(entry.path for entry in case.channels)
    digests = sorted(_file_sha256(file) for path in paths for file in stored_files(path))
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
