"""Counting windows: how many an inferer takes, and how many of them are done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer
from monai.utils import ensure_tuple, fall_back_tuple
from torch import nn

from medseg.inference.mirror import MirrorInferer
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.three_planes import ThreePlaneInferer
from medseg.inference.windows import count_windows

__all__ = ["watched_windows", "windows_of"]


def windows_of(inferer: Inferer, sizes: Sequence[int]) -> int | None:
    """How many windows the inferer cuts a volume into; None where it has no windows.

    A slice of MONAI's own inferer is a window of one voxel, and 0 or less means the whole axis.
    """
    if isinstance(inferer, MirrorInferer):
        inner = windows_of(inferer.inferer, sizes)
        return None if inner is None else inferer.n_passes * inner
    if isinstance(inferer, ThreePlaneInferer):
        return sum(plane.count_windows(sizes) for plane in inferer.planes)
    if isinstance(inferer, SliceBySliceInferer):
        return inferer.count_windows(sizes)
    if not isinstance(inferer, SlidingWindowInferer):
        return None
    window = inferer.roi_size
    if isinstance(inferer, SliceInferer) and len(ensure_tuple(window)) < len(sizes):
        window = [*window[: inferer.spatial_dim], 1, *window[inferer.spatial_dim :]]
    roi_size = tuple(int(size) for size in fall_back_tuple(window, sizes))
    return count_windows(sizes, roi_size=roi_size, overlap=inferer.overlap)


@contextmanager
def watched_windows(
    network: nn.Module, inferer: Inferer, sizes: Sequence[int], hears: Callable[[int, int], None]
) -> Iterator[None]:
    """While this lasts, ``hears`` is told of windows through the network: how many are done, and of how many."""
    total = windows_of(inferer, sizes)
    if total is None:
        yield
        return
    done = 0

    def count(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:  # noqa: ARG001  a hook's signature
        nonlocal done
        done += arguments[0].shape[0]
        hears(min(done, total), total)

    handle = network.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
