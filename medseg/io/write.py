"""Writing: a ``Segmentation`` or an image → NIfTI, NRRD or MHA on its exact grid, completely or not at all.

The suffix picks the format. Every format is written straight to a Python file, so that a full disk is an error
here and not a short file, and without time stamps, so that equal results are equal files.
"""

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from medseg.atomic import atomic_write
from medseg.errors import OutputError
from medseg.geometry import Geometry, geometry_of
from medseg.io.itk_image import LPS_TO_RAS
from medseg.io.nifti import FORM_TOLERANCE_MM, largest_gap_mm
from medseg.labels import LabelTable
from medseg.segmentation import Segmentation

__all__ = ["LABEL_SUFFIXES", "placed_nifti", "write_image", "write_labels"]

LABEL_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")
"""The formats written. Not ``.mhd``: its voxels lie in a second file, so that it cannot be replaced at once."""

GZIP_LEVEL = 3
"""Label maps shrink a hundredfold at any level; above 3 the time doubles for a third of the size."""

SCANNER_CODE = 1
"""NIfTI's code for "millimetres of the scanner", the least that is known of any scan."""

ELEMENT_TYPES = {
    "uint8": ("uint8", "MET_UCHAR"),
    "uint16": ("uint16", "MET_USHORT"),
    "int16": ("int16", "MET_SHORT"),
    "int32": ("int32", "MET_INT"),
    "float32": ("float", "MET_FLOAT"),
}
"""Voxel types by numpy's name, and their names in NRRD and in MetaImage."""

Encoder = Callable[[BinaryIO, NDArray[Any], Geometry], None]


def write_labels(segmentation: Segmentation, path: Path, *, overwrite: bool) -> None:
    """The labels as a uint8 file on the scan's grid; ``.seg.nrrd`` also holds 3D Slicer's names and colours.

    Raises:
        OutputError: the suffix is none of ``LABEL_SUFFIXES``, the file exists, or it cannot be written.
    """
    labels = segmentation.labels
    if labels.dtype != np.uint8:
        raise OutputError(f"{path.name}: labels are {labels.dtype}: uint8 was expected. Convert them beforehand.")
    if _suffix(path) == ".seg.nrrd":
        fields = _segment_fields(labels, segmentation.label_table)

        def encode(file: BinaryIO, array: NDArray[Any], geometry: Geometry) -> None:
            _encode_nrrd(file, array, geometry, fields)

        _write(path, labels, segmentation.geometry, encode, overwrite=overwrite)
    else:
        _write(path, labels, segmentation.geometry, ENCODERS[_suffix(path)], overwrite=overwrite)


def write_image(image: MetaTensor, path: Path, *, overwrite: bool) -> None:
    """A one-channel image (1, I, J, K) as a file on its grid, in its own voxel type.

    Raises:
        OutputError: the image has several channels or a type no format holds, the suffix is none of
            ``LABEL_SUFFIXES``, the file exists, or it cannot be written.
    """
    array = image.as_tensor().detach().cpu().numpy()
    if array.ndim != 4 or array.shape[0] != 1 or array.dtype.name not in ELEMENT_TYPES:
        raise OutputError(
            f"{path.name}: an image of shape {array.shape} and type {array.dtype} was given: one channel (1, I, J, K) "
            f"of {', '.join(ELEMENT_TYPES)} was expected. Write each channel to a file of its own."
        )
    _write(path, array[0], geometry_of(image), ENCODERS[_suffix(path)], overwrite=overwrite)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in LABEL_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise OutputError(f"{path.name} names no format that is written: {', '.join(LABEL_SUFFIXES)} were expected.")


