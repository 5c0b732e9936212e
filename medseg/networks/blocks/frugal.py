"""Residual convolution blocks without autograd: the same numbers from fewer large tensors.

In: channels-last maps (B, I, J, K, C), one or two that count as one with their channels side by side. Out: the
block's result, (B, I, J, K, D).

Where no gradient is wanted, half of a processor's time goes into the memory of large activations: the system
hands out zeroed pages for every one and takes them back, and the convolution library copies each map into its
own layout and out again. Here

    - maps stay channels-last, which the library takes as they are;
    - convolutions run over slabs of axis I, so that copies (two maps side by side, one voxel of overlap at either
      face) are small enough to stay in memory the allocator already holds;
    - normalisation, activation and shortcut change a map in place: it was made here and nobody else has seen it.

Letters: B batch · I J K axes · C D channels · V voxels.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Final

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

__all__ = [
    "add_branch_",
    "by_chunks",
    "chunks_of_rows",
    "convolved",
    "leaky_",
    "logits",
    "may_reuse_memory",
    "normalised_",
    "only_result_counts",
    "pointwise",
]

SLAB_BYTES: Final = 2**23  # 8 MiB of result: well under the 32 MiB from which glibc asks the system every time
WIDE_CHUNK_ROWS: Final = 2**9  # tokens at once that grow into many voxels each
CHUNK_ROWS: Final = 2**14  # voxels or tokens at once: a few MiB, so that a second look finds them in the cache


def only_result_counts(*maps: Tensor) -> bool:
    """Whether maps made on the way may be given up at once: no gradient is wanted, and they are in no graph's capture.

    A capture is told by its maps, which have no values: torch's own mark is set for all threads, and another may be
    computing.
    """
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_dynamo_compiling()
        and not any(isinstance(x, FakeTensor) for x in maps)
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    )


def may_reuse_memory(*maps: Tensor) -> bool:
    """Whether maps made on the way may be overwritten part by part.

    On a processor only: a GPU keeps the memory it has, and small parts would leave it idle.
    """
    return (
        only_result_counts(*maps) and all(x.device.type == "cpu" for x in maps) and not torch.is_autocast_enabled("cpu")
    )


def chunks_of_rows(x: Tensor) -> tuple[Tensor, ...]:
    """Views (V, D) that together are ``x``, which must be contiguous: what is done to them is done to it."""
    return torch.split(x.view(prod(x.shape[:-1]), x.shape[-1]), CHUNK_ROWS)


def add_branch_(x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
    """x ← x + branch(x) for tokens (…, D) that do not see each other, in place and part by part.

    The hidden layer of an MLP on all tokens at once would be the largest map of all.
    """
    x = x.contiguous()
    for tokens in chunks_of_rows(x):
        tokens.add_(branch(tokens))
    return x


def by_chunks(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of tokens (…, D) that do not see each other: (…, *T) where it makes (V, *T) of (V, D).

    Part by part where memory may be reused: for functions that are much wider inside than what they return.
    """
    if not may_reuse_memory(x):
        return function(x)
    parts = torch.split(x.reshape(-1, x.shape[-1]), WIDE_CHUNK_ROWS)
    first = function(parts[0])
    result = x.new_empty((prod(x.shape[:-1]), *first.shape[1:]))
    result[: len(first)] = first
    for place, part in enumerate(parts[1:], start=1):
        result[place * WIDE_CHUNK_ROWS :][: len(part)] = function(part)
    return result.view(*x.shape[:-1], *first.shape[1:])


