"""Attention windows: which voxels attend to one another, in 2D and in 3D.

In: a channels-last feature map (B, *S, D), S one size an axis. Out: windows (B, W, N, D) and back again;
masks and index tables that depend on sizes alone.

    one axis of 8 tokens, window 4, shift 2          tokens    0 1 2 3 4 5 6 7
                                            plain windows    [0 1 2 3][4 5 6 7]
                     rolled by −2, then cut in windows       [2 3 4 5][6 7|0 1]
    In the last window the bar parts tokens that are no neighbours: they must not see each other.

Letters: B batch · W windows · N tokens in a window · D embedding · H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from medseg.networks.blocks.memo import memoised
from medseg.networks.blocks.padding import crop_end, pad_end

__all__ = [
    "MASKED_LOGIT",
    "WindowPlan",
    "cut_windows",
    "join_windows",
    "mask_groups",
    "paste_windows",
    "plan_windows",
    "relative_position_index",
    "shift_mask",
    "split_windows",
    "window_order",
    "window_places",
]

MASKED_LOGIT = -100.0  # added to logits of pairs that must not meet; finite, as in every release


@dataclass(frozen=True)
class WindowPlan:
    """How a map of one size is cut: the padded size, the window and the shift, one number an axis."""

    padded: tuple[int, ...]
    window: tuple[int, ...]
    shift: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple(size // w for size, w in zip(self.padded, self.window, strict=True))

    @property
    def is_shifted(self) -> bool:
        return any(self.shift)


@lru_cache(maxsize=256)
def plan_windows(size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...], *, shrink: bool) -> WindowPlan:
    """The plan for a map of ``size``: padded at the end of each axis to a multiple of the window.

    ``shrink``: on an axis no longer than the window the window becomes the whole axis and is not shifted
    (Swin UNETR); otherwise such an axis is padded up to one window and shifted all the same (DS-TransUNet).
    """
    fits = [shrink and n <= w for n, w in zip(size, window, strict=True)]
    used = tuple(n if fit else w for n, w, fit in zip(size, window, fits, strict=True))
    moved = tuple(0 if fit else s for s, fit in zip(shift, fits, strict=True))
    padded = tuple(-(-n // w) * w for n, w in zip(size, used, strict=True))
    return WindowPlan(padded=padded, window=used, shift=moved)


def split_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """(B, *S, D) → (B, W, N, D): windows in row-major order, tokens inside a window likewise."""
    if len(window) == 2:
        return rearrange(x, "b (i wi) (j wj) d -> b (i j) (wi wj) d", wi=window[0], wj=window[1])
    return rearrange(x, "b (i wi) (j wj) (k wk) d -> b (i j k) (wi wj wk) d", wi=window[0], wj=window[1], wk=window[2])


def join_windows(windows: Tensor, plan: WindowPlan) -> Tensor:
    """(B, W, N, D) → (B, *S, D): the inverse of ``split_windows`` on the padded map."""
    sizes = dict(zip("ijk", plan.grid, strict=False)) | dict(zip(("wi", "wj", "wk"), plan.window, strict=False))
    if len(plan.window) == 2:
        return rearrange(windows, "b (i j) (wi wj) d -> b (i wi) (j wj) d", **sizes)
    return rearrange(windows, "b (i j k) (wi wj wk) d -> b (i wi) (j wj) (k wk) d", **sizes)


def cut_windows(x: Tensor, plan: WindowPlan) -> Tensor:
    """(B, *S, D) → (B, W, N, D): the windows of a map of the size ``plan`` was made for, padded and shifted."""
    x = pad_end(x, plan.padded)
    if plan.is_shifted:
        x = torch.roll(x, tuple(-s for s in plan.shift), tuple(range(1, x.ndim - 1)))
    return split_windows(x, plan.window)


def paste_windows(windows: Tensor, plan: WindowPlan, size: Sequence[int]) -> Tensor:
    """(B, W, N, D) → (B, *S, D) with S ``size``: the inverse of ``cut_windows``."""
    x = join_windows(windows, plan)
    if plan.is_shifted:
        x = torch.roll(x, plan.shift, tuple(range(1, x.ndim - 1)))
    return crop_end(x, size)


@lru_cache(maxsize=256)
def mask_groups(grid: tuple[int, ...], shift: tuple[int, ...]) -> tuple[tuple[tuple[bool, ...], int], ...]:
    """Windows that share one mask after a shift: (is the last along each shifted axis, how many there are).

    Only the last window along an axis holds tokens from both ends of it, so a shifted map knows at most
    2³ masks however many windows it has; empty groups are left out.
    """
    groups = []
    for is_last in product(*[(False, True) if s else (False,) for s in shift]):
        counts = [1 if last else n - bool(s) for n, s, last in zip(grid, shift, is_last, strict=True)]
        if prod(counts):
            groups.append((is_last, prod(counts)))
    return tuple(groups)


@memoised
def window_order(grid: tuple[int, ...], shift: tuple[int, ...], *, device: torch.device) -> Tensor:
    """(W,) window numbers sorted so that the windows of each of ``mask_groups`` stand together, in its order."""
    return torch.tensor(_sorted_numbers(grid, shift), device=device)


@memoised
def window_places(grid: tuple[int, ...], shift: tuple[int, ...], *, device: torch.device) -> Tensor:
    """(W,) the inverse of ``window_order``: where each window went."""
    order = _sorted_numbers(grid, shift)
    return torch.tensor(sorted(range(len(order)), key=order.__getitem__), device=device)


@memoised
def shift_mask(
    window: tuple[int, ...],
    shift: tuple[int, ...],
    is_last: tuple[bool, ...],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """(N, N) added to the logits of one group of shifted windows: 0 for neighbours, ``MASKED_LOGIT`` for strangers."""
    side = np.zeros((1,) * len(window), dtype=np.int64)
    for axis, (w, s, last) in enumerate(zip(window, shift, is_last, strict=True)):
        across = np.arange(w) >= (w - s if last else w)
        side = 2 * side + across.reshape([w if a == axis else 1 for a in range(len(window))])
    side = side.reshape(prod(window))
    mask = (side[:, None] != side[None, :]) * MASKED_LOGIT
    return torch.from_numpy(mask).to(device, dtype)


@memoised
def relative_position_index(window: tuple[int, ...], *, device: torch.device) -> Tensor:
    """(N, N) row of the bias table for each pair (query, key): the offset between them, numbered row-major.

    On an axis of ``w`` tokens offsets run from −(w−1) to w−1, so the table has ∏(2w−1) rows.
    """
    index = np.zeros((prod(window), prod(window)), dtype=np.int64)
    for w, position in zip(window, np.indices(window).reshape(len(window), -1), strict=True):
        index = index * (2 * w - 1) + (position[:, None] - position[None, :] + w - 1)
    return torch.from_numpy(index).to(device)


def _sorted_numbers(grid: tuple[int, ...], shift: tuple[int, ...]) -> list[int]:
    numbers = []
    for is_last, _ in mask_groups(grid, shift):
        ranges = [
            range(n - 1, n) if last else range(n - bool(s)) for n, s, last in zip(grid, shift, is_last, strict=True)
        ]
        numbers += [_row_major(position, grid) for position in product(*ranges)]
    return numbers


def _row_major(position: tuple[int, ...], grid: tuple[int, ...]) -> int:
    number = 0
    for index, n in zip(position, grid, strict=True):
        number = number * n + index
    return number
