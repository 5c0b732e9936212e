"""Att-SwinU-Net (2D): a Swin-Unet whose decoder also looks where the encoder looked.

In: slices or photographs (B, C, H, W) of any height and width. Out: logits (B, L, H, W).

Letters: B batch · C image channels · L label channels · H W rows and columns of the image · I J rows and columns
of a map of tokens · N tokens (of a map or of a window) · D embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from medseg.errors import ImageError
from medseg.networks.blocks import (
    MLP,
    PatchEmbedding,
    PatchExpanding,
    PatchMerging,
    StochasticDepth,
    WindowAttention,
    attend,
    channels_first,
    crop_image,
    drop_path_rates,
    next_multiple,
    pad_image,
    plan_windows,
)
from medseg.networks.blocks.frugal import by_chunks
from medseg.networks.blocks.patches import MICROSOFT_2D
from medseg.networks.blocks.windows import WindowPlan, cut_windows, paste_windows
from medseg.settings import Settings

__all__ = ["CONFIG", "NETWORK", "AttSwinUNet", "AttSwinUNetConfig"]

LINEAR_STD: Final = 0.02
"""Standard deviation of the truncated normal that linear layers start from (released code, as in Swin)."""


class AttSwinUNetConfig(Settings):
    """Sizes of an Att-SwinU-Net; the values given here are the authors'. Sequences have one entry a stage."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    patch_size: int = Field(default=4, ge=1)
    embed_dim: int = Field(default=96, ge=1)
    """Embedding D of the first stage; doubled by every later one."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks: plain and shifted windows in turn."""
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    attn_windows: tuple[int, ...] = (7, 7, 7, 7)
    """Side in tokens of the attention windows."""
    mlp_ratio: float = Field(default=4.0, gt=0)
    cross_skips: int = Field(default=3, ge=0)
    """How many skips, the deepest first, exchange class tokens with the decoder."""
    cross_depth: int = Field(default=2, ge=1)
    """Rounds of that exchange."""
    cross_heads: int = Field(default=8, ge=1)
    cross_head_dim: int = Field(default=64, ge=1)
    skip_fusions: Literal[1, 2] = 1
    """How often a skip is joined, with one set of weights: 2 is the released mode ``swin`` with spatial attention."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Rate of stochastic depth in the last block of the encoder; it rises from 0 in the first."""
    variant: Literal["paper", "released"] = "paper"
    """``released``: the authors' code instead of their figure, see ``AttSwinUNet``; the weights are the same."""
    checkpointing: bool = False
    """Compute activations of the blocks again in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        stages = len(self.depths)
        if stages < 2 or len(self.num_heads) != stages or len(self.attn_windows) != stages:
            raise ValueError("depths, num_heads and attn_windows must have one entry a stage, for two stages or more")
        if min(*self.depths, *self.num_heads, *self.attn_windows) < 1:
            raise ValueError("depths, num_heads and attn_windows must be at least 1 everywhere")
        for dim, heads in zip(self.dims, self.num_heads, strict=True):
            if dim % heads:
                raise ValueError(f"an embedding of {dim} cannot be shared evenly by {heads} heads")
        if self.cross_skips > stages - 1:
            raise ValueError(f"{stages} stages have {stages - 1} skips, fewer than cross_skips {self.cross_skips}")
        return self

    @property
    def spatial_dims(self) -> int:
        """2: slices or photographs."""
        return 2

    @property
    def dims(self) -> tuple[int, ...]:
        """Embedding D of each stage."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def divisor(self) -> int:
        """What an image is filled up to a multiple of: whole patches, and no odd side when patches are merged."""
        return int(self.patch_size * 2 ** (len(self.depths) - 1))

    @classmethod
    def tiny(cls) -> Self:
        """A network for tests: every part present, a fraction of a second to train a step."""
        return cls(
            in_channels=1, out_channels=3, patch_size=2, embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4),
            attn_windows=(4, 4, 4), cross_skips=2, cross_depth=1, cross_heads=2, cross_head_dim=4, drop_path=0.0,
        )  # fmt: skip

    @classmethod
    def compact(cls, *, in_channels: int, out_channels: int) -> Self:
        """A reduced network for one data set: trained on a CPU in an hour, weights of a few megabytes."""
        return cls(
            in_channels=in_channels, out_channels=out_channels, patch_size=2, embed_dim=32, depths=(2, 2, 2, 2),
            num_heads=(2, 4, 8, 16), attn_windows=(4, 4, 4, 4), cross_heads=4, cross_head_dim=16,
        )  # fmt: skip

    @classmethod
    def tiny_7_224(cls) -> Self:
        """The authors' model on the sizes of Swin-T, window 7: colour photographs of 224×224, nine classes."""
        return cls(in_channels=3, out_channels=9)


