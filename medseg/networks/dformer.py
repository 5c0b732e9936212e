"""D-Former (3D): groups of near tokens and groups of far tokens take turns, so that attention stays cheap and global.

In: volumes (B, C, I, J, K) of any size. Out: logits (B, L, I, J, K).

Letters: B batch · C image channels · L label channels · I J K axes of the volume, or of the map of tokens made
from it · W groups · N tokens in a group · D embedding. The paper's depth is axis I, its plane are J and K:
``patch_size`` and ``group_size`` are given in the volume's own order of axes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Final, Literal, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from medseg.errors import ImageError
from medseg.networks.blocks import (
    MLP,
    PatchEmbedding,
    PatchExpanding,
    PatchMerging,
    channels_first,
    channels_last,
    crop_end,
    crop_image,
    memoised,
    next_multiple,
    pad_end,
    pad_image,
)
from medseg.networks.blocks.frugal import add_branch_, by_chunks, may_reuse_memory
from medseg.networks.blocks.patches import LEXICOGRAPHIC_3D
from medseg.networks.blocks.self_attention import SelfAttention, recomputed
from medseg.settings import Settings

__all__ = ["CONFIG", "NETWORK", "DFormer", "DFormerConfig"]

MLP_RATIO: Final = 4
"""Hidden width of an MLP as a multiple of the embedding (paper, section 3.3)."""

MASKED_LOGIT: Final = -1e4
"""Added to the logits of padding. The released −1e6 lies outside float16; both leave exactly nothing after softmax."""


class DFormerConfig(Settings):
    """Sizes of a D-Former; the values given here are the base model. Sequences have one entry a stage."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    patch_size: tuple[int, int, int] = (2, 4, 4)
    embed_dim: int = Field(default=96, ge=1)
    """Embedding D of the first stage; doubled by every later one."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks: local and global attention in turn."""
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    group_size: tuple[int, int, int] = (2, 8, 8)
    """Tokens of a group along each axis."""
    intervals: tuple[int, ...] = (8, 4, 2, 1)
    """Before global attention a map is filled up to a multiple of this on each axis."""
    auxiliary_heads: int = Field(default=1, ge=0)
    """Further logits for deep supervision, each at half the size of the one before."""
    variant: Literal["paper", "released"] = "paper"
    """``released`` keeps two accidents of the authors' code, listed at ``DFormer``; the weights are the same."""
    checkpointing: bool = False
    """Compute activations of the blocks again in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        stages = len(self.depths)
        if stages < 2 or len(self.num_heads) != stages or len(self.intervals) != stages:
            raise ValueError("depths, num_heads and intervals must have one entry a stage, for two stages or more")
        if min(*self.patch_size, *self.depths, *self.num_heads, *self.group_size, *self.intervals) < 1:
            raise ValueError("patch_size, depths, num_heads, group_size and intervals must be at least 1 everywhere")
        for dim, heads in zip(self.dims, self.num_heads, strict=True):
            if dim % heads:
                raise ValueError(f"an embedding of {dim} cannot be shared evenly by {heads} heads")
        if self.auxiliary_heads > stages - 2:
            raise ValueError(f"{stages} stages leave room for {stages - 2} auxiliary heads")
        return self

    @property
    def spatial_dims(self) -> int:
        """3: volumes."""
        return 3

    @property
    def dims(self) -> tuple[int, ...]:
        """Embedding D of each stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def divisor(self) -> tuple[int, ...]:
        """What a volume is filled up to a multiple of: whole patches, and no odd side when patches are merged."""
        return tuple(side * 2 ** (len(self.depths) - 1) for side in self.patch_size)

    @classmethod
    def tiny(cls) -> Self:
        """A network for tests: every part present, a fraction of a second to train a step."""
        return cls(
            in_channels=1, out_channels=3, patch_size=(1, 2, 2), embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4),
            group_size=(2, 4, 4), intervals=(4, 2, 1),
        )  # fmt: skip

    @classmethod
    def compact(cls, *, in_channels: int, out_channels: int) -> Self:
        """A reduced network for one data set: trained on a CPU in an hour, weights of a few megabytes."""
        return cls(
            in_channels=in_channels, out_channels=out_channels, patch_size=(2, 2, 2), embed_dim=32,
            depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16), group_size=(4, 4, 4), intervals=(4, 4, 2, 1),
        )  # fmt: skip

    @classmethod
    def base(cls) -> Self:
        """The paper's model for Synapse multi-organ CT: 13 organs and background in blocks of 64×128×128."""
        return cls(in_channels=1, out_channels=14)


