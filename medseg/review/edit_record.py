"""One step of editing as bytes: an edit with all that it changed, an undo, a redo, or what labels mean from there on.

In: a ``Delta``, the word of the step, or a ``LabelMeaning``. Out: a compressed record, and from it the step again,
bit for bit.
"""

import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from medseg.review.delta import Delta
from medseg.review.meaning import LabelMeaning

__all__ = ["Step", "packed_edit", "unpacked_edit"]

Step = Delta | LabelMeaning | Literal["undo", "redo"]

UNDO, REDO, EDIT, MEANING = b"U", b"R", b"E", b"M"

COUNTS = struct.Struct("<IQ")
"""Of an edit: bytes of its name, voxels changed."""

LEVEL = 1
"""Of compression: a brush stroke is done in a millisecond, and higher levels save little on differences."""


def packed_edit(step: Step) -> bytes:
    """The bytes of one step."""
    if step == "undo":
        return zlib.compress(UNDO, LEVEL)
    if step == "redo":
        return zlib.compress(REDO, LEVEL)
    if isinstance(step, LabelMeaning):
        return zlib.compress(MEANING + step.model_dump_json().encode(), LEVEL)
    name = step.name.encode()
    # neighbours in a stroke follow one another: their differences are small and repeat
    steps = np.diff(step.positions.astype("<i8"), prepend=np.int64(0)).astype("<i8")
    parts = (EDIT, COUNTS.pack(len(name), len(step)), name, steps.tobytes(), *map(_bytes, (step.before, step.after)))
    return zlib.compress(b"".join(parts), LEVEL)


def unpacked_edit(record: bytes, shape: tuple[int, int, int]) -> Step | None:
    """The step that was packed; None where the bytes are none of labels of ``shape``."""
    try:
        content = zlib.decompress(record)
    except zlib.error:
        return None
    if content == UNDO:
        return "undo"
    if content == REDO:
        return "redo"
    if content[:1] == MEANING:
        return _meaning(content[1:])
    if content[:1] != EDIT or len(content) < 1 + COUNTS.size:
        return None
    name_bytes, count = COUNTS.unpack_from(content, 1)
    start = 1 + COUNTS.size
    values = start + name_bytes
    if len(content) != values + 10 * count:
        return None
    positions = np.cumsum(np.frombuffer(content, "<i8", count, values)).astype(np.int64)
    if count and not 0 <= positions.min() <= positions.max() < np.prod(shape):
        return None
    before = np.frombuffer(content, np.uint8, count, values + 8 * count).copy()
    after = np.frombuffer(content, np.uint8, count, values + 9 * count).copy()
    return Delta(positions, before, after, shape, content[start:values].decode(errors="replace"))


def _meaning(content: bytes) -> LabelMeaning | None:
    try:
        return LabelMeaning.model_validate_json(content)
    except ValidationError:
        return None


def _bytes(values: NDArray[np.uint8]) -> bytes:
    return values.astype(np.uint8).tobytes()