class AttSwinUNet(nn.Module):
    """Attention Swin U-Net: Cross-Contextual Attention Mechanism for Skin Lesion Segmentation (Aghdam et al. 2023).

    arXiv 2210.16898. The authors' model on 224×224; the numbers after × are sides:

        image 3×224                                          logits 9×224
           │ patches of 4×4                                      │ expand ×4, 1×1 convolution
        stage 1  2 blocks   96×56 ──────── skip, maps ────────→ stage 1  2 blocks   96×56
           │ merge                                               │ expand
        stage 2  2 blocks  192×28 ──────── skip, maps ────────→ stage 2  2 blocks  192×28
           │ merge                                               │ expand
        stage 3  6 blocks  384×14 ──────── skip, maps ────────→ stage 3  6 blocks  384×14
           │ merge                                               │ expand
           └────────→ stage 4  2 blocks  768×7 ──────────────────┘

    - Skip, what enters the stage of the encoder: cross-contextual attention (``CrossContextualAttention``)
      exchanges class tokens with the decoder, then both are stacked and one Linear joins them.
    - Maps: spatial attention (``GuidedBlock``) adds the attention of each block of the encoder to that of the
      same block of the decoder.

    Differs from the paper: the paper leaves open how class tokens return to their maps and which maps meet; here
    they are added to every token, and a block of the decoder gets the map of the encoder's block in its place.
    The released code does not run as published. With ``variant="released"`` it is followed as it is written:
    a class token replaces the first token of its map, whose content is lost, and attention maps are summed only
    after their use, that is never. Its parameters without use (a second patch embedding, a norm of the decoder) are
    left out. It takes 224×224 only; here any image is filled up with zeros, and so are maps up to whole windows;
    the filling takes part in attention.

    Args:
        config: sizes, or the mapping of them that stands in a bundle.
    Raises:
        SettingsError: the mapping has an unknown key or a value out of range.
    """

    def __init__(self, config: AttSwinUNetConfig | Mapping[str, Any]) -> None:
        super().__init__()
        if isinstance(config, Mapping):
            config = AttSwinUNetConfig.from_mapping(config, source="AttSwinUNet config")
        self.config: Final = config
        dims = config.dims
        patch = (config.patch_size, config.patch_size)
        upper = range(len(dims) - 1)  # all stages but the deepest
        self.embedding = PatchEmbedding(config.in_channels, dims[0], patch, norm=True)
        self.encoder = nn.ModuleList(Stage(config, stage) for stage in range(len(dims)))
        self.merging = nn.ModuleList(PatchMerging(dims[stage], MICROSOFT_2D) for stage in upper)
        self.norm = nn.LayerNorm(dims[-1])
        self.expanding = nn.ModuleList(PatchExpanding(dims[s + 1], (2, 2), out_dim=dims[s]) for s in upper)
        self.joining = nn.ModuleList(SkipJoining(config, stage) for stage in upper)
        self.decoder = nn.ModuleList(Stage(config, stage) for stage in upper)
        self.norm_up = nn.LayerNorm(dims[0])
        self.up = PatchExpanding(dims[0], patch, out_dim=dims[0])
        self.logits = nn.Conv2d(dims[0], config.out_channels, kernel_size=1, bias=False)
        self.apply(_start)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of the network's only head, as a tuple: the form that networks with several heads share."""
        return (self(x),)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, L, H, W) of images (B, C, H, W).

        Raises:
            ImageError: not four axes, or another number of channels.
        """
        if x.ndim != 4 or x.shape[1] != self.config.in_channels:
            raise ImageError(
                f"AttSwinUNet was given an image of shape {tuple(x.shape)}: (B, {self.config.in_channels}, H, W) was "
                "expected. Give slices, batch and channels first, or build the network for these channels."
            )
        size = x.shape[2:]
        x = pad_image(x, next_multiple(size, self.config.divisor))

        x = self.embedding(x)  # (B, H/patch, W/patch, D)
        skips, maps = [], []
        for stage, merge in zip(self.encoder, self.merging, strict=False):
            skips.append(x)
            x, found = stage(x)
            maps.append(found if self.config.variant == "paper" else ())
            x = merge(x)  # (B, I/2, J/2, 2·D)
        x, _ = self.encoder[-1](x)
        x = self.norm(x)

        for level in reversed(range(len(skips))):
            x = self.expanding[level](x)  # (B, 2·I, 2·J, D/2)
            x = self.joining[level](x, skips[level])
            x, _ = self.decoder[level](x, maps[level])
        # Classified before the patches are laid out: L channels are moved, not D.
        x = self.up.laid_out(by_chunks(self.norm_up(x), self._logits_of))  # (B, H, W, L)
        return crop_image(channels_first(x), size)  # (B, L, H, W)

    def _logits_of(self, tokens: Tensor) -> Tensor:
        """(…, D) → (…, patch, L); the last convolution is of one pixel, so it is a matrix."""
        return F.linear(self.up.children_of(tokens), self.logits.weight.flatten(1))


class AttentionMap(NamedTuple):
    """Where a block of the encoder looked, as what its map softmax(QKᵀ/√d + bias) is made from."""

    queries_and_keys: Tensor
    """(B, W, N, 2D) for the W windows of the map, in the order of ``WindowAttention.project``."""
    bias: Tensor
    """(heads, N, N)."""


class Stage(nn.Module):
    """Blocks with plain and shifted windows in turn."""

    def __init__(self, config: AttSwinUNetConfig, stage: int) -> None:
        super().__init__()
        self.checkpointing = config.checkpointing
        rates = drop_path_rates(config.drop_path, config.depths)[stage]
        self.blocks = nn.ModuleList(
            GuidedBlock(config, stage, is_shifted=index % 2 == 1, drop_path=rate) for index, rate in enumerate(rates)
        )

    def forward(self, x: Tensor, guides: Sequence[AttentionMap] = ()) -> tuple[Tensor, tuple[AttentionMap, ...]]:
        """(B, I, J, D) and one map a block, or none → (B, I, J, D), and the blocks' own maps."""
        found = []
        for index, block in enumerate(self.blocks):
            guide = guides[index] if guides else None
            if self.checkpointing and torch.is_grad_enabled():
                x, own = checkpoint(block, x, guide, use_reentrant=False)
            else:
                x, own = block(x, guide)
            found.append(own)
        return x, tuple(found)


