"""DS-TransUNet (2D): two Swin encoders see the image in fine and in coarse patches and tell each other what they see.

In: images (B, C, H, W) of any height and width. Out: logits (B, L, H, W), and two auxiliary heads for training.

Letters: B batch · C image channels · L label channels · H W rows and columns · I J rows and columns of a token
map · N tokens · D embedding.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import ImageError
from medseg.networks.blocks import (
    MLP,
    PatchEmbedding,
    PatchMerging,
    SwinSettings,
    channels_first,
    channels_last,
    crop_image,
    drop_path_rates,
    next_multiple,
    pad_image,
    swin_stage,
)
from medseg.networks.blocks.patches import MICROSOFT_2D
from medseg.networks.blocks.self_attention import SelfAttention, recomputed
from medseg.settings import Settings

__all__ = ["CONFIG", "NETWORK", "DSTransUNet", "DSTransUNetConfig"]

FINE_PATCH: Final = 4
COARSE_PATCH: Final = 8
STRIDE: Final = 64
"""Pixels along the side of the coarsest token: 8, halved three times; images are filled up to a multiple of it."""

LEVELS: Final = 4
DECODER_HEADS: Final = (8, 4, 2)
DECODER_DEPTH: Final = 2

FINE_FUSION: Final = {"heads": 1, "head_dim": 64, "hidden": 256}
COARSE_FUSION: Final = {"heads": 3, "head_dim": 32, "hidden": 128}
"""Size of the transformer layer that fuses each branch, the same at every level (released code)."""

FourSizes = tuple[int, int, int, int]


class DSTransUNetConfig(Settings):
    """Sizes of a DS-TransUNet; the values given here are DS-TransUNet-B: Swin-B beside Swin-T."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    variant: Literal["paper", "released"] = "paper"
    """``released``: auxiliary logits pass a ReLU, as in the authors' code, and cannot say "background"."""
    fine_dim: int = Field(default=128, ge=1)
    """Embedding of the branch with 4×4 patches, doubled from level to level."""
    fine_depths: FourSizes = (2, 2, 18, 2)
    fine_heads: FourSizes = (4, 8, 16, 32)
    fine_drop_path: float = Field(default=0.5, ge=0, lt=1)
    """Stochastic depth of the last block; it rises from 0 in the first."""
    coarse_dim: int = Field(default=96, ge=1)
    """Embedding of the branch with 8×8 patches, doubled from level to level."""
    coarse_depths: FourSizes = (2, 2, 6, 2)
    coarse_heads: FourSizes = (3, 6, 12, 24)
    coarse_drop_path: float = Field(default=0.2, ge=0, lt=1)
    fused_dim: int = Field(default=128, ge=4, multiple_of=4)
    """Channels of the finest fused map, doubled from level to level."""
    decoder_drop_path: float = Field(default=0.2, ge=0, lt=1)
    attn_window: int = Field(default=7, ge=2)
    """Side in tokens of the encoders' attention windows."""
    decoder_attn_window: int = Field(default=7, ge=2)
    norm_groups: int = Field(default=32, ge=1)
    """Groups of every group normalisation; they share out ``fused_dim`` / 4 channels at the last level."""
    checkpointing: bool = False
    """Recompute activations of all transformer layers in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        branches = (("fine", self.fine_dim, self.fine_depths, self.fine_heads),
                    ("coarse", self.coarse_dim, self.coarse_depths, self.coarse_heads))  # fmt: skip
        for name, dim, depths, heads in branches:
            if min(*depths, *heads) < 1:
                raise ValueError(f"{name}_depths and {name}_heads must be at least 1 each")
            if any(dim * 2**level % count for level, count in enumerate(heads)):
                raise ValueError(
                    f"{name}_dim {dim}, doubled from level to level, is not shared evenly by {heads} heads"
                )
        if self.fused_dim // 4 % self.norm_groups:
            raise ValueError(f"norm_groups {self.norm_groups} does not divide a quarter of fused_dim {self.fused_dim}")
        return self

    @property
    def spatial_dims(self) -> int:
        """2: images."""
        return 2

    @property
    def divisor(self) -> int:
        """A side at which neither branch fills up what it merges: 8×8 patches, merged three times."""
        return STRIDE

    @classmethod
    def tiny(cls) -> Self:
        """A network for tests: every part present, a second to train a step."""
        return cls(
            in_channels=3, out_channels=2, fine_dim=8, fine_depths=(2, 1, 1, 1), fine_heads=(1, 2, 4, 8),
            fine_drop_path=0.0, coarse_dim=6, coarse_depths=(1, 1, 1, 1), coarse_heads=(1, 2, 3, 6),
            coarse_drop_path=0.0, fused_dim=16, decoder_drop_path=0.0, attn_window=4, decoder_attn_window=4,
            norm_groups=4,
        )  # fmt: skip

    @classmethod
    def compact(cls, *, in_channels: int, out_channels: int) -> Self:
        """A reduced network for one data set: trained on a CPU in an hour, weights of a few megabytes."""
        return cls(
            in_channels=in_channels, out_channels=out_channels, fine_dim=24, fine_depths=(2, 2, 2, 2),
            fine_heads=(1, 2, 4, 8), fine_drop_path=0.1, coarse_dim=20, coarse_depths=(2, 2, 2, 2),
            coarse_heads=(1, 2, 4, 8), coarse_drop_path=0.1, fused_dim=32, decoder_drop_path=0.1, attn_window=4,
            decoder_attn_window=4, norm_groups=8,
        )  # fmt: skip

    @classmethod
    def base(cls) -> Self:
        """DS-TransUNet-B, the authors' model for polyps in colour endoscopy (Kvasir-SEG, 512×512)."""
        return cls(in_channels=3, out_channels=1)


