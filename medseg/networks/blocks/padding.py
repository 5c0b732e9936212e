"""Padding at the end of axes and back: every size a network needs, from every size there is.

In: channels-last maps (B, *S, D) or images (B, C, *S). Out: the same, longer or shorter at the end of S.
Nothing is copied where nothing is missing.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["crop_end", "crop_image", "next_multiple", "pad_end", "pad_image"]


def next_multiple(size: Sequence[int], divisor: Sequence[int] | int) -> tuple[int, ...]:
    """The smallest size that is a multiple of ``divisor`` on each axis and no shorter than ``size``."""
    divisors = [divisor] * len(size) if isinstance(divisor, int) else list(divisor)
    return tuple(-(-n // d) * d for n, d in zip(size, divisors, strict=True))


def pad_end(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, *S, D) with zeros at the end of each axis until S is ``size``."""
    missing = [wanted - found for wanted, found in zip(size, x.shape[1:-1], strict=True)]
    return F.pad(x, [0, 0, *_last_axis_first(missing)]) if any(missing) else x


def crop_end(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, *S, D) cut at the end of each axis until S is ``size``."""
    for axis, wanted in enumerate(size, start=1):
        if x.shape[axis] != wanted:
            x = x.narrow(axis, 0, wanted)
    return x


def pad_image(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *S) with zeros at the end of each axis until S is ``size``."""
    missing = [wanted - found for wanted, found in zip(size, x.shape[2:], strict=True)]
    return F.pad(x, _last_axis_first(missing)) if any(missing) else x


def crop_image(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *S) cut at the end of each axis until S is ``size``."""
    for axis, wanted in enumerate(size, start=2):
        if x.shape[axis] != wanted:
            x = x.narrow(axis, 0, wanted)
    return x


def _last_axis_first(missing: Sequence[int]) -> list[int]:
    """``F.pad`` wants (before, after) of the last axis first."""
    return [amount for after in reversed(missing) for amount in (0, after)]