class GuidedBlock(nn.Module):
    """A Swin block whose attention may be guided by a block of the encoder: spatial attention (paper, Fig. 1).

        x ← x + (softmax(Q_D K_Dᵀ/√d + bias_D) + softmax(Q_E K_Eᵀ/√d + bias_E)) V_D      E encoder, D decoder
        x ← x + MLP(LN(x))

    The sum of two maps times V is the sum of two attentions, so that neither map is ever laid out in memory.
    """

    def __init__(self, config: AttSwinUNetConfig, stage: int, *, is_shifted: bool, drop_path: float) -> None:
        super().__init__()
        dim, side = config.dims[stage], config.attn_windows[stage]
        self.window: Final = (side, side)
        self.is_shifted = is_shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, config.num_heads[stage], self.window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * config.mlp_ratio))
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor, guide: AttentionMap | None = None) -> tuple[Tensor, AttentionMap]:
        """(B, I, J, D) → (B, I, J, D), and where this block looked."""
        size, dim = tuple(x.shape[1:-1]), x.shape[-1]
        plan = self._plan(size)
        qkv = self.attn.project(cut_windows(self.norm1(x), plan), plan)  # (B, W, N, 3D)
        own = AttentionMap(queries_and_keys=qkv[..., : 2 * dim], bias=self.attn.bias(qkv.shape[2]))

        mixture = self.attn.mix(qkv, own.bias, plan)  # (B, W, N, D)
        if guide is not None:
            guided = torch.cat([guide.queries_and_keys, qkv[..., 2 * dim :]], dim=-1)
            mixture = mixture + self.attn.mix(guided, guide.bias, plan)

        x = x + self.drop_path(paste_windows(self.attn.restore(mixture, plan), plan, size))
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return result, own

    def _plan(self, size: tuple[int, ...]) -> WindowPlan:
        """Whole windows; along an axis that one window covers there is nothing to shift."""
        half = self.window[0] // 2 if self.is_shifted else 0
        shift = tuple(half if n > w else 0 for n, w in zip(size, self.window, strict=True))
        return plan_windows(size, self.window, shift, shrink=False)


