"""Between voxels and tokens: embedding patches, merging neighbours, expanding back.

In and out: channels-last feature maps (B, *S, D), 2D or 3D; ``PatchEmbedding`` starts from an image (B, C, *S).
"""

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Final

import torch
from einops import rearrange
from torch import Tensor, nn

from medseg.networks.blocks.padding import next_multiple, pad_end, pad_image

__all__ = [
    "CONVOLUTIONS",
    "CURRENT_3D",
    "LEGACY_3D",
    "LEXICOGRAPHIC_2D",
    "LEXICOGRAPHIC_3D",
    "MICROSOFT_2D",
    "PatchEmbedding",
    "PatchExpanding",
    "PatchMerging",
    "channels_first",
    "channels_last",
]

CONVOLUTIONS: Final[dict[int, Callable[..., nn.Module]]] = {2: nn.Conv2d, 3: nn.Conv3d}

# Order in which a cell's neighbours are stacked along the channels before they are merged: their offset on each
# axis. Weights know only the order they were trained with, so it is part of a network's definition.
LEXICOGRAPHIC_2D: Final = tuple(product((0, 1), repeat=2))
LEXICOGRAPHIC_3D: Final = tuple(product((0, 1), repeat=3))
MICROSOFT_2D: Final = ((0, 0), (1, 0), (0, 1), (1, 1))
CURRENT_3D: Final = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))
# MONAI 0.9 to 1.4 read two neighbours twice and two never (MONAI pull request 8285).
LEGACY_3D: Final = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


def channels_last(x: Tensor) -> Tensor:
    """(B, C, *S) → (B, *S, C)."""
    return rearrange(x, "b c ... -> b ... c")


def channels_first(x: Tensor) -> Tensor:
    """(B, *S, C) → (B, C, *S)."""
    return rearrange(x, "b ... c -> b c ...")


def split_cubes(x: Tensor) -> Tensor:
    """(B, *S, D) → (B, *S/2, 4 or 8, D): the cells of each 2×2(×2) cube, row by row; S is even."""
    if x.ndim == 4:
        return rearrange(x, "b (i pi) (j pj) d -> b i j (pi pj) d", pi=2, pj=2)
    return rearrange(x, "b (i pi) (j pj) (k pk) d -> b i j k (pi pj pk) d", pi=2, pj=2, pk=2)


class PatchEmbedding(nn.Module):
    """Image (B, C, *S) → tokens (B, *S/patch, D): a convolution whose kernel and stride are the patch.

    The end of each axis is filled with zeros up to a whole patch; ``norm`` adds a LayerNorm on the tokens.
    """

    def __init__(self, in_channels: int, dim: int, patch: Sequence[int], *, norm: bool = False) -> None:
        super().__init__()
        self.patch = tuple(patch)
        convolution = CONVOLUTIONS[len(self.patch)]
        self.proj = convolution(in_channels, dim, kernel_size=self.patch, stride=self.patch)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        image = pad_image(image, next_multiple(image.shape[2:], self.patch))
        tokens: Tensor = self.norm(channels_last(self.proj(image)).contiguous())
        return tokens


class PatchMerging(nn.Module):
    """(B, *S, D) → (B, *S/2, out): the cells of each 2×2(×2) cube side by side, normalised, then mixed by one Linear.

    Args:
        order: offsets of the cells in the order in which they are stacked (one of this file's constants).
        out_dim: 2·D where not given.
    """

    numbers: Tensor

    def __init__(self, dim: int, order: Sequence[Sequence[int]], *, out_dim: int | None = None) -> None:
        super().__init__()
        self.order = tuple(tuple(offset) for offset in order)
        every = list(product((0, 1), repeat=len(self.order[0])))
        self.register_buffer("numbers", torch.tensor([every.index(offset) for offset in self.order]), persistent=False)
        self.norm = nn.LayerNorm(len(self.order) * dim)
        self.reduction = nn.Linear(len(self.order) * dim, 2 * dim if out_dim is None else out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_end(x, next_multiple(x.shape[1:-1], 2))
        # A cube at a time: OpenVINO copies every other cell of an axis one number at a time, by a list of places.
        cells = split_cubes(x).index_select(-2, self.numbers)  # (B, *S/2, 8, D)
        merged: Tensor = self.reduction(self.norm(cells.flatten(-2)))  # (B, *S/2, out)
        return merged


class PatchExpanding(nn.Module):
    """(B, *S, D) → (B, *S·factor, out): one Linear writes every cell's children side by side, then LayerNorm."""

    def __init__(self, dim: int, factor: Sequence[int], *, out_dim: int) -> None:
        super().__init__()
        self.factor = tuple(factor)
        self.expand = nn.Linear(dim, prod(self.factor) * out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.laid_out(self.children_of(x))

    def children_of(self, x: Tensor) -> Tensor:
        """(…, D) → (…, ∏factor, out): the children of every cell, not yet in their places."""
        children: Tensor = self.norm(rearrange(self.expand(x), "... (p d) -> ... p d", p=prod(self.factor)))
        return children

    def laid_out(self, children: Tensor) -> Tensor:
        """(B, *S, ∏factor, C) → (B, *S·factor, C)."""
        sizes = dict(zip(("pi", "pj", "pk"), self.factor, strict=False))
        if len(self.factor) == 2:
            return rearrange(children, "b i j (pi pj) d -> b (i pi) (j pj) d", **sizes)
        return rearrange(children, "b i j k (pi pj pk) d -> b (i pi) (j pj) (k pk) d", **sizes)
