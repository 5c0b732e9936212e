"""One regular DICOM series in: a folder of slices → voxel values and the affine.

A series is stacked only where the headers prove that its slices are one box: one series, one orientation, one
size, evenly spaced positions along the slice normal. Everything else is refused, because stacking it would
give a volume that looks right and lies in the wrong place. The scan is read in three steps::

    files ──headers──▶ slices ──positions──▶ sorted, checked grid ──pixels──▶ (1, I, J, K)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from einops import rearrange
from numpy.typing import NDArray
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.pixels.decoders.base import get_decoder

from medseg.errors import ImageError
from medseg.io.dicom.grid import SlicePlane, series_affine
from medseg.io.formats import image_suffix, is_hidden
from medseg.io.simple_itk import simple_itk
from medseg.io.stored import StoredImage

__all__ = ["is_dicom_folder", "load_series", "series_files", "slice_values"]

TAGS = [
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ModalityLUTSequence",
]
"""All that is read of a header; nothing here names the patient."""

CONVERT = "Convert the series to NIfTI first, for example with dcm2niix."

NO_SLICES = {"1.2.840.10008.1.3.10"}
"""SOP classes that lie beside slices and are passed over: the DICOMDIR."""

DAMAGED = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    NotImplementedError,
)
"""What pydicom raises for headers and pixels that are damaged."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One file of a series: its path, its header without pixels, and where it lies."""

    path: Path
    header: pydicom.Dataset
    plane: SlicePlane


def is_dicom_folder(folder: Path) -> bool:
    """Whether ``folder`` itself (not its subfolders) holds DICOM files other than a DICOMDIR."""
    files = (path for path in sorted(folder.iterdir()) if _may_be_slice(path))
    return any(path.suffix.lower() == ".dcm" or is_dicom(path) for path in files)


def series_files(folder: Path) -> tuple[Path, ...]:
    """The files of the series in ``folder``, sorted by name: all that its values and its grid come from."""
    return tuple(path for path, _ in _images(folder))


def load_series(folder: Path) -> StoredImage:
    """The series in ``folder``, (1, I, J, K) float32 with each slice's rescale slope and intercept applied.

    i runs along the rows of the images, j down their columns, k along the slice normal.

    Raises:
        ImageError: the folder holds no series or several, or one whose slices do not form a regular box.
    """
    images = _images(folder)
    if not images:
        raise ImageError(f"{folder.name} holds no DICOM images: one series of slices was expected.")
    _check_one_series(folder, images)
    slices = [_slice(folder, path, header) for path, header in images]
    affine, order, warnings = series_affine(folder.name, [entry.plane for entry in slices])
    rows, columns = slices[0].plane.size
    volume: NDArray[Any] = np.empty((len(slices), rows, columns), dtype=np.int16)
    for k, position in enumerate(order):
        values = slice_values(slices[position].path)
        if volume.dtype == np.int16 and not _fits_int16(values):
            volume = volume.astype(np.float32)
        volume[k] = values
    modality = str(slices[0].header.get("Modality") or "")
    return StoredImage(rearrange(volume, "k j i -> 1 i j k"), affine, warnings, modality)


def slice_values(path: Path) -> NDArray[np.float64]:
    """The values (rows, columns) of a single-frame file, rescale slope and intercept applied.

    Raises:
        ImageError: the pixels are missing, cut short or packed in a way that no installed decoder knows.
    """
    try:
        dataset = pydicom.dcmread(path)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_encapsulated and not get_decoder(syntax).is_available:
            return _values_by_simpleitk(path)
        pixels: NDArray[np.float64] = dataset.pixel_array.astype(np.float64)
        return pixels * float(dataset.get("RescaleSlope") or 1) + float(dataset.get("RescaleIntercept") or 0)
    except (*DAMAGED, RuntimeError) as error:  # RuntimeError: a decoder that gives up
        raise _damaged(path, error) from error


def _fits_int16(values: NDArray[np.float64]) -> bool:
    """Whether all of them are whole numbers of 16 bits, as in a CT and most MR: half the memory of a long series."""
    limits = np.iinfo(np.int16)
    return bool(values.min() >= limits.min and values.max() <= limits.max and (values == np.rint(values)).all())


