"""NIfTI in: voxel values and the affine that the header means.

Where the header holds two placements (sform and qform) the policy is: the sform if its code is above 0, else
the qform if its code is above 0, else the voxel sizes alone. A disagreement between the two, and an unplaced
header, are reported as warnings.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from einops import rearrange
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.io.stored import StoredImage, check_memory, check_shape

__all__ = ["FORM_TOLERANCE_MM", "largest_gap_mm", "load_nifti", "nifti_channels", "nifti_doubts"]

FORM_TOLERANCE_MM = 0.01
"""sform and qform may differ by this much at a corner: the qform's quaternion is stored in 32 bits."""

SIZE_TOLERANCE = 0.01
"""The share by which the header's voxel sizes may differ from the sform's; more is an error of the writer's."""

CHUNK_BYTES = 1 << 20

UNIT_BITS = 7
"""The part of NIfTI's unit code that is the unit of length."""

OTHER_UNITS = {1: "metres", 3: "micrometres"}
"""Units of length that NIfTI knows beside millimetres (2) and none (0), which is millimetres in practice."""

UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    OverflowError,
)
"""What nibabel, gzip and the operating system raise for files that are damaged or something else."""


def load_nifti(path: Path) -> StoredImage:
    """The image in a NIfTI file, channels first; integers are scaled by the header's slope and intercept.

    Raises:
        ImageError: the file is damaged or no NIfTI, or its shape, type or unit is none that a scan has.
    """
    try:
        image: Any = nib.load(path)
        header = image.header
        affine, warnings = _placement(path, header)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    shape = _squeezed(tuple(int(size) for size in image.shape))
    check_shape(path, shape)
    check_memory(path, shape)
    _check_type(path, header.get_data_dtype())
    unit = OTHER_UNITS.get(int(header["xyzt_units"]) & UNIT_BITS)
    if unit is not None:
        raise ImageError(
            f"{path.name} gives its voxel size in {unit}: millimetres were expected. Convert the header to millimetres."
        )
    try:
        # float32 is asked for only where the file is scaled: its voxels are then computed in one pass
        scaled = header.get_slope_inter() not in {(None, None), (1.0, 0.0)}
        array: NDArray[Any] = np.asarray(image.dataobj, dtype=np.float32 if scaled else None)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    except MemoryError as error:
        raise ImageError(f"{path.name} claims {shape} voxels, more than fit into memory. Check the file.") from error
    array = array.reshape(shape, order="F")
    channels_first = "i j k -> 1 i j k" if array.ndim == 3 else "i j k c -> c i j k"
    return StoredImage(rearrange(array, channels_first), affine, warnings)


def nifti_channels(path: Path) -> int:
    """The number of channels in a NIfTI file, from its header alone.

    Raises:
        ImageError: the header is damaged or no NIfTI, or its shape is none that a scan has.
    """
    try:
        shape = _squeezed(tuple(int(size) for size in nib.load(path).shape))
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    check_shape(path, shape)
    return shape[3] if len(shape) == 4 else 1


def nifti_doubts(path: Path) -> tuple[str, ...]:
    """What a file says twice, and not the same; what it leaves open; and damage behind its last voxel.

    Raises:
        ImageError: the header is damaged or no NIfTI.
    """
    try:
        image: Any = nib.load(path)
        affine, doubts = _placement(path, image.header)
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as stream:  # the checksum stands at the end, where no voxel is read any more
                while stream.read(CHUNK_BYTES):
                    pass
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    told = np.array((*image.header.get_zooms(), 1.0, 1.0)[:3], dtype=np.float64)
    if (np.abs(told - sizes) > SIZE_TOLERANCE * np.maximum(told, sizes)).any():
        told_mm, sizes_mm = ("×".join(f"{size:.3g}" for size in one) for one in (told, sizes))
        doubts += (f"{path.name} gives voxel sizes of {told_mm} mm, and its affine {sizes_mm} mm",)
    return doubts


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without empty axes in time: (I, J, K, 1, C), NIfTI's form for vectors, is (I, J, K, C)."""
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _check_type(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.fields is not None:
        raise ImageError(
            f"{path.name} holds colours (RGB): a scan with one value a voxel was expected. Give the original scan."
        )
    if dtype.kind not in "iufb":
        raise ImageError(
            f"{path.name} holds {dtype} values: real numbers were expected. Save the magnitude of complex images."
        )


def _placement(path: Path, header: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The affine by the policy above, and warnings on what the header leaves open."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code > 0:
        affine = np.asarray(header.get_sform(), dtype=np.float64)
        gap = largest_gap_mm(affine, header) if qform_code > 0 else 0.0
        if gap > FORM_TOLERANCE_MM:
            return affine, (
                f"{path.name}: sform and qform place the same voxel up to {gap:.3g} mm apart; the sform was used.",
            )
        return affine, ()
    if qform_code > 0:
        return np.asarray(header.get_qform(), dtype=np.float64), ()
    return np.asarray(header.get_base_affine(), dtype=np.float64), (
        f"{path.name}: neither sform nor qform is set, so left and right cannot be known; "
        "the first axis was taken to run from right to left.",
    )


def largest_gap_mm(affine: NDArray[np.float64], header: Any) -> float:
    """The largest distance between the places that sform and qform give to a corner of the image."""
    try:
        other = np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError):  # a quaternion longer than 1: no placement at all
        return float("inf")
    sizes = (*header.get_data_shape(), 1, 1, 1)[:3]
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in sizes], indexing="ij")).reshape(3, -1)
    apart = (affine - other) @ np.vstack([corners, np.ones((1, 8))])
    return float(np.linalg.norm(apart[:3], axis=0).max())


def _unreadable(path: Path, error: Exception) -> ImageError:
    if not path.exists():
        return ImageError(f"{path} does not exist. Check the path.")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ImageError(
        f"{path.name} cannot be read as NIfTI ({reason}): it is damaged, cut short, or another kind of file. "
        "Export or copy it again."
    )
