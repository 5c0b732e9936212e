"""TransUNet (2D): a ResNet-50 describes the slice, a vision transformer relates all of it, a decoder sharpens it.

In: slices (B, C, H, W) of any height and width. Out: logits (B, L, H, W).

Letters: B batch · C image channels · L label channels · H W rows and columns of the slice · N tokens (one for
each 16×16 pixels, row by row) · D embedding.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import ImageError
from medseg.networks.blocks import MLP, crop_image, next_multiple, pad_image
from medseg.networks.blocks.self_attention import SelfAttention, recomputed
from medseg.settings import Settings

__all__ = ["CONFIG", "NETWORK", "TransUNet", "TransUNetConfig"]

STRIDE: Final = 16
"""Pixels of the slice along the side of one token; the decoder doubles the side four times to come back."""

STEM_CHANNELS: Final = 3
"""The ImageNet weights read colour: a grey slice is shown to them as three equal channels (released code)."""

BOTTLENECK_CHANNELS: Final = 512
"""Channels the tokens are brought to before the cascaded upsampler, for every embedding (released code)."""

GROUPS: Final = 32
"""Groups of a group normalisation in the ResNet (Big Transfer, the source of the ImageNet weights)."""

TRUNK_EPS: Final = 1e-6
SHORTCUT_EPS: Final = 1e-5
"""In the released code the shortcut's normalisation, alone, has one group a channel and PyTorch's epsilon."""

STANDARDISATION_EPS: Final = 1e-5
LAYER_NORM_EPS: Final = 1e-6


class TransUNetConfig(Settings):
    """Sizes of a TransUNet; the values given here are R50-ViT-B_16, the paper's main model."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    image_size: int = Field(default=224, ge=STRIDE, multiple_of=STRIDE)
    """Side in pixels for which positions are learned; at any other size they are interpolated."""
    resnet_units: tuple[int, int, int] | None = (3, 4, 9)
    """Residual units in each of the three stages; none: the transformer reads 16×16 pixel patches (plain ViT)."""
    resnet_width: int = Field(default=64, ge=GROUPS, multiple_of=GROUPS)
    """Channels of the ResNet's root; its stages have 4, 8 and 16 times as many."""
    embed_dim: int = Field(default=768, ge=1)
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=12, ge=1)
    mlp_dim: int = Field(default=3072, ge=1)
    decoder_channels: tuple[int, int, int, int] = (256, 128, 64, 16)
    skips: int = Field(default=3, ge=0, le=3)
    """How many of the ResNet's maps the decoder reads, the coarsest first (paper, section 4.4)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """After the position embedding and after both linear layers of an MLP."""
    checkpointing: bool = False
    """Recompute activations of ResNet and transformer in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} cannot be shared evenly by {self.heads} heads")
        if self.resnet_units is None and self.skips:
            raise ValueError("without resnet_units there is nothing to skip from; set skips to 0")
        if min(*self.decoder_channels, *(self.resnet_units or (1,))) < 1:
            raise ValueError("resnet_units and decoder_channels must be at least 1 each")
        return self

    @property
    def spatial_dims(self) -> int:
        """2: slices."""
        return 2

    @property
    def stem_channels(self) -> int:
        """Channels the first convolution reads: grey slices are repeated to three."""
        return STEM_CHANNELS if self.in_channels == 1 else self.in_channels

    @property
    def skip_channels(self) -> tuple[int, ...]:
        """Channels of the maps the decoder reads, coarsest first."""
        return (8 * self.resnet_width, 4 * self.resnet_width, self.resnet_width)[: self.skips]

    @property
    def divisor(self) -> int:
        """What a slice is filled up to a multiple of: one token of the transformer."""
        return STRIDE

    @classmethod
    def tiny(cls) -> Self:
        """A network for tests: every part present, a second to train a step."""
        return cls(
            in_channels=1, out_channels=3, image_size=32, resnet_units=(1, 1, 2), resnet_width=32, embed_dim=24,
            depth=2, heads=3, mlp_dim=48, decoder_channels=(16, 8, 8, 4),
        )  # fmt: skip

    @classmethod
    def compact(cls, *, in_channels: int, out_channels: int) -> Self:
        """A reduced network for one data set: trained on a CPU in an hour, weights of a few megabytes."""
        return cls(
            in_channels=in_channels, out_channels=out_channels, image_size=64, resnet_units=(2, 2, 2),
            resnet_width=32, embed_dim=192, depth=4, heads=6, mlp_dim=768, decoder_channels=(128, 64, 32, 16),
        )  # fmt: skip

    @classmethod
    def r50_vit_b16(cls) -> Self:
        """The paper's model for Synapse multi-organ CT: eight organs and background, 224×224 grey slices."""
        return cls(in_channels=1, out_channels=9)

    @classmethod
    def r50_vit_l16(cls) -> Self:
        """The same with the large transformer."""
        return cls(in_channels=1, out_channels=9, embed_dim=1024, depth=24, heads=16, mlp_dim=4096)

    @classmethod
    def vit_b16(cls) -> Self:
        """No ResNet and so no skips: the paper's "ViT-CUP"."""
        return cls(in_channels=1, out_channels=9, resnet_units=None, skips=0)

    @classmethod
    def vit_l16(cls) -> Self:
        """ "ViT-CUP" with the large transformer."""
        large = cls.r50_vit_l16()
        return large.model_copy(update={"resnet_units": None, "skips": 0})