class SkipJoining(nn.Module):
    """A map of the decoder and the skip of its level become one map: [x ; s] W + b, after they have met or not."""

    def __init__(self, config: AttSwinUNetConfig, stage: int) -> None:
        super().__init__()
        dim = config.dims[stage]
        is_deep = len(config.depths) - 1 - stage <= config.cross_skips
        self.crossing = CrossContextualAttention(config, dim) if is_deep else None
        self.fusions = config.skip_fusions
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, I, J, D) twice → (B, I, J, D)."""
        if self.crossing is not None:
            x, skip = self.crossing(x, skip)
        for _ in range(self.fusions):
            x = self.linear(torch.cat([x, skip], dim=-1))
        return x


class CrossContextualAttention(nn.Module):
    """Decoder X and skip S tell one another, through one class token each, what lies anywhere in the image (Fig. 1).

        c_X = mean of X, c_S = mean of S                                      class tokens by global average
        c_X ← c_X + A(c_X, S), then c_S ← c_S + A(c_S, X)                     in every round
        X ← X + c_X, S ← S + c_S

    In the released code X and S of the second line are without their first token, and in the last line c_X and c_S
    take its place instead of being added.
    """

    def __init__(self, config: AttSwinUNetConfig, dim: int) -> None:
        super().__init__()
        self.replaces_first: Final = config.variant == "released"
        rounds = range(config.cross_depth)
        self.decoder_reads = nn.ModuleList(ClassAttention(config, dim) for _ in rounds)
        self.skip_reads = nn.ModuleList(ClassAttention(config, dim) for _ in rounds)

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """(B, I, J, D) twice → the same two, each knowing of the other."""
        rows = x.shape[1]
        x = rearrange(x, "b i j d -> b (i j) d")
        skip = rearrange(skip, "b i j d -> b (i j) d")
        class_x, class_skip = x.mean(dim=1, keepdim=True), skip.mean(dim=1, keepdim=True)  # (B, 1, D)
        if self.replaces_first:
            x, skip = x[:, 1:], skip[:, 1:]  # (B, N − 1, D)
        for decoder_reads, skip_reads in zip(self.decoder_reads, self.skip_reads, strict=True):
            class_x = class_x + decoder_reads(class_x, skip)
            class_skip = class_skip + skip_reads(class_skip, x)
        x, skip = self._returned(x, class_x), self._returned(skip, class_skip)  # (B, N, D)
        return rearrange(x, "b (i j) d -> b i j d", i=rows), rearrange(skip, "b (i j) d -> b i j d", i=rows)

    def _returned(self, tokens: Tensor, class_token: Tensor) -> Tensor:
        return torch.cat([class_token, tokens], dim=1) if self.replaces_first else tokens + class_token


class ClassAttention(nn.Module):
    """A(c, P): what the class token c learns from the tokens P of another map: softmax(q kᵀ/√d) v W + b.

    q is made from LN(c), k and v from [LN(c) ; P] =: S; P is not normalised (released code). With one query a head
    the products can be taken in another order, which never makes k and v of all tokens:

        q kᵀ = q (S Wₖ)ᵀ = (q Wₖᵀ) Sᵀ          a v = a (S Wᵥ) = (a S) Wᵥ
    """

    def __init__(self, config: AttSwinUNetConfig, dim: int) -> None:
        super().__init__()
        inner = config.cross_heads * config.cross_head_dim
        self.num_heads = config.cross_heads
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, inner, bias=False)
        self.kv = nn.Linear(dim, 2 * inner, bias=False)
        self.proj = nn.Linear(inner, dim)

    def forward(self, class_token: Tensor, tokens: Tensor) -> Tensor:
        """(B, 1, D) and (B, N, D) → (B, 1, D)."""
        class_token = self.norm(class_token)
        seen = torch.cat([class_token, tokens], dim=1)  # (B, 1 + N, D)
        q = rearrange(self.q(class_token), "b 1 (h d) -> b h d", h=self.num_heads)
        w_k, w_v = rearrange(self.kv.weight, "(two h d) c -> two h d c", two=2, h=self.num_heads).unbind(0)
        query = torch.einsum("bhd,hdc->bhc", q, w_k)[:, None]  # (B, 1, H, D): every head asks all of S
        seen = seen[:, None]  # (B, 1, 1 + N, D)
        mixed = attend(query, seen, seen, None, scale=q.shape[-1] ** -0.5)[:, 0]  # (B, H, D)
        value = torch.einsum("bhc,hdc->bhd", mixed, w_v)
        result: Tensor = self.proj(rearrange(value, "b h d -> b 1 (h d)"))
        return result


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=LINEAR_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


CONFIG: Final = AttSwinUNetConfig
NETWORK: Final = AttSwinUNet
