"""Swin UNETR (3D and 2D): a hierarchical Transformer encoder, and a convolutional decoder that skips connect to it.

In: images (B, C, I, J, K) of any size, or (B, C, I, J). Out: logits (B, L, I, J, K).

Letters: B batch · C image channels · L label channels · I J K voxel axes · S all of them · D embedding.
"""

from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from typing import Any, Final, Literal, Self

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from medseg.errors import ImageError
from medseg.networks.blocks.padding import crop_image, next_multiple, pad_image
from medseg.networks.blocks.patches import (
    CURRENT_3D,
    LEGACY_3D,
    LEXICOGRAPHIC_3D,
    MICROSOFT_2D,
    PatchEmbedding,
    PatchMerging,
    channels_first,
    channels_last,
)
from medseg.networks.blocks.residual import ConvolutionNorm, LogitsHead, ResidualBlock, UpsamplingBlock
from medseg.networks.blocks.swin import SwinSettings, drop_path_rates, swin_stage
from medseg.settings import Settings

__all__ = ["CONFIG", "NETWORK", "SwinUNETR", "SwinUNETRConfig"]

PATCH: Final = 2  # voxels of a patch along each axis; the decoder doubles five times, so no other value fits
DIVISOR: Final = PATCH * 2**4  # a patch, then four mergings
MERGING_ORDERS: Final = {"current": CURRENT_3D, "legacy": LEGACY_3D, "lexicographic": LEXICOGRAPHIC_3D}


