"""The Swin Transformer block, in 2D and in 3D.

In: a channels-last feature map (B, *S, D) of any size. Out: the same shape.

    x ← x + StochasticDepth(Attention(LN(x)))        in windows, shifted in every second block
    x ← x + StochasticDepth(MLP(LN(x)))              (Liu et al. 2021, equation 3)
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medseg.networks.blocks.attention import WindowAttention
from medseg.networks.blocks.frugal import add_branch_, may_reuse_memory
from medseg.networks.blocks.windows import cut_windows, paste_windows, plan_windows

__all__ = ["MLP", "StochasticDepth", "SwinBlock", "SwinSettings", "drop_path_rates", "swin_stage"]


@dataclass(frozen=True)
class SwinSettings:
    """What all Swin blocks of a network have in common.

    ``shrink_windows``: see ``plan_windows``; ``checkpointing``: activations are computed again on the way back.
    """

    window: tuple[int, ...]
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    shrink_windows: bool = True
    checkpointing: bool = False


class MLP(nn.Module):
    """Linear → GELU (erf) → Linear on each token, hidden width ``hidden``."""

    def __init__(self, dim: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.activation = nn.GELU()
        self.linear2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.drop(self.linear2(self.drop(self.activation(self.linear1(x)))))
        return result


class StochasticDepth(nn.Module):
    """In training the whole branch of a sample is dropped with probability ``rate``; the rest is scaled up.

    "Deep Networks with Stochastic Depth", Huang et al. 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        kept = torch.full((branch.shape[0],) + (1,) * (branch.ndim - 1), 1 - self.rate, device=branch.device)
        return branch * (torch.bernoulli(kept) / (1 - self.rate)).to(branch.dtype)


class SwinBlock(nn.Module):
    """One pre-norm Transformer block with attention in windows.

    Args:
        is_shifted: windows moved by half a window on each axis, so that neighbours across a border meet.
        drop_path: rate of stochastic depth.
    """

    def __init__(
        self, dim: int, heads: int, settings: SwinSettings, *, is_shifted: bool, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.settings = settings
        self.shift = tuple(w // 2 if is_shifted else 0 for w in settings.window)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(
            dim,
            heads,
            settings.window,
            qkv_bias=settings.qkv_bias,
            dropout=settings.dropout,
            attention_dropout=settings.attention_dropout,
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * settings.mlp_ratio), dropout=settings.dropout)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *S, D) → (B, *S, D)."""
        if self.settings.checkpointing and torch.is_grad_enabled():
            result: Tensor = checkpoint(self._forward, x, use_reentrant=False)
            return result
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self._attend(self.norm1(x)))
        if not self.training and may_reuse_memory(x):
            return add_branch_(x, lambda tokens: self.mlp(self.norm2(tokens)))
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return result

    def _attend(self, x: Tensor) -> Tensor:
        """Attention in windows of the padded, shifted map; padded tokens take part, as in every release."""
        size = tuple(x.shape[1:-1])
        plan = plan_windows(size, self.settings.window, self.shift, shrink=self.settings.shrink_windows)
        windows: Tensor = self.attn(cut_windows(x, plan), plan)  # (B, W, N, D)
        return paste_windows(windows, plan, size)


def swin_stage(dim: int, heads: int, settings: SwinSettings, *, drop_path: tuple[float, ...]) -> nn.ModuleList:
    """The blocks of one stage, one a rate in ``drop_path``: plain and shifted windows in turn."""
    block = partial(SwinBlock, dim, heads, settings)
    return nn.ModuleList(block(is_shifted=index % 2 == 1, drop_path=rate) for index, rate in enumerate(drop_path))


def drop_path_rates(highest: float, depths: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Rates of stochastic depth for each stage: linear from 0 in the first block to ``highest`` in the last."""
    last = max(sum(depths) - 1, 1)
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [
        tuple(highest * (start + block) / last for block in range(depth))
        for start, depth in zip(starts, depths, strict=True)
    ]