class DSTransUNet(nn.Module):
    """DS-TransUNet: Dual Swin Transformer U-Net for Medical Image Segmentation (Lin et al. 2022, arXiv 2106.06716).

    DS-TransUNet-B on 512×512; the numbers after × are sides:

        level                          1           2           3           4
        fine branch, Swin-B        128×128      256×64      512×32     1024×16
        coarse branch, Swin-T       96×64       192×32      384×16      768×8
        interactive fusion (TIF): each branch attends to a summary of the other, then both are joined
        fused maps f1 … f4         128×128      256×64      512×32     1024×16

        decoder    f4 1024×16 ─ f3 → 512×32 ─ f2 → 256×64 ─ f1 → 128×128 = d3     (Swin blocks)
                   d3 ─ pixels at half size → 64×256 ─ pixels → 32×512            (convolutions)
        heads      main from the last map · auxiliary from f4 · auxiliary from d3, all at the image's size

    Differs from the paper: with ``variant="released"`` the auxiliary logits pass a ReLU, so that they never fall
    below 0. The released code takes sides that 64 divides; here the image is filled up with zeros to such sides,
    with equal results where nothing is missing.

    Args:
        config: sizes, or the mapping of them that stands in a bundle.
    Raises:
        SettingsError: the mapping has an unknown key or a value out of range.
    """

    def __init__(self, config: DSTransUNetConfig | Mapping[str, Any]) -> None:
        super().__init__()
        if isinstance(config, Mapping):
            config = DSTransUNetConfig.from_mapping(config, source="DSTransUNet config")
        self.config: Final = config
        dim, groups, out = config.fused_dim, config.norm_groups, config.out_channels

        self.fine_encoder = SwinEncoder(
            config, patch=FINE_PATCH, dim=config.fine_dim, depths=config.fine_depths, heads=config.fine_heads,
            drop_path=config.fine_drop_path,
        )  # fmt: skip
        self.coarse_encoder = SwinEncoder(
            config, patch=COARSE_PATCH, dim=config.coarse_dim, depths=config.coarse_depths, heads=config.coarse_heads,
            drop_path=config.coarse_drop_path,
        )  # fmt: skip
        self.interactions = nn.ModuleList(InteractiveFusion(config, level) for level in range(LEVELS))
        self.joins = nn.ModuleList(
            _convolutions((config.fine_dim + config.coarse_dim) * 2**level, dim * 2**level, groups=groups)
            for level in range(LEVELS)
        )

        self.pixels = nn.Conv2d(config.in_channels, dim // 4, 1)
        self.half_pixels = nn.Sequential(nn.MaxPool2d(2), *_convolutions(dim // 4, dim // 2, groups=groups))
        self.swin_levels = nn.ModuleList(
            SwinDecoderLevel(config, dim * 2 ** (3 - index), heads=heads) for index, heads in enumerate(DECODER_HEADS)
        )
        self.half_level = ConvolutionLevel(dim, dim // 2, groups=groups)
        self.full_level = ConvolutionLevel(dim // 2, dim // 4, groups=groups)

        self.head = nn.Conv2d(dim // 4, out, 1)
        self.deep_head = nn.Conv2d(8 * dim, out, 1)
        self.middle_head = nn.Conv2d(dim, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Main logits (B, L, H, W) of images (B, C, H, W).

        Raises:
            ImageError: not four axes, or another number of channels.
        """
        return self._decode(x)[0]

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, L, H, W) of the main head, of the deepest fused map and of the last Swin level."""
        main, deepest, middle = self._decode(x)
        deep_logits, middle_logits = self.deep_head(deepest), self.middle_head(middle)
        if self.config.variant == "released":
            deep_logits, middle_logits = F.relu(deep_logits), F.relu(middle_logits)
        padded = next_multiple(x.shape[2:], STRIDE)
        auxiliary = (F.interpolate(logits, size=padded, mode="nearest") for logits in (deep_logits, middle_logits))
        return main, *(crop_image(logits, x.shape[2:]) for logits in auxiliary)

    def _decode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Main logits, and the two maps that auxiliary heads read: f4 and d3."""
        self._check(x)
        size = x.shape[2:]
        x = pad_image(x, next_multiple(size, STRIDE))
        fused = self._fused_maps(x)

        deepest = x_up = fused[-1]  # (B, 8 · fused_dim, H/32, W/32)
        for level, skip in zip(self.swin_levels, reversed(fused[:-1]), strict=True):
            x_up = level(x_up, skip)
        middle = x_up  # (B, fused_dim, H/4, W/4)

        pixels = self.pixels(x)  # (B, fused_dim / 4, H, W)
        x_up = self.half_level(x_up, self.half_pixels(pixels))  # (B, fused_dim / 2, H/2, W/2)
        x_up = self.full_level(x_up, pixels)  # (B, fused_dim / 4, H, W)
        return crop_image(self.head(x_up), size), deepest, middle

    def _fused_maps(self, x: Tensor) -> list[Tensor]:
        """f1 … f4: what both encoders see after they have told each other, (B, fused_dim · 2^level, …)."""
        branches = zip(self.fine_encoder(x), self.coarse_encoder(x), strict=True)
        fused = []
        for branch, interact, join in zip(branches, self.interactions, self.joins, strict=True):
            fine, coarse = (channels_first(told) for told in interact(*branch))
            coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
            fused.append(join(torch.cat([fine, coarse], dim=1)))
        return fused

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.config.in_channels:
            raise ImageError(
                f"DSTransUNet was given an image of shape {tuple(x.shape)}: (B, {self.config.in_channels}, H, W) was "
                "expected. Give images, batch and channels first, or build the network for these channels."
            )


class SwinEncoder(nn.Module):
    """One branch: patches, then four stages of Swin blocks; each stage's map is normalised for the decoder.

    Patches are merged after a stage's map has been taken. A map smaller than a window is filled up to one, and
    shifted windows stay shifted.
    """

    def __init__(
        self,
        config: DSTransUNetConfig,
        *,
        patch: int,
        dim: int,
        depths: FourSizes,
        heads: FourSizes,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(config.in_channels, dim, (patch, patch), norm=True)
        settings = _swin_settings(config, config.attn_window)
        rates = drop_path_rates(drop_path, depths)
        self.stages = nn.ModuleList(
            nn.Sequential(*swin_stage(dim * 2**level, heads[level], settings, drop_path=rates[level]))
            for level in range(LEVELS)
        )
        self.merges = nn.ModuleList(PatchMerging(dim * 2**level, MICROSOFT_2D) for level in range(LEVELS - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(dim * 2**level) for level in range(LEVELS))
        self.apply(_initialise_linear)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, C, H, W) → four maps (B, H / patch / 2^level, W / patch / 2^level, dim · 2^level)."""
        x = self.embedding(image)
        maps = []
        for level in range(LEVELS):
            if level:
                x = self.merges[level - 1](x)
            x = self.stages[level](x)
            maps.append(self.norms[level](x))
        return maps


class InteractiveFusion(nn.Module):
    """Transformer Interactive Fusion (TIF): every token of a branch attends to one summary of the other branch.

        g = W · mean(LN(other))                 the other branch in one token of this branch's width
        [g′; own′] = T([g; own])                one transformer layer over all tokens; g′ is left behind
        T(z): z ← z + MSA(LN(z)), then z ← z + MLP(LN(z))

    Both directions start from the branches as they came in.
    """

    def __init__(self, config: DSTransUNetConfig, level: int) -> None:
        super().__init__()
        fine_dim, coarse_dim = config.fine_dim * 2**level, config.coarse_dim * 2**level
        self.checkpointing = config.checkpointing
        self.fine_norm = nn.LayerNorm(fine_dim)
        self.coarse_norm = nn.LayerNorm(coarse_dim)
        self.fine_summary = nn.Linear(fine_dim, coarse_dim)
        self.coarse_summary = nn.Linear(coarse_dim, fine_dim)
        self.fine_layer = FusionLayer(fine_dim, **FINE_FUSION)
        self.coarse_layer = FusionLayer(coarse_dim, **COARSE_FUSION)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Both branches (B, I, J, D), each with its own I, J, D → the same shapes."""
        of_fine = self.fine_summary(self.fine_norm(fine).mean(dim=(1, 2)))  # (B, D of coarse)
        of_coarse = self.coarse_summary(self.coarse_norm(coarse).mean(dim=(1, 2)))  # (B, D of fine)
        return self._fuse(self.fine_layer, fine, of_coarse), self._fuse(self.coarse_layer, coarse, of_fine)

    def _fuse(self, layer: nn.Module, own: Tensor, summary: Tensor) -> Tensor:
        rows = own.shape[1]
        tokens = torch.cat([summary[:, None], rearrange(own, "b i j d -> b (i j) d")], dim=1)  # (B, 1 + N, D)
        tokens = recomputed(layer, tokens, enabled=self.checkpointing)
        return rearrange(tokens[:, 1:], "b (i j) d -> b i j d", i=rows)


class FusionLayer(nn.Module):
    """The pre-norm transformer layer T of the interactive fusion: no positions, no dropout."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        # A single head as wide as the tokens needs no projection back to them; the released code leaves it out.
        is_projected = not (heads == 1 and head_dim == dim)
        self.attention = SelfAttention(dim, heads=heads, head_dim=head_dim, qkv_bias=False, is_projected=is_projected)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) → (B, N, D)."""
        x = x + self.attention(self.attention_norm(x))
        mixed: Tensor = x + self.mlp(self.mlp_norm(x))
        return mixed


class SwinDecoderLevel(nn.Module):
    """Double the side, two Swin blocks, and join a fused map: (B, C, I, J) → (B, C/2, 2I, 2J)."""

    def __init__(self, config: DSTransUNetConfig, channels: int, *, heads: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        settings = _swin_settings(config, config.decoder_attn_window)
        (rates,) = drop_path_rates(config.decoder_drop_path, (DECODER_DEPTH,))
        self.up = _doubled(channels, half, groups=config.norm_groups)
        self.blocks = nn.Sequential(*swin_stage(half, heads, settings, drop_path=rates))
        self.narrow = nn.Sequential(nn.Conv2d(half, quarter, 1), nn.ReLU())
        self.narrow_skip = nn.Sequential(nn.Conv2d(half, quarter, 1), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(half, half, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``x`` (B, C, I, J) and ``skip`` (B, C/2, 2I, 2J) → (B, C/2, 2I, 2J)."""
        x = self.blocks(channels_last(self.up(x)))  # (B, 2I, 2J, C/2)
        x = self.narrow(channels_first(x))  # (B, C/4, 2I, 2J)
        joined: Tensor = self.mix(torch.cat([self.narrow_skip(skip), x], dim=1))
        return joined


class ConvolutionLevel(nn.Module):
    """Double the side and join pixels: (B, in, I, J) → (B, out, 2I, 2J), where a skip has ``out`` channels."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int) -> None:
        super().__init__()
        self.up = _doubled(in_channels, out_channels, groups=groups)
        self.mix = nn.Sequential(nn.Conv2d(2 * out_channels, out_channels, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``x`` (B, in, I, J) and ``skip`` (B, out, 2I, 2J) → (B, out, 2I, 2J)."""
        joined: Tensor = self.mix(torch.cat([skip, self.up(x)], dim=1))
        return joined


def _swin_settings(config: DSTransUNetConfig, window: int) -> SwinSettings:
    return SwinSettings(window=(window, window), shrink_windows=False, checkpointing=config.checkpointing)


def _convolutions(in_channels: int, out_channels: int, *, groups: int) -> nn.Sequential:
    """Twice convolution, group normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.GroupNorm(groups, out_channels), nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.GroupNorm(groups, out_channels), nn.ReLU(),
    )  # fmt: skip


def _doubled(in_channels: int, out_channels: int, *, groups: int) -> nn.Sequential:
    """Each pixel four times, then one convolution."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.GroupNorm(groups, out_channels),
        nn.ReLU(),
    )


def _initialise_linear(layer: nn.Module) -> None:
    """The Swin encoders' start before ImageNet weights: truncated normal, deviation 0.02, no offset."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


CONFIG: Final = DSTransUNetConfig
NETWORK: Final = DSTransUNet