class SwinUNETRConfig(Settings):
    """Sizes of a Swin UNETR; the values given here are those of BraTS 2021. Sequences have one entry a stage."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    spatial_dims: Literal[2, 3] = 3
    feature_size: int = Field(default=48, ge=1)
    """Embedding D of the first stage; doubled by every merging."""
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    """Blocks: plain and shifted windows in turn."""
    num_heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    attn_window: int | tuple[int, ...] = 7
    """Tokens of an attention window along each axis."""
    mlp_ratio: float = Field(default=4.0, gt=0)
    qkv_bias: bool = True
    patch_norm: bool = False
    """LayerNorm on the embedded patches."""
    normalize: bool = True
    """Maps that leave the encoder pass a LayerNorm without parameters."""
    merging: Literal["current", "legacy", "lexicographic"] = "current"
    """Order in which neighbours are stacked: ``legacy`` for weights trained with MONAI before 1.5."""
    stage_convolutions: bool = False
    """A residual convolution block before each stage (Swin UNETR-V2, He et al. 2023)."""
    norm: ConvolutionNorm = ConvolutionNorm()
    """Normalisation in the convolution blocks of the decoder and the skips."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth of the last block; it rises linearly from 0."""
    checkpointing: bool = False
    """Compute activations of the Swin blocks again in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.attn_windows) != self.spatial_dims or min(self.attn_windows) < 1:
            raise ValueError(f"attn_window must be one size of at least 1, or {self.spatial_dims} of them")
        if min(*self.depths, *self.num_heads) < 1:
            raise ValueError("depths and num_heads must be at least 1 in every stage")
        for dim, heads in zip(self.dims, self.num_heads, strict=True):
            if dim % heads:
                raise ValueError(f"an embedding of {dim} cannot be shared evenly by {heads} heads")
        return self

    @property
    def dims(self) -> tuple[int, ...]:
        """Embedding of each stage."""
        return tuple(self.feature_size * 2**stage for stage in range(len(self.depths)))

    @property
    def attn_windows(self) -> tuple[int, ...]:
        """``attn_window`` on each axis."""
        return (self.attn_window,) * self.spatial_dims if isinstance(self.attn_window, int) else self.attn_window

    @property
    def divisor(self) -> int:
        """What an image is filled up to a multiple of: whole patches, and no odd side when patches are merged."""
        return int(PATCH * 2 ** len(self.depths))

    @classmethod
    def tiny(cls) -> Self:
        """Small and quick, for tests."""
        return cls(in_channels=1, out_channels=2, feature_size=6, num_heads=(1, 2, 2, 3), attn_window=3)

    @classmethod
    def compact(cls, *, in_channels: int, out_channels: int) -> Self:
        """A reduced network for one data set: trained on a CPU in an hour, weights of a few megabytes."""
        return cls(in_channels=in_channels, out_channels=out_channels, feature_size=12)

    @classmethod
    def brats21(cls) -> Self:
        """FLAIR, T1ce, T1, T2 → tumour core, whole tumour, enhancing tumour (Hatamizadeh et al. 2022)."""
        return cls(in_channels=4, out_channels=3, merging="legacy")

    @classmethod
    def btcv(cls) -> Self:
        """Abdominal CT → background and 13 organs (Tang et al. 2022, MONAI's research contributions)."""
        return cls(in_channels=1, out_channels=14, merging="legacy")


class SwinStage(nn.Module):
    """(B, *S, D) → (B, *S/2, 2D): Swin blocks, then patch merging."""

    def __init__(self, config: SwinUNETRConfig, stage: int, settings: SwinSettings) -> None:
        super().__init__()
        dim = config.dims[stage]
        rates = drop_path_rates(config.drop_path, config.depths)[stage]
        self.blocks = swin_stage(dim, config.num_heads[stage], settings, drop_path=rates)
        # In two dimensions every version stacks the neighbours in one order.
        order = MICROSOFT_2D if config.spatial_dims == 2 else MERGING_ORDERS[config.merging]
        self.downsample = PatchMerging(dim, order)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        merged: Tensor = self.downsample(x)
        return merged


class SwinEncoder(nn.Module):
    """Image (B, C, *S) → five maps: x₀ (B, D, *S/2), x₁ (B, 2D, *S/4) … x₄ (B, 16D, *S/32)."""

    def __init__(self, config: SwinUNETRConfig) -> None:
        super().__init__()
        self.normalize = config.normalize
        settings = SwinSettings(
            window=config.attn_windows,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            checkpointing=config.checkpointing,
        )
        patch = (PATCH,) * config.spatial_dims
        self.patch_embed = PatchEmbedding(config.in_channels, config.feature_size, patch, norm=config.patch_norm)
        self.pos_drop = nn.Dropout(config.dropout)
        # Lists of one, because the names of the released weights count them so.
        self.layers1, self.layers2, self.layers3, self.layers4 = (
            nn.ModuleList([SwinStage(config, stage, settings)]) for stage in range(4)
        )
        if config.stage_convolutions:
            self.layers1c, self.layers2c, self.layers3c, self.layers4c = (
                nn.ModuleList([_skip_block(config, dim, dim, norm=ConvolutionNorm())]) for dim in config.dims
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.pos_drop(self.patch_embed(image))  # (B, *S/2, D)
        maps = [self._leaving(x)]
        for stage in range(1, 5):
            for convolutions in getattr(self, f"layers{stage}c", ()):
                x = channels_last(convolutions(channels_first(x)))
            x = getattr(self, f"layers{stage}")[0](x)  # (B, *S/2ˢ⁺¹, 2ˢ·D) for stage s
            maps.append(self._leaving(x))
        return maps

    def _leaving(self, x: Tensor) -> Tensor:
        """A map on its way to the decoder; the next stage goes on from ``x`` itself."""
        return channels_first(F.layer_norm(x, x.shape[-1:]) if self.normalize else x)


class SwinUNETR(nn.Module):
    """Swin UNETR.

    "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images", Hatamizadeh et al.,
    BrainLes 2021 (arXiv 2201.01266), figure 1. D = ``feature_size``, sizes as parts of the image's:

        x₀ … x₄   Swin encoder: patches of 2, then four times blocks (equations 1 and 2) and merging
        image ──── encoder1 ─────────────────────────────────────────→ decoder1 → out   D·1    → L·1
        x₀ D·½ ─── encoder2 ──────────────────────────────→ decoder2 ────↗              D·½
        x₁ 2D·¼ ── encoder3 ───────────────────→ decoder3 ────↗                        2D·¼
        x₂ 4D·⅛ ── encoder4 ────────→ decoder4 ────↗                                   4D·⅛
        x₃ 8D·¹⁄₁₆ ──────→ decoder5 ────↗                                              8D·¹⁄₁₆
        x₄ 16D·¹⁄₃₂ ── encoder10 ──↗                                                  16D·¹⁄₃₂

    Parameters have MONAI's names. An image whose size is no multiple of 32 is filled with zeros at the end of
    each axis, and the logits are cropped.

    Differs from the paper, as the released code does:
        - maps that leave the encoder pass a LayerNorm without parameters (``normalize``);
        - x₃ reaches its decoder without a convolution block;
        - patch merging stacks neighbours in MONAI's order of the day (``merging``);
        - a window that shrank to fit a small map has no bias table of its own (``WindowAttention.bias``).
    """

    def __init__(self, config: SwinUNETRConfig | Mapping[str, Any]) -> None:
        super().__init__()
        if not isinstance(config, SwinUNETRConfig):
            config = SwinUNETRConfig.from_mapping(config, source="SwinUNETR config")
        self.config = config
        axes, dim, norm = config.spatial_dims, config.feature_size, config.norm

        self.swinViT = SwinEncoder(config)
        self.encoder1 = _skip_block(config, config.in_channels, dim, norm=norm)
        self.encoder2 = _skip_block(config, dim, dim, norm=norm)
        self.encoder3 = _skip_block(config, 2 * dim, 2 * dim, norm=norm)
        self.encoder4 = _skip_block(config, 4 * dim, 4 * dim, norm=norm)
        self.encoder10 = _skip_block(config, 16 * dim, 16 * dim, norm=norm)
        self.decoder5 = UpsamplingBlock(axes, 16 * dim, 8 * dim, norm=norm)
        self.decoder4 = UpsamplingBlock(axes, 8 * dim, 4 * dim, norm=norm)
        self.decoder3 = UpsamplingBlock(axes, 4 * dim, 2 * dim, norm=norm)
        self.decoder2 = UpsamplingBlock(axes, 2 * dim, dim, norm=norm)
        self.decoder1 = UpsamplingBlock(axes, dim, dim, norm=norm)
        self.out = LogitsHead(axes, dim, config.out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → logits (B, L, *S).

        Raises:
            ImageError: the image has other axes or channels than the network was built for.
        """
        self._check(image)
        size = image.shape[2:]
        image = pad_image(image, _workable(size))
        maps = self.swinViT(image)  # x₀ … x₄, each given up when it has been used
        y = self.encoder10(maps.pop())  # (B, 16D, *S/32)
        y = self.decoder5(y, maps.pop())  # (B, 8D, *S/16)
        y = self.decoder4(y, self.encoder4(maps.pop()))  # (B, 4D, *S/8)
        y = self.decoder3(y, self.encoder3(maps.pop()))  # (B, 2D, *S/4)
        y = self.decoder2(y, self.encoder2(maps.pop()))  # (B, D, *S/2)
        y = self.decoder1(y, self.encoder1(image))  # (B, D, *S)
        return crop_image(self.out(y), size)  # (B, L, *S)

    def heads(self, image: Tensor) -> tuple[Tensor]:
        """The logits alone: Swin UNETR has one head."""
        return (self(image),)

    def _check(self, image: Tensor) -> None:
        config = self.config
        if image.ndim != config.spatial_dims + 2 or image.shape[1] != config.in_channels:
            raise ImageError(
                f"Swin UNETR was given shape {tuple(image.shape)}: expected a batch of images with "
                f"{config.in_channels} channels and {config.spatial_dims} axes. Choose its settings to fit the image."
            )


def _skip_block(config: SwinUNETRConfig, in_channels: int, out_channels: int, *, norm: ConvolutionNorm) -> nn.Module:
    """A residual block under the name ``layer``."""
    block = ResidualBlock(config.spatial_dims, in_channels, out_channels, norm=norm)
    return nn.Sequential(OrderedDict(layer=block))


def _workable(size: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest size the network can take: multiples of 32, and more than one voxel in the coarsest map.

    A single voxel has no variance, so there would be nothing for its normalisation to divide by.
    """
    padded = next_multiple(size, DIVISOR)
    return padded if prod(padded) > DIVISOR ** len(padded) else (*padded[:-1], 2 * DIVISOR)


CONFIG: Final = SwinUNETRConfig
NETWORK: Final = SwinUNETR