def _values_by_simpleitk(path: Path) -> NDArray[np.float64]:
    """For JPEG lossless and JPEG-LS, which pydicom does not decode; SimpleITK applies the rescaling itself."""
    itk = simple_itk()
    values: NDArray[np.float64] = itk.GetArrayFromImage(itk.ReadImage(str(path)))[0].astype(np.float64)
    return values


def _may_be_slice(path: Path) -> bool:
    return path.is_file() and not is_hidden(path) and image_suffix(path) is None and path.name.upper() != "DICOMDIR"


def _images(folder: Path) -> list[tuple[Path, pydicom.Dataset]]:
    """Path and header of every DICOM file in ``folder`` that holds pixels."""
    found: list[tuple[Path, pydicom.Dataset]] = []
    for path in sorted(folder.iterdir()):
        if not _may_be_slice(path) or not (path.suffix.lower() == ".dcm" or is_dicom(path)):
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
            list(header)  # values are decoded when first looked at: here, where a damaged one is expected
        except DAMAGED as error:
            raise _damaged(path, error) from error
        if "Rows" in header and header.get("SOPClassUID") not in NO_SLICES:
            found.append((path, header))
    return found


def _check_one_series(folder: Path, images: list[tuple[Path, pydicom.Dataset]]) -> None:
    series: dict[tuple[str, str], list[pydicom.Dataset]] = {}
    for _, header in images:
        key = (str(header.get("StudyInstanceUID", "")), str(header.get("SeriesInstanceUID", "")))
        series.setdefault(key, []).append(header)
    if len(series) > 1:
        found = ", ".join(f"{len(headers)}× {headers[0].get('Modality', '?')}" for headers in series.values())
        raise ImageError(
            f"{folder.name} holds {len(series)} series ({found}): one was expected. "
            "Put each series into a folder of its own."
        )


def _slice(folder: Path, path: Path, header: pydicom.Dataset) -> Slice:
    """One file as a slice.

    Raises:
        ImageError: it is no plain slice, or its header does not say where it lies.
    """
    problem = _why_no_slice(header)
    if problem is not None:
        raise ImageError(f"{folder.name}/{path.name} {problem}")
    try:
        plane = SlicePlane(
            size=(int(header.Rows), int(header.Columns)),
            spacing_mm=(float(header.PixelSpacing[0]), float(header.PixelSpacing[1])),
            orientation=np.array([float(value) for value in header.ImageOrientationPatient]).reshape(2, 3),
            position=np.array([float(value) for value in header.ImagePositionPatient]).reshape(3),
            thickness_mm=float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 0),
        )
    except DAMAGED as error:
        raise ImageError(
            f"{folder.name}/{path.name} does not say where it lies (position, orientation or pixel spacing is missing "
            "or damaged): slices of a CT or MR series were expected. Export the original series."
        ) from error
    return Slice(path, header, plane)


def _why_no_slice(header: pydicom.Dataset) -> str | None:
    """Why a file is no plain slice of a volume, as the rest of a sentence; None where it is one."""
    kinds = {str(kind).strip().upper() for kind in _values(header.get("ImageType"))}
    if str(header.get("NumberOfFrames") or 1).strip() != "1":
        return f"holds several frames (enhanced or multi-frame DICOM): one slice a file was expected. {CONVERT}"
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return "is a colour picture: one value a pixel was expected. Give the original series, no secondary capture."
    if "MOSAIC" in kinds:
        return f"is a Siemens mosaic of many slices: one slice a file was expected. {CONVERT}"
    if "LOCALIZER" in kinds:
        return "is a localizer, not a slice of the volume. Move it out of the folder."
    if "ModalityLUTSequence" in header:
        return f"maps its values through a table (Modality LUT): slope and intercept were expected. {CONVERT}"
    return None


def _values(element: Any) -> list[Any]:
    if element is None:
        return []
    return [element] if isinstance(element, str) else list(element)


def _damaged(path: Path, error: Exception) -> ImageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ImageError(
        f"{path.parent.name}/{path.name} cannot be read as DICOM ({reason}): it is damaged, cut short, or packed in a "
        "way no installed decoder knows. Export the series again, uncompressed."
    )
