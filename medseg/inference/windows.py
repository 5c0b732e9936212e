"""Windows: how a volume larger than the network's window is covered.

Windows of size 5 with overlap 0.4 on an axis of 10 voxels; the last is moved back to end at the border::

    voxel   0 1 2 3 4 5 6 7 8 9
    first   ■ ■ ■ ■ ■
    second        ■ ■ ■ ■ ■
    third             ■ ■ ■ ■ ■   (would start at 6: moved back to 5)
"""

from collections.abc import Sequence
from math import prod

__all__ = ["count_windows", "window_starts"]


def window_starts(*, size: int, roi: int, overlap: float) -> list[int]:
    """Where the windows of one axis begin; an axis shorter than the window is padded and has one."""
    if size <= roi:
        return [0]
    step = max(int(roi * (1 - overlap)), 1)  # overlap 0.99 of a 4-voxel axis would otherwise never advance
    starts = list(range(0, size - roi, step))
    return [*starts, size - roi]


def count_windows(sizes: Sequence[int], *, roi_size: Sequence[int] | int, overlap: Sequence[float] | float) -> int:
    """How many windows cover a volume of these sizes."""
    rois = [roi_size] * len(sizes) if isinstance(roi_size, int) else roi_size
    overlaps = [overlap] * len(sizes) if isinstance(overlap, int | float) else overlap
    return prod(
        len(window_starts(size=size, roi=roi, overlap=share))
        for size, roi, share in zip(sizes, rois, overlaps, strict=True)
    )
