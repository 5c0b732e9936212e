"""Multi-head attention inside windows, with a learned bias for each relative position.

In: windows (W, N, D). Out: the same shape, every token a mixture of its window's tokens.

    A = softmax(q kᵀ / √d + B_rel + mask) v            (Liu et al. 2021, equation 4)

Letters: W windows · N tokens in a window · D embedding · H heads · d = D / H.
"""

from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from medseg.networks.blocks.windows import (
    WindowPlan,
    mask_groups,
    relative_position_index,
    shift_mask,
    window_order,
    window_places,
)

__all__ = ["WindowAttention", "attend"]


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *, dropout: float = 0.0, scale: float | None = None
) -> Tensor:
    """softmax(q kᵀ · scale + bias) v for (B, H, N, d); the one place where networks call attention.

    ``bias`` broadcasts to (B, H, N, N) and is cast to the queries' type, which autocast may have lowered.
    ``scale`` is 1/√d unless given.
    """
    mask = bias if bias is None or bias.dtype == q.dtype else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)


class WindowAttention(nn.Module):
    """Attention among the tokens of each window ("Swin Transformer", Liu et al. 2021, section 3.2).

    Args:
        dim: embedding D, a multiple of ``heads``.
        window: the largest window; the bias table has a row for each offset inside it.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: tuple[int, ...],
        *,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.attention_dropout = attention_dropout
        self.relative_position_bias_table = nn.Parameter(torch.empty(prod(2 * w - 1 for w in window), heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def bias(self, tokens: int) -> Tensor:
        """(H, N, N) bias for each pair of a window of N = ``tokens`` tokens.

        A window that shrank to fit a small map takes the top left N×N corner of the full window's index. That
        is not the geometry of the smaller window, but it is what the released weights were trained with.
        """
        index = relative_position_index(self.window, device=self.relative_position_bias_table.device)
        corner = index[:tokens, :tokens].reshape(tokens * tokens)
        return self.relative_position_bias_table.t()[:, corner].reshape(self.heads, tokens, tokens)  # (H, N, N)

    def forward(self, windows: Tensor, plan: WindowPlan) -> Tensor:
        """(B, W, N, D) → (B, W, N, D); the windows of one map cut by ``plan``."""
        return self.restore(self.mix(self.project(windows, plan), self.bias(windows.shape[2]), plan), plan)

    def project(self, windows: Tensor, plan: WindowPlan) -> Tensor:
        """(B, W, N, D) → (B, W, N, 3D): queries, keys and values, windows sorted by the mask they share."""
        if plan.is_shifted:
            windows = windows.index_select(1, window_order(plan.grid, plan.shift, device=windows.device))
        qkv: Tensor = self.qkv(windows)
        return qkv

    def mix(self, qkv: Tensor, bias: Tensor, plan: WindowPlan) -> Tensor:
        """(B, W, N, 3D) of ``project`` and (H, N, N) of ``bias`` → (B, W, N, D): A, before heads are projected."""
        mixed = []
        start = 0
        for is_last, count in mask_groups(plan.grid, plan.shift):
            mask = shift_mask(plan.window, plan.shift, is_last, device=qkv.device, dtype=bias.dtype)
            mixed.append(self._mix(qkv.narrow(1, start, count), bias + mask if any(is_last) else bias))
            start += count
        return torch.cat(mixed, dim=1)

    def restore(self, mixture: Tensor, plan: WindowPlan) -> Tensor:
        """(B, W, N, D) of ``mix`` → (B, W, N, D): heads projected, windows in the order they came."""
        result: Tensor = self.proj_drop(self.proj(mixture))
        if plan.is_shifted:
            result = result.index_select(1, window_places(plan.grid, plan.shift, device=result.device))
        return result

    def _mix(self, qkv: Tensor, bias: Tensor) -> Tensor:
        """(B, W, N, 3D) → (B, W, N, D): every token a mixture of its window's values."""
        batch = qkv.shape[0]
        q, k, v = rearrange(qkv, "b w n (three h d) -> three (b w) h n d", three=3, h=self.heads).unbind(0)
        dropout = self.attention_dropout if self.training else 0.0
        mixture = attend(q, k, v, bias[None], dropout=dropout)  # (B·W, H, N, d)
        return rearrange(mixture, "(b w) h n d -> b w n (h d)", b=batch)
