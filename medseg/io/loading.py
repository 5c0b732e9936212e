"""Which loader reads which path. In: a file or a DICOM folder. Out: the image as stored, channels first."""

from pathlib import Path

from medseg.io.dicom.series import load_series, series_files
from medseg.io.formats import ITK_SUFFIXES, NIFTI_SUFFIXES, image_suffix
from medseg.io.itk_image import itk_channels, load_itk, load_with_itk_extra
from medseg.io.nifti import load_nifti, nifti_channels, nifti_doubts
from medseg.io.stored import StoredImage
from medseg.io.text_header import voxel_files

__all__ = ["count_channels", "file_doubts", "load_stored", "stored_files"]


def load_stored(path: Path) -> StoredImage:
    """The image at ``path``.

    Raises:
        ImageError: it cannot be read, or its shape or type is none that a scan has.
    """
    if path.is_dir():
        return load_series(path)
    suffix = image_suffix(path)
    if suffix in NIFTI_SUFFIXES:
        return load_nifti(path)
    if suffix in ITK_SUFFIXES:
        return load_itk(path)
    return load_with_itk_extra(path)


def count_channels(path: Path) -> int:
    """The number of channels at ``path``, without reading its voxels; a DICOM folder has one.

    Raises:
        ImageError: the header cannot be read, or its shape is none that a scan has.
    """
    suffix = image_suffix(path)
    if path.is_dir() or suffix is None:
        return 1
    return nifti_channels(path) if suffix in NIFTI_SUFFIXES else itk_channels(path)


def file_doubts(path: Path) -> tuple[str, ...]:
    """What the file at ``path`` contradicts itself in, or leaves open; nothing of other kinds than NIfTI.

    Raises:
        ImageError: it is damaged, be it behind its last voxel.
    """
    return nifti_doubts(path) if image_suffix(path) in NIFTI_SUFFIXES and path.is_file() else ()


def stored_files(path: Path) -> tuple[Path, ...]:
    """Every file that the image at ``path`` consists of.

    Raises:
        ImageError: the voxels of a header file are spread over several files.
    """
    if path.is_dir():
        return series_files(path)
    return voxel_files(path) if image_suffix(path) in ITK_SUFFIXES else (path,)
