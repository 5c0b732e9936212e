"""Tensors that depend on sizes alone, built once and kept.

In: a pure function of hashable sizes that builds one tensor. Out: the same function with a memory.
"""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import ParamSpec

import torch
from torch import Tensor

__all__ = ["MEMORY_SIZE", "memoised"]

MEMORY_SIZE = 64  # tensors kept a function: more than the stages, shifts and devices of any network here


P = ParamSpec("P")


def memoised(build: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """``build`` with its last ``MEMORY_SIZE`` tensors kept; the caller must not change a tensor it is given.

    ``functools.lru_cache`` alone would keep tensors that are poison later: while a graph is being captured they
    are stand-ins without values, and under ``torch.inference_mode`` they may never take part in a training step.
    """
    kept: dict[object, Tensor] = {}
    lock = Lock()

    @wraps(build)
    def recall(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return build(*args, **kwargs)
        key = (args, tuple(sorted(kwargs.items())))
        if key in kept:
            return kept[key]
        with torch.inference_mode(mode=False):
            value = build(*args, **kwargs)
        if type(value) is Tensor:
            with lock:
                if len(kept) >= MEMORY_SIZE:
                    kept.pop(next(iter(kept)))
                kept[key] = value
        return value

    return recall