def convolved(maps: Sequence[Tensor], weight: Tensor, *, into: Tensor | None = None) -> Tensor:
    """3×3×3 convolution of (B, I, J, K, C) maps side by side with ``weight`` (D, ΣC, 3, 3, 3): (B, I, J, K, D).

    ``into`` may be one of the maps, if it has D channels: every slab is copied before its place is overwritten.
    """
    batch, length, *plane = maps[0].shape[:-1]
    kernel = weight.contiguous(memory_format=torch.channels_last_3d)
    result = maps[0].new_empty((batch, length, *plane, weight.shape[0])) if into is None else into
    thickness = max(SLAB_BYTES // (prod(plane) * weight.shape[0] * result.element_size()), 1)
    slab = _slab(maps, -1, thickness + 1)  # (B, i + 2, J, K, ΣC)
    for start in range(0, length, thickness):
        convolution = F.conv3d(rearrange(slab, "b i j k c -> b c i j k"), kernel, padding=(0, 1, 1))
        slab = _slab(maps, start + thickness - 1, start + 2 * thickness + 1)
        result[:, start : start + thickness] = rearrange(convolution, "b d i j k -> b i j k d")
    return result


def pointwise(maps: Sequence[Tensor], weight: Tensor, *, into: Tensor | None = None) -> Tensor:
    """1×1×1 convolution of (B, I, J, K, C) maps side by side with ``weight`` (D, ΣC, 1, 1, 1): (B, I, J, K, D).

    ``into`` may be one of the maps, if it has D channels.
    """
    parts = torch.split(weight.flatten(1), [x.shape[-1] for x in maps], dim=1)  # each (D, C)
    result = maps[0].new_empty((*maps[0].shape[:-1], weight.shape[0])) if into is None else into
    for target, *chunks in zip(*(chunks_of_rows(x) for x in (result, *maps)), strict=True):
        total = chunks[0] @ parts[0].t()
        for chunk, part in zip(chunks[1:], parts[1:], strict=True):
            total.addmm_(chunk, part.t())
        target.copy_(total)
    return result


def logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1×1×1 convolution of (B, I, J, K, C) with ``weight`` (L, C, 1, 1, 1): (B, L, I, J, K), channels first."""
    batch, *size, _ = x.shape
    result = torch.matmul(weight.flatten(1), x.flatten(1, -2).transpose(1, 2))  # (B, L, V)
    return result.add_(bias[:, None]).view(batch, weight.shape[0], *size)


def normalised_(x: Tensor, *, eps: float) -> Tensor:
    """Instance normalisation of (B, I, J, K, D) in place: each channel of each sample to mean 0 and variance 1.

    Mean and variance are taken in two passes over small chunks: one long sum in float32 loses four digits.
    """
    for sample in x:
        chunks = chunks_of_rows(sample)
        voxels = prod(sample.shape[:-1])
        wide = torch.promote_types(x.dtype, torch.float32)
        mean = torch.stack([chunk.sum(0, dtype=wide) for chunk in chunks]).sum(0) / voxels  # (D,)
        square = torch.stack([(chunk - mean).square_().sum(0) for chunk in chunks]).sum(0) / voxels  # (D,)
        scale = (square + eps).rsqrt()
        for chunk in chunks:
            chunk.copy_((chunk - mean).mul_(scale))
    return x


def leaky_(x: Tensor, shortcut: Tensor | None = None, *, slope: float) -> Tensor:
    """LeakyReLU of ``x``, or of ``x`` plus a shortcut, in place."""
    for part, other in zip(_slices(x), _slices(x if shortcut is None else shortcut), strict=True):
        F.leaky_relu_(part if shortcut is None else part.add_(other), slope)
    return x


def _slab(maps: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """A copy (B, stop − start, J, K, ΣC) of all maps side by side.

    There is a plane of zeros before the first and after the last. Beyond that plane there is nothing to copy,
    and a slab that would begin there is empty.
    """
    length = maps[0].shape[1]
    stop = min(stop, length + 1)
    if start >= length:
        return maps[0].new_empty(0)
    inside = torch.cat([x[:, max(start, 0) : min(stop, length)] for x in maps], dim=-1)
    missing = (max(-start, 0), max(stop - length, 0))
    return F.pad(inside, (0, 0, 0, 0, 0, 0, *missing)) if any(missing) else inside


def _slices(x: Tensor) -> tuple[Tensor, ...]:
    """``x`` in parts along axis I, so that a second look finds a part in the cache."""
    return torch.split(x, max(CHUNK_ROWS // prod(x.shape[2:-1]), 1), dim=1)