class TransUNet(nn.Module):
    """TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation (Chen et al. 2021, arXiv 2102.04306).

    R50-ViT-B_16 on 224×224; the numbers after × are sides in pixels:

        ResNet     root 64×112 ─── stage 1 256×56 ─── stage 2 512×28 ─── stage 3 1024×14
                        │               │                  │                  │  1×1 convolution: Eq. 1
        transformer     │               │                  │             196 tokens of 768, 12 layers: Eq. 2, 3
                        │               │                  │                  │  3×3 convolution
        decoder         └─ skip 3 ─┐    └─ skip 2 ─┐       └─ skip 1 ─┐   512×14
                   16×224 ←── 64×112 ←──────── 128×56 ←────────── 256×28 ←────┘
        head       9×224

    Every arrow of the decoder (the cascaded upsampler, CUP, section 3.2) doubles the side.

    Differs from the paper: the paper leaves the ResNet open; the released one has weight-standardised
    convolutions, group normalisation and an unpadded pooling, so that stage 1 is one row and one column short
    and its skip is filled up with zeros. The released code takes square slices of one size; here any slice
    is filled up with zeros to a multiple of 16 and positions are interpolated, with equal results at its size.

    Args:
        config: sizes, or the mapping of them that stands in a bundle.
    Raises:
        SettingsError: the mapping has an unknown key or a value out of range.
    """

    def __init__(self, config: TransUNetConfig | Mapping[str, Any]) -> None:
        super().__init__()
        if isinstance(config, Mapping):
            config = TransUNetConfig.from_mapping(config, source="TransUNet config")
        self.config: Final = config
        self.resnet = ResNetV2(config) if config.resnet_units else None
        self.embedding = TokenEmbedding(config)
        self.transformer = nn.ModuleList(TransformerLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.decoder = CascadedUpsampler(config)
        self.head = nn.Conv2d(config.decoder_channels[-1], config.out_channels, 3, padding=1)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of the network's only head, as a tuple: the form that networks with several heads share."""
        return (self(x),)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, L, H, W) of slices (B, C, H, W); a grey network also takes three channels.

        Raises:
            ImageError: not four axes, or another number of channels.
        """
        size = x.shape[2:]
        x = self._as_stem_channels(x)
        x = pad_image(x, next_multiple(size, STRIDE))  # (B, stem channels, 16 · rows, 16 · columns)
        rows, columns = x.shape[-2] // STRIDE, x.shape[-1] // STRIDE

        skips: tuple[Tensor, ...] = ()
        if self.resnet is not None:
            x, skips = self.resnet(x)  # (B, 16 · width, rows, columns)
        tokens = self.embedding(x)  # (B, N, D)
        for layer in self.transformer:
            tokens = recomputed(layer, tokens, enabled=self.config.checkpointing)
        x = rearrange(self.norm(tokens), "b (i j) d -> b d i j", i=rows, j=columns)

        x = self.decoder(x, skips[: self.config.skips])  # (B, last of decoder_channels, 16 · rows, 16 · columns)
        return crop_image(self.head(x), size)  # (B, L, H, W)

    def _as_stem_channels(self, x: Tensor) -> Tensor:
        stem = self.config.stem_channels
        if x.ndim == 4 and x.shape[1] == stem:
            return x
        if x.ndim == 4 and x.shape[1] == self.config.in_channels:
            return x.expand(-1, stem, -1, -1)
        raise ImageError(
            f"TransUNet was given an image of shape {tuple(x.shape)}: (B, {self.config.in_channels}, H, W) was "
            "expected. Give slices, batch and channels first, or build the network for these channels."
        )


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose every filter has mean 0 and variance 1 (Weight Standardization, Qiao et al. 2019).

    ŵ = (w − mean(w)) / √(var(w) + 1e-5), the mean of squares taken over all weights of one output channel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The input convolved with the standardised filters."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / torch.sqrt(variance + STANDARDISATION_EPS)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ResidualUnit(nn.Module):
    """A bottleneck of three convolutions around a shortcut: ReLU(shortcut + 1×1 · 3×3 · 1×1).

    ResNetV2 in name, but normalised and rectified after each convolution, as in the released code.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        middle = out_channels // 4
        self.reduce = StandardisedConv2d(in_channels, middle, 1, bias=False)
        self.reduce_norm = nn.GroupNorm(GROUPS, middle, eps=TRUNK_EPS)
        self.spatial = StandardisedConv2d(middle, middle, 3, stride=stride, padding=1, bias=False)
        self.spatial_norm = nn.GroupNorm(GROUPS, middle, eps=TRUNK_EPS)
        self.restore = StandardisedConv2d(middle, out_channels, 1, bias=False)
        self.restore_norm = nn.GroupNorm(GROUPS, out_channels, eps=TRUNK_EPS)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                StandardisedConv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.GroupNorm(out_channels, out_channels, eps=SHORTCUT_EPS),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H / stride, W / stride), halves rounded up."""
        y = F.relu(self.reduce_norm(self.reduce(x)))
        y = F.relu(self.spatial_norm(self.spatial(y)))
        y = self.restore_norm(self.restore(y))
        return F.relu(self.shortcut(x) + y)


class ResNetV2(nn.Module):
    """The convolutional half of the encoder: a root and three stages, to a sixteenth of the side."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        width = config.resnet_width
        self.checkpointing = config.checkpointing
        self.root = nn.Sequential(
            StandardisedConv2d(config.stem_channels, width, 7, stride=2, padding=3, bias=False),
            nn.GroupNorm(GROUPS, width, eps=TRUNK_EPS),
            nn.ReLU(),
        )
        self.pool = nn.MaxPool2d(3, stride=2)
        channels = (width, 4 * width, 8 * width, 16 * width)
        self.stages = nn.ModuleList(
            _resnet_stage(channels[stage], channels[stage + 1], units=units, stride=2 if stage else 1)
            for stage, units in enumerate(config.resnet_units or ())
        )

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The deepest map (B, 16 · width, H/16, W/16), and those at H/8, H/4 and H/2 for the decoder.

        ``x`` has sides that 16 divides.
        """
        quarter = [side // 4 for side in x.shape[2:]]
        x = self.root(x)
        maps = [x]  # (B, width, H/2, W/2)
        x = self.pool(x)  # (B, width, H/4 − 1, W/4 − 1)
        for stage in self.stages:
            x = recomputed(stage, x, enabled=self.checkpointing)
            maps.append(x)
        root, first, second, deepest = maps
        # The released code fills this map up in single precision whatever the network's: a double must do likewise
        # to give its numbers, other types do not notice.
        filled = pad_image(first.float().to(first.dtype), quarter)  # (B, 4 · width, H/4, W/4)
        return deepest, (second, filled, root)


class TokenEmbedding(nn.Module):
    """Eq. 1: one token for each 16×16 pixels, and where it lies: z₀ = [x₁E; x₂E; …; x_N E] + E_pos."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        if config.resnet_units:
            self.project = nn.Conv2d(16 * config.resnet_width, config.embed_dim, 1)
        else:
            self.project = nn.Conv2d(config.stem_channels, config.embed_dim, STRIDE, stride=STRIDE)
        self.side = config.image_size // STRIDE
        self.positions = nn.Parameter(torch.zeros(1, self.side**2, config.embed_dim))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, rows, columns), or the padded slice for a plain ViT → (B, N, D)."""
        x = self.project(x)
        rows, columns = x.shape[-2:]
        tokens = rearrange(x, "b d i j -> b (i j) d")  # (B, N, D)
        embedded: Tensor = self.dropout(tokens + self._positions_on(rows, columns))
        return embedded

    def _positions_on(self, rows: int, columns: int) -> Tensor:
        """E_pos on another grid: bilinear between corner tokens, the rule the ImageNet weights are brought in by."""
        if (rows, columns) == (self.side, self.side):
            return self.positions
        grid: Tensor = rearrange(self.positions, "one (i j) d -> one d i j", i=self.side)
        grid = F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=True)
        return rearrange(grid, "one d i j -> one (i j) d")


class TransformerLayer(nn.Module):
    """Eq. 2 and 3: z′ = MSA(LN(z)) + z, then z = MLP(LN(z′)) + z′."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.attention = SelfAttention(config.embed_dim, heads=config.heads, head_dim=config.embed_dim // config.heads)
        self.mlp_norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = MLP(config.embed_dim, config.mlp_dim, dropout=config.dropout)
        for linear in (self.mlp.linear1, self.mlp.linear2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) → (B, N, D)."""
        x = x + self.attention(self.attention_norm(x))
        mixed: Tensor = x + self.mlp(self.mlp_norm(x))
        return mixed


class CascadedUpsampler(nn.Module):
    """CUP (section 3.2): four times, double the side, join the map of that side from the ResNet, convolve twice."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        self.bottleneck = _conv_norm_relu(config.embed_dim, BOTTLENECK_CHANNELS)
        inputs = (BOTTLENECK_CHANNELS, *config.decoder_channels[:-1])
        skips = (*config.skip_channels, *[0] * (4 - config.skips))
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv_norm_relu(below + skip, out), _conv_norm_relu(out, out))
            for below, skip, out in zip(inputs, skips, config.decoder_channels, strict=True)
        )

    def forward(self, x: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        """(B, D, rows, columns) and the skips, coarsest first → (B, last channels, 16 · rows, 16 · columns)."""
        x = self.bottleneck(x)
        for level, block in enumerate(self.blocks):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([x, *skips[level : level + 1]], dim=1))
        return x


def _resnet_stage(in_channels: int, out_channels: int, *, units: int, stride: int) -> nn.Sequential:
    rest = [ResidualUnit(out_channels, out_channels, stride=1) for _ in range(units - 1)]
    return nn.Sequential(ResidualUnit(in_channels, out_channels, stride=stride), *rest)


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


CONFIG: Final = TransUNetConfig
NETWORK: Final = TransUNet
