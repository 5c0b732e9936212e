"""What images, tags and files of clients may be called: names, and never paths."""

import re
from pathlib import Path

from medseg.errors import CaseError
from medseg.io.text_header import check_self_contained
from medseg.record import tag_of

__all__ = ["ACCEPTED", "IMAGE_PATTERNS", "UnknownImageError", "check_name", "image_file"]

ACCEPTED = tag_of("accepted")
"""The tag of labels that a person has accepted."""

IMAGE_PATTERNS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha")
"""One file each; ``.mhd`` keeps its voxels in a second one, which a client could not send."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +@-]{0,127}")


class UnknownImageError(CaseError):
    """The data store has no image, or no label, of that name."""


def check_name(name: str, *, what: str) -> str:
    """The name, if it is one: of a file, in no other folder, and not hidden.

    Raises:
        CaseError: it is something else.
    """
    if not NAME.fullmatch(name) or ".." in name or name.endswith((" ", ".")):
        raise CaseError(
            f"{what} {name[:40]!r} is no name: up to 128 letters, digits, dots, hyphens and underscores were expected."
        )
    return name


def image_file(name: str) -> Path:
    """The path of a file that a client has sent.

    Raises:
        CaseError: its suffix is none of an image.
        ImageError: it is the header of a file elsewhere.
    """
    path = Path(name)
    if not any(path.match(pattern) for pattern in IMAGE_PATTERNS):
        raise CaseError(
            f"a file that ends in {path.suffix[:12]!r} was sent: one of {', '.join(IMAGE_PATTERNS)} please."
        )
    check_self_contained(path)
    return path