class DFormer(nn.Module):
    """D-Former: A U-shaped Dilated Transformer for 3D Medical Image Segmentation (Wu et al. 2022, arXiv 2201.00462).

    The base model on 64×128×128; every stage is a position encoding and then its blocks:

        volume  1×64×128×128                               logits 14×64×128×128
           │ patches of 2×4×4                                  │ head 0: expand ×(2, 4, 4)
        stage 1  2 blocks   96×32³ ───────── skip ────────→ stage 1  2 blocks    96×32³
           │ merge                                             │ expand
        stage 2  2 blocks  192×16³ ───────── skip ────────→ stage 2  2 blocks   192×16³ ← (head 1: 14×32×64×64)
           │ merge                                             │ expand
        stage 3  6 blocks  384×8³  ───────── skip ────────→ stage 3  6 blocks   384×8³  ← (head 2)
           │ merge                                             │ expand
           └──────→ stage 4  2 blocks  768×4³ ─────────────────┘

    A skip is what enters the stage of the encoder; an auxiliary head reads what enters that of the decoder,
    before the skip joins it.

    Differs from the paper: the released code has two auxiliary heads, of which it returns the finer and never
    trains the coarser; ``auxiliary_heads`` says how many there are, and all of them are returned. The released
    blocks overwrite their own group when they meet a small map, and stay changed for every later volume; here the
    groups follow from each map alone. Where the released code stops (224×224 in the plane, planes wider than
    high, odd sizes) the map is filled up and the filling is masked; elsewhere numbers are equal. With
    ``variant="released"`` these are its own too:

    - a whole map is one group when its *second axis* is shorter than the group's; otherwise, when it has no
      more tokens than a group (the same at 64×128×128);
    - padding along the first axis alone takes part in global attention; otherwise it is masked.

    Args:
        config: sizes, or the mapping of them that stands in a bundle.
    Raises:
        SettingsError: the mapping has an unknown key or a value out of range.
    """

    def __init__(self, config: DFormerConfig | Mapping[str, Any]) -> None:
        super().__init__()
        if isinstance(config, Mapping):
            config = DFormerConfig.from_mapping(config, source="DFormer config")
        self.config: Final = config
        dims = config.dims
        upper = range(len(dims) - 1)  # all stages but the deepest
        self.embedding = PatchEmbedding(config.in_channels, dims[0], config.patch_size, norm=True)
        self.encoder = nn.ModuleList(Stage(config, stage) for stage in range(len(dims)))
        self.merging = nn.ModuleList(PatchMerging(dims[stage], LEXICOGRAPHIC_3D) for stage in upper)
        self.norm = nn.LayerNorm(dims[-1])
        self.expanding = nn.ModuleList(PatchExpanding(dims[s + 1], (2, 2, 2), out_dim=dims[s]) for s in upper)
        self.joining = nn.ModuleList(nn.Linear(2 * dims[stage], dims[stage]) for stage in upper)
        self.decoder = nn.ModuleList(Stage(config, stage) for stage in upper)
        self.norm_up = nn.LayerNorm(dims[0])
        self.logits = nn.ModuleList(Head(config, stage) for stage in range(1 + config.auxiliary_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, L, I, J, K) of volumes (B, C, I, J, K).

        Raises:
            ImageError: not five axes, or another number of channels.
        """
        return self._head(0, self._maps(x)[0], x.shape[2:])

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of all heads, (B, L, I/2ʰ, J/2ʰ, K/2ʰ) for head h, halves rounded up; the first is ``forward``'s.

        Raises:
            ImageError: not five axes, or another number of channels.
        """
        maps = self._maps(x)
        return tuple(self._head(head, maps[head], x.shape[2:]) for head in range(len(self.logits)))

    def _maps(self, x: Tensor) -> list[Tensor]:
        """What each head could read, (B, I, J, K, D), finest first: the decoder's end and what entered its stages."""
        if x.ndim != 5 or x.shape[1] != self.config.in_channels:
            raise ImageError(
                f"DFormer was given a volume of shape {tuple(x.shape)}: (B, {self.config.in_channels}, I, J, K) was "
                "expected. Give batch and channels first, or build the network for these channels."
            )
        x = pad_image(x, next_multiple(x.shape[2:], self.config.divisor))

        x = self.embedding(x)  # (B, I/patch, J/patch, K/patch, D)
        skips = []
        for stage, merge in zip(self.encoder, self.merging, strict=False):
            skips.append(x)
            x = merge(stage(x))  # (B, I/2, J/2, K/2, 2·D)
        x = self.norm(self.encoder[-1](x))

        maps: list[Tensor] = []
        for level in reversed(range(len(skips))):
            x = self.expanding[level](x)  # (B, 2·I, 2·J, 2·K, D/2)
            maps.insert(0, x)
            x = self.joining[level](torch.cat([x, skips[level]], dim=-1))  # (B, I, J, K, D)
            x = self.decoder[level](x)
        return [self.norm_up(x), *maps[1:]]

    def _head(self, head: int, x: Tensor, size: Sequence[int]) -> Tensor:
        return crop_image(self.logits[head](x), [-(-n // 2**head) for n in size])


class Stage(nn.Module):
    """A position encoding, then blocks with local and global attention in turn (paper, section 3.1)."""

    def __init__(self, config: DFormerConfig, stage: int) -> None:
        super().__init__()
        dim = config.dims[stage]
        self.checkpointing = config.checkpointing
        self.position = nn.Conv3d(dim, dim, kernel_size=3, padding=1, groups=dim)
        self.blocks = nn.ModuleList(
            Block(config, stage, interval=config.intervals[stage] if index % 2 else None)
            for index in range(config.depths[stage])
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, J, K, D) → (B, I, J, K, D)."""
        # Dynamic position encoding: attention in groups has no order of its own, a convolution tells neighbours apart.
        x = x + channels_last(self.position(channels_first(x)))
        for block in self.blocks:
            x = recomputed(block, x, enabled=self.checkpointing)
        return x


class Block(nn.Module):
    """x ← x + MSA(LN(x)), then x ← x + MLP(LN(x)); MSA is LS-MSA, or GS-MSA when there is an interval.

    12 tokens in groups of 4          0 1 2 3 4 5 6 7 8 9 10 11
    LS-MSA, near tokens               a a a a b b b b c c c  c
    GS-MSA, every third token         a b c a b c a b c a b  c
    """

    def __init__(self, config: DFormerConfig, stage: int, *, interval: int | None) -> None:
        super().__init__()
        dim, heads = config.dims[stage], config.num_heads[stage]
        self.config: Final = config
        self.interval = interval
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads=heads, head_dim=dim // heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, J, K, D) → (B, I, J, K, D)."""
        x = x + self._attend(self.attention_norm(x))
        if may_reuse_memory(x):
            return add_branch_(x, lambda tokens: self.mlp(self.mlp_norm(tokens)))
        result: Tensor = x + self.mlp(self.mlp_norm(x))
        return result

    def _attend(self, x: Tensor) -> Tensor:
        batch, size = x.shape[0], tuple(x.shape[1:-1])
        plan = plan_groups(
            size,
            self.config.group_size,
            interval=self.interval,
            is_released=self.config.variant == "released",
        )
        groups = split_groups(pad_end(x, plan.padded), plan)  # (B · W, N, D)
        mask = padding_mask(plan, size, device=x.device).repeat(batch, 1, 1, 1) if plan.is_masked else None
        return crop_end(join_groups(self.attention(groups, mask), plan), size)


@dataclass(frozen=True)
class GroupPlan:
    """How a map of one size is shared out among groups, one number an axis.

    Attributes:
        padded: size of the map with padding at the end.
        group: tokens of a group; ``padded`` is a multiple of it.
        is_dilated: a group takes every n-th token; otherwise neighbours.
        is_masked: whether padding must be kept out of attention.
    """

    padded: tuple[int, ...]
    group: tuple[int, ...]
    is_dilated: bool
    is_masked: bool

    @property
    def grid(self) -> tuple[int, ...]:
        """Groups along each axis."""
        return tuple(size // extent for size, extent in zip(self.padded, self.group, strict=True))


@lru_cache(maxsize=256)
def plan_groups(size: tuple[int, ...], group: tuple[int, ...], *, interval: int | None, is_released: bool) -> GroupPlan:
    """The groups of a map of ``size``: local without an interval, global with one.

    Global: the map is filled up to a multiple of the interval; its size over the group's is the step between the
    tokens of a group. The step is rounded down, and the group grows until it spans the map again.
    """
    is_small = size[1] < group[1] if is_released else prod(size) <= prod(group)
    if is_small:
        return GroupPlan(padded=size, group=size, is_dilated=False, is_masked=False)
    if interval is None:
        extents = tuple(min(pair) for pair in zip(group, size, strict=True))
        padded = next_multiple(size, extents)
        return GroupPlan(padded=padded, group=extents, is_dilated=False, is_masked=padded != size)
    filled = next_multiple(size, interval)
    steps = [n // min(n, extent) for n, extent in zip(filled, group, strict=True)]
    extents = tuple(-(-n // step) for n, step in zip(filled, steps, strict=True))
    padded = tuple(extent * step for extent, step in zip(extents, steps, strict=True))
    watched = slice(1, None) if is_released else slice(None)
    return GroupPlan(padded=padded, group=extents, is_dilated=True, is_masked=padded[watched] != size[watched])


def split_groups(x: Tensor, plan: GroupPlan) -> Tensor:
    """(B, I, J, K, D) → (B · W, N, D): groups in row-major order, tokens inside a group likewise."""
    gi, gj, gk = plan.group
    if plan.is_dilated:
        return rearrange(x, "b (gi i) (gj j) (gk k) d -> (b i j k) (gi gj gk) d", gi=gi, gj=gj, gk=gk)
    return rearrange(x, "b (i gi) (j gj) (k gk) d -> (b i j k) (gi gj gk) d", gi=gi, gj=gj, gk=gk)


def join_groups(groups: Tensor, plan: GroupPlan) -> Tensor:
    """(B · W, N, D) → (B, I, J, K, D): the inverse of ``split_groups``."""
    sizes = dict(zip(("i", "j", "k", "gi", "gj", "gk"), (*plan.grid, *plan.group), strict=True))
    if plan.is_dilated:
        return rearrange(groups, "(b i j k) (gi gj gk) d -> b (gi i) (gj j) (gk k) d", **sizes)
    return rearrange(groups, "(b i j k) (gi gj gk) d -> b (i gi) (j gj) (k gk) d", **sizes)


@memoised
def padding_mask(plan: GroupPlan, size: tuple[int, ...], *, device: torch.device) -> Tensor:
    """(W, 1, 1, N) added to the logits of every group: 0 for tokens of the map, ``MASKED_LOGIT`` for padding."""
    is_token = pad_end(torch.ones(1, *size, 1, device=device), plan.padded)
    return split_groups((1 - is_token) * MASKED_LOGIT, plan)[:, None, None, :, 0]


class Head(nn.Module):
    """Tokens become voxels again: each writes all voxels of its patch, which are normalised and classified."""

    def __init__(self, config: DFormerConfig, stage: int) -> None:
        super().__init__()
        dim = config.dims[stage]
        self.patch: Final = config.patch_size
        self.expand = nn.Linear(dim, prod(self.patch) * dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, config.out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, J, K, D) → (B, L, I · patch, J · patch, K · patch)."""
        pi, pj, pk = self.patch
        # Classified before the patches are laid out: L channels are moved, not D.
        logits = by_chunks(x, self._of_tokens)  # (B, I, J, K, patch, L)
        return rearrange(logits, "b i j k (pi pj pk) l -> b l (i pi) (j pj) (k pk)", pi=pi, pj=pj, pk=pk)

    def _of_tokens(self, x: Tensor) -> Tensor:
        """(…, D) → (…, patch, L)."""
        result: Tensor = self.classify(self.norm(rearrange(self.expand(x), "... (p d) -> ... p d", p=prod(self.patch))))
        return result


CONFIG: Final = DFormerConfig
NETWORK: Final = DFormer
