"""Start weights brought to another number of channels, another window or another grid of tokens.

In: a tensor as it was published for colour images of one size. Out: the same knowledge in the shape our network
asks for; unchanged where the shapes agree. Every change is logged: it is an approximation, not a conversion.
"""

import logging
from collections.abc import Mapping
from math import isqrt

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from medseg.networks.checkpoints.report import WeightsError

__all__ = [
    "adapted_keys",
    "kernel_for_channels",
    "patch_kernel_for_size",
    "positions_for_side",
    "table_for_window",
    "table_window",
]

LOG = logging.getLogger(__name__)


def adapted_keys(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names under which ``after`` holds another number of values than ``before``."""
    return tuple(key for key, tensor in before.items() if key in after and after[key].numel() != tensor.numel())


def kernel_for_channels(kernel: Tensor, channels: int) -> Tensor:
    """(out, in, *k) → (out, channels, *k): the mean over the old channels for each new one.

    Scaled so that an image whose channels are all alike is answered as strongly as before.
    """
    found = kernel.shape[1]
    if found == channels:
        return kernel
    LOG.warning("first convolution: the mean of %d channels is used for each of %d.", found, channels)
    return (kernel.mean(dim=1, keepdim=True) * (found / channels)).repeat_interleave(channels, dim=1)


def patch_kernel_for_size(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """(out, in, k, k) → (out, in, *size): bilinear between the old weights, with the old answer to an even image."""
    found = (kernel.shape[2], kernel.shape[3])
    if found == size:
        return kernel
    LOG.warning("patch embedding: weights for patches of %s are stretched to %s.", found, size)
    stretched = F.interpolate(kernel, size=size, mode="bilinear", align_corners=False)
    return stretched * (found[0] * found[1] / (size[0] * size[1]))


def positions_for_side(positions: Tensor, side: int) -> Tensor:
    """(1, N, D) of a square grid → (1, side², D): bilinear between corner tokens.

    Raises:
        WeightsError: N is no square.
    """
    found = isqrt(positions.shape[1])
    if found**2 != positions.shape[1]:
        raise WeightsError(
            f"position embedding of {positions.shape[1]} tokens: a square grid was expected. "
            "Use weights that were trained on square images."
        )
    if found == side:
        return positions
    LOG.warning("positions: learned on %d×%d tokens, interpolated to %d×%d.", found, found, side, side)
    grid = rearrange(positions, "one (i j) d -> one d i j", i=found)
    grid = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=True)
    return rearrange(grid, "one d i j -> one (i j) d")


def table_window(table: Tensor) -> int:
    """The window's side w for which a 2D relative position bias table, ((2w − 1)², heads), was learned.

    Raises:
        WeightsError: the rows belong to no square window.
    """
    across = isqrt(table.shape[0])
    if across**2 != table.shape[0] or across % 2 == 0:
        raise WeightsError(
            f"a bias table of {table.shape[0]} rows: (2w − 1)² for a square window of side w was expected. "
            "The weights belong to another kind of network."
        )
    return (across + 1) // 2


def table_for_window(table: Tensor, window: int) -> Tensor:
    """((2w − 1)², H) → ((2·window − 1)², H): bicubic between offsets, the rule of the Swin Transformer's authors."""
    found = table_window(table)
    if found == window:
        return table
    LOG.warning("relative position bias: learned for windows of %d, interpolated to %d.", found, window)
    grid = rearrange(table, "(i j) h -> 1 h i j", i=2 * found - 1)
    grid = F.interpolate(grid.to(torch.float32), size=(2 * window - 1,) * 2, mode="bicubic", align_corners=False)
    return rearrange(grid, "1 h i j -> (i j) h")