def _write(path: Path, array: NDArray[Any], geometry: Geometry, encode: Encoder, *, overwrite: bool) -> None:
    with atomic_write(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        encode(file, array, geometry)


def placed_nifti(array: NDArray[Any], geometry: Geometry) -> nib.Nifti1Image:
    """An array as a NIfTI image on a grid."""
    image = nib.Nifti1Image(array, geometry.affine)
    header: Any = image.header
    header.set_xyzt_units("mm")
    image.set_sform(geometry.affine, code=SCANNER_CODE)
    image.set_qform(geometry.affine, code=SCANNER_CODE)
    if largest_gap_mm(geometry.affine, header) > FORM_TOLERANCE_MM:
        # a qform can hold no shear, and its quaternion loses digits near half a turn: better none than a wrong one
        image.set_qform(None, code=0)
    return image


def _encode_nifti(file: BinaryIO, array: NDArray[Any], geometry: Geometry) -> None:
    placed_nifti(array, geometry).to_stream(file)


def _encode_nifti_gz(file: BinaryIO, array: NDArray[Any], geometry: Geometry) -> None:
    with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as packed:
        _encode_nifti(packed, array, geometry)  # type: ignore[arg-type]  # a GzipFile is written like a file


def _encode_nrrd(
    file: BinaryIO, array: NDArray[Any], geometry: Geometry, fields: Sequence[tuple[str, str]] = ()
) -> None:
    affine = LPS_TO_RAS @ geometry.affine
    lines = [
        "NRRD0005",
        f"type: {ELEMENT_TYPES[array.dtype.name][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {_spaced(array.shape)}",
        f"space directions: {' '.join(_vector(affine[:3, axis]) for axis in range(3))}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine[:3, 3])}",
        *(f"{key}:={value}" for key, value in fields),
    ]
    file.write(("\n".join(lines) + "\n\n").encode())
    with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as packed:
        packed.write(_little_endian(array))


def _encode_mha(file: BinaryIO, array: NDArray[Any], geometry: Geometry) -> None:
    affine = LPS_TO_RAS @ geometry.affine
    directions = affine[:3, :3] / np.array(geometry.spacing_mm)
    voxels = zlib.compress(_little_endian(array), GZIP_LEVEL)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(voxels)}",
        f"TransformMatrix = {_spaced(directions.T.ravel())}",
        f"Offset = {_spaced(affine[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_spaced(geometry.spacing_mm)}",
        f"DimSize = {_spaced(array.shape)}",
        f"ElementType = {ELEMENT_TYPES[array.dtype.name][1]}",
        "ElementDataFile = LOCAL",
    ]
    file.write(("\n".join(lines) + "\n").encode())
    file.write(voxels)


ENCODERS: dict[str, Encoder] = {
    ".nii.gz": _encode_nifti_gz,
    ".nii": _encode_nifti,
    ".seg.nrrd": _encode_nrrd,
    ".nrrd": _encode_nrrd,
    ".mha": _encode_mha,
}


def _segment_fields(labels: NDArray[np.uint8], table: LabelTable) -> list[tuple[str, str]]:
    """The keys under which 3D Slicer keeps a segmentation: one segment a label, all in one layer."""
    boxes = ndimage.find_objects(labels, max_label=255)
    fields = [
        ("Segmentation_ContainedRepresentationNames", "Binary labelmap|"),
        ("Segmentation_MasterRepresentation", "Binary labelmap"),
        ("Segmentation_SourceRepresentation", "Binary labelmap"),  # the key above, as newer Slicers call it
        ("Segmentation_ReferenceImageExtentOffset", "0 0 0"),
    ]
    for number, label in enumerate(table):
        box = boxes[label.index - 1]
        extent = "0 -1 0 -1 0 -1" if box is None else " ".join(f"{axis.start} {axis.stop - 1}" for axis in box)
        fields += [
            (f"Segment{number}_ID", f"Segment_{label.index}"),
            (f"Segment{number}_Name", label.name.replace("\\", "\\\\").replace("\n", "\\n")),
            (f"Segment{number}_NameAutoGenerated", "0"),
            (f"Segment{number}_Color", _spaced(round(part / 255, 6) for part in label.color)),
            (f"Segment{number}_ColorAutoGenerated", "0"),
            (f"Segment{number}_LabelValue", str(label.index)),
            (f"Segment{number}_Layer", "0"),
            (f"Segment{number}_Extent", extent),
        ]
    return fields


def _little_endian(array: NDArray[Any]) -> bytes:
    """The voxels, i fastest, as all three formats store them."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="F")


def _spaced(values: Any) -> str:
    """Numbers with all their digits, so that a grid comes back as it went."""
    return " ".join(_number(value) for value in values)


def _vector(values: Any) -> str:
    return f"({','.join(_number(value) for value in values)})"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
