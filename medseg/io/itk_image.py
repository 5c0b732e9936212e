"""NRRD, MHA and MHD in (SimpleITK), and the formats that only the ``itk`` package reads.

Both libraries hold positions in LPS millimetres; what leaves this file is RAS.
"""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from medseg.errors import ImageError
from medseg.io.simple_itk import simple_itk
from medseg.io.stored import StoredImage, check_memory, check_shape
from medseg.io.text_header import DAMAGED_ADVICE, check_metaimage_complete, check_metaimage_header

__all__ = ["LPS_TO_RAS", "itk_channels", "load_itk", "load_with_itk_extra"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM, NRRD and MetaImage point left and to the back, NIfTI and medseg right and to the front."""


def load_itk(path: Path) -> StoredImage:
    """The image in an NRRD, MHA or MHD file, channels first.

    Raises:
        ImageError: the file is damaged or another kind of file, or its shape or type is none that a scan has.
    """
    reader = _opened(path)
    check_memory(path, (*reader.GetSize(), reader.GetNumberOfComponents()))
    try:
        image = reader.Execute()
    except RuntimeError as error:  # all that SimpleITK raises, whatever went wrong
        raise _unreadable(path, str(error)) from error
    array = _channels_first(simple_itk().GetArrayFromImage(image), image.GetNumberOfComponentsPerPixel())
    affine = _affine_ras(image.GetSpacing(), image.GetDirection(), image.GetOrigin())
    return StoredImage(array, affine, _warnings(image, path))


def itk_channels(path: Path) -> int:
    """The number of channels in an NRRD, MHA or MHD file, from its header alone.

    Raises:
        ImageError: the header is damaged or of another kind of file, or its shape is none that a scan has.
    """
    reader = _opened(path)
    size = reader.GetSize()
    return int(size[3]) if len(size) == 4 else int(reader.GetNumberOfComponents())


def load_with_itk_extra(path: Path) -> StoredImage:
    """The image in a file of any other format, if the ``itk`` package is installed and reads it.

    Raises:
        ImageError: the package is absent, or cannot read the file.
    """
    if not path.exists():
        raise ImageError(f"{path} does not exist. Check the path.")
    try:
        itk: Any = importlib.import_module("itk")
    except ImportError as error:
        raise ImageError(
            f"{path.name} is none of NIfTI, NRRD, MHA, MHD or a DICOM folder. "
            'Convert it, or install more formats with: pip install "medseg[itk]"'
        ) from error
    try:
        image = itk.imread(str(path))
    except RuntimeError as error:  # all that ITK raises, whatever went wrong
        raise _unreadable(path, str(error)) from error
    components = int(image.GetNumberOfComponentsPerPixel())
    _check_axes(path, tuple(int(axis) for axis in itk.size(image)), components)
    direction = tuple(float(cosine) for cosine in np.ravel(itk.array_from_matrix(image.GetDirection())))
    affine = _affine_ras(tuple(itk.spacing(image)), direction, tuple(itk.origin(image)))
    return StoredImage(_channels_first(itk.array_from_image(image), components), affine)


def _opened(path: Path) -> Any:
    """A reader that has read and approved the header."""
    if not path.exists():
        raise ImageError(f"{path} does not exist. Check the path.")
    is_metaimage = path.suffix.lower() in {".mha", ".mhd"}
    if is_metaimage:
        check_metaimage_header(path)
    reader = simple_itk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:  # all that SimpleITK raises, whatever went wrong
        raise _unreadable(path, str(error)) from error
    _check_kind(path, reader)
    if is_metaimage:
        components = reader.GetNumberOfComponents()
        one_pixel = simple_itk().Image([1, 1], reader.GetPixelID(), components)
        voxel_bytes = components * one_pixel.GetSizeOfPixelComponent()
        check_metaimage_complete(path, math.prod(reader.GetSize()) * voxel_bytes)
    return reader


def _check_kind(path: Path, reader: Any) -> None:
    _check_axes(path, tuple(int(axis) for axis in reader.GetSize()), reader.GetNumberOfComponents())
    if "complex" in simple_itk().GetPixelIDValueAsString(reader.GetPixelID()):
        raise ImageError(f"{path.name} holds complex values: real numbers were expected. Save the magnitude.")
    keys = reader.GetMetaDataKeys()
    if "NRRD_kinds[pixel]" in keys and "color" in reader.GetMetaData("NRRD_kinds[pixel]"):
        raise ImageError(
            f"{path.name} holds colours (RGB): a scan with one value a voxel was expected. Give the original scan."
        )


def _check_axes(path: Path, size: tuple[int, ...], components: int) -> None:
    check_shape(path, size)
    if components > 1:
        check_shape(path, (*size, components))


def _channels_first(array: NDArray[Any], components: int) -> NDArray[Any]:
    """(K, J, I), (K, J, I, C) for vectors or (C, K, J, I) for a fourth axis → (C, I, J, K)."""
    if components > 1:
        return rearrange(array, "k j i c -> c i j k")
    return rearrange(array, "k j i -> 1 i j k" if array.ndim == 3 else "c k j i -> c i j k")


def _affine_ras(
    spacing: tuple[float, ...], direction: tuple[float, ...], origin: tuple[float, ...]
) -> NDArray[np.float64]:
    axes = len(spacing)
    affine = np.eye(4)
    affine[:3, :3] = (np.array(direction).reshape(axes, axes) * np.array(spacing))[:3, :3]
    affine[:3, 3] = origin[:3]
    return LPS_TO_RAS @ affine


def _warnings(image: Any, path: Path) -> tuple[str, ...]:
    if path.suffix.lower() in {".nrrd", ".nhdr"} and "NRRD_space" not in image.GetMetaDataKeys():
        return (f"{path.name}: the header names no space, so left and right cannot be known; LPS was assumed.",)
    return ()


def _unreadable(path: Path, message: str) -> ImageError:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = lines[-1].removeprefix("ITK ERROR: ") if lines else "no reason given"
    return ImageError(f"{path.name} cannot be read ({reason}): {DAMAGED_ADVICE}")
