"""The text at the head of NRRD and MetaImage files, as far as the voxels' whereabouts go.

SimpleITK reads these formats, but does not tell which file the voxels came from, and its MetaImage reader writes
complaints about short files straight to the terminal; both are looked up here before it is called.
"""

import re
from pathlib import Path

from medseg.errors import ImageError

__all__ = ["check_metaimage_complete", "check_metaimage_header", "check_self_contained", "voxel_files"]

DAMAGED_ADVICE = "it is damaged, cut short, or another kind of file. Export or copy it again."

HEADER_BYTES = 1 << 16
"""Headers are a few hundred bytes, segmentations of 3D Slicer with many segments some tens of thousands."""

DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+)\r?\n", re.MULTILINE | re.IGNORECASE)

STRICT_BYTES = 1 << 20
NRRD_END = re.compile(rb"\r?\n\r?\n")
METAIMAGE_END = re.compile(rb"ElementDataFile *= *LOCAL *\r?\n")

NEEDED_KEYS = (b"NDims", b"DimSize", b"ElementType", b"ElementDataFile")
"""Without these a MetaImage header describes no image."""

PACKED_SIZE = re.compile(rb"^CompressedDataSize\s*=\s*(\d+)", re.MULTILINE)

PACKED = re.compile(rb"^CompressedData\s*=\s*True", re.MULTILINE | re.IGNORECASE)


def voxel_files(path: Path) -> tuple[Path, ...]:
    """The files that an NRRD or MetaImage file consists of: itself and, where its voxels lie apart, their file.

    Raises:
        ImageError: the voxels are spread over several files.
    """
    named = DATA_FILE.search(_head(path))
    name = named[1].strip().decode(errors="replace") if named else "LOCAL"
    if name.upper() == "LOCAL":
        return (path,)
    if name.upper().startswith("LIST") or "%" in name:
        raise ImageError(f"{path.name} spreads its voxels over several files: one was expected. Save it as one file.")
    return (path, path.parent / name)


def check_self_contained(path: Path) -> None:
    """Nothing, if a file of a stranger holds its own voxels: its header could name any file on this machine.

    Stricter than the libraries, which understand more ways of writing than are looked for here.

    Raises:
        ImageError: the header names another file, or where the voxels are is not plain.
    """
    suffix = path.suffix.lower()
    if suffix not in {".nrrd", ".nhdr", ".mha", ".mhd"}:
        return
    head = _head(path, STRICT_BYTES)
    if suffix in {".nrrd", ".nhdr"}:
        end = NRRD_END.search(head)
        is_plain = end is not None and not re.search(rb"data\s*file", head[: end.start()], re.IGNORECASE)
    else:
        named = re.search(rb"ElementDataFile", head, re.IGNORECASE)
        is_plain = named is not None and METAIMAGE_END.match(head, named.start()) is not None
    if not is_plain:
        raise ImageError(f"{path.name} keeps its voxels in another file: send an image that is one file.")


def check_metaimage_header(path: Path) -> None:
    """Nothing, if the file at ``path`` begins with the header of a MetaImage.

    Raises:
        ImageError: a key that every such header has is missing.
    """
    head = _head(path)
    missing = [key.decode() for key in NEEDED_KEYS if not re.search(rb"^" + key + rb"\s*=", head, re.MULTILINE)]
    if missing:
        raise ImageError(f"{path.name} cannot be read (its header has no {', '.join(missing)}): {DAMAGED_ADVICE}")


def check_metaimage_complete(path: Path, voxel_bytes: int) -> None:
    """Nothing, if the MetaImage file at ``path`` holds all of its voxels, ``voxel_bytes`` when unpacked.

    Raises:
        ImageError: voxels are missing.
    """
    head = _head(path)
    named = DATA_FILE.search(head)
    if named is None:
        return
    *_, voxels = voxel_files(path)
    if not voxels.is_file():
        raise ImageError(f"{path.name} names {voxels.name} for its voxels, which does not exist. Put it beside.")
    packed_size = PACKED_SIZE.search(head)
    expected = int(packed_size[1]) if packed_size else voxel_bytes
    if PACKED.search(head) and not packed_size:
        return  # older writers do not say how long the packed voxels are
    found = voxels.stat().st_size - (named.end() if voxels == path else 0)
    if found < expected:
        raise ImageError(f"{path.name} holds {found} bytes of voxels, {expected} were expected: {DAMAGED_ADVICE}")


def _head(path: Path, size: int = HEADER_BYTES) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ImageError(f"{path.name} cannot be opened: {error.strerror}. Check the file.") from error
