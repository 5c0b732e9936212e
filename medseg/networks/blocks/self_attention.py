"""Attention among all tokens of a sequence, and activations that are computed twice to save memory.

In: tokens (B, N, D). Out: the same shape, every token a mixture of all of them.

    A = softmax(q kᵀ / √d) v            (Vaswani et al. 2017, equation 1)

Letters: B batch · N tokens · D embedding · H heads · d width of a head.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medseg.networks.blocks.attention import attend

__all__ = ["SelfAttention", "recomputed"]


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; no token has a place unless its embedding says so.

    Args:
        dim: embedding D.
        head_dim: width d of a head; H·d need not be D.
        qkv_bias: whether queries, keys and values have a bias.
        is_projected: whether the heads are mixed by a last linear layer, without which H·d must be D.
    """

    def __init__(
        self, dim: int, *, heads: int, head_dim: int, qkv_bias: bool = True, is_projected: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=qkv_bias)
        self.proj = nn.Linear(heads * head_dim, dim) if is_projected else nn.Identity()

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, N, D) → (B, N, D); ``bias`` is added to the logits and broadcasts to (B, H, N, N)."""
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads).unbind(0)
        mixture: Tensor = self.proj(rearrange(attend(q, k, v, bias), "b h n d -> b n (h d)"))
        return mixture


def recomputed(layer: nn.Module, x: Tensor, *, enabled: bool) -> Tensor:
    """``layer(x)``; when enabled and gradients are wanted, its activations are computed again on the way back.

    Only for layers whose result depends on nothing but weights and ``x`` (dropout's random state is kept):
    a batch normalisation would count every batch twice.
    """
    if enabled and torch.is_grad_enabled():
        result: Tensor = checkpoint(layer, x, use_reentrant=False)
    else:
        result = layer(x)
    return result
