"""File names: which suffix is which format, and what a case is called.

In: a path. Out: its image suffix, the name without it, and whether it is worth opening at all.
"""

from pathlib import Path

__all__ = ["ITK_SUFFIXES", "MAP_WORDS", "NIFTI_SUFFIXES", "image_suffix", "is_hidden", "name_without_suffix"]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
"""Read and written by nibabel."""

ITK_SUFFIXES = (".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Read by SimpleITK."""

MAP_WORDS = ("uncertainty", "mutual_information", "probabilities")
"""Maps that lie beside the labels ``X.nii.gz`` are called ``X_uncertainty.nii.gz`` and so on."""


def image_suffix(path: Path) -> str | None:
    """The image suffix of a file name in lower case (``.nii.gz`` as one), or None where it has none."""
    name = path.name.lower()
    return next((suffix for suffix in NIFTI_SUFFIXES + ITK_SUFFIXES if name.endswith(suffix)), None)


def name_without_suffix(path: Path) -> str:
    """The file name without its image suffix; a folder's name is kept whole."""
    if path.is_dir():
        return path.resolve().name
    suffix = image_suffix(path)
    return path.stem if suffix is None else path.name[: -len(suffix)]


def is_hidden(path: Path) -> bool:
    """Whether the name starts with a dot: half-written files, and the ``._`` twins that macOS leaves."""
    return path.name.startswith(".")
