"""Windows that show nothing: where each channel holds one value throughout, as outside the brain or in clipped air.

The network's answer to such a window depends on those values alone, so that it is computed once and used again:
less work and the same labels.
"""

from typing import TypeAlias

import torch
from torch import nn

__all__ = ["ConstantWindowsOnce"]

Kind: TypeAlias = tuple[tuple[int, ...], tuple[float, ...]]
"""Size (C, *S) of a window, and the value of each channel."""

MOST_KINDS = 4
"""Answers that are kept: a volume has one background, or few; each takes the memory of one window's logits."""


class ConstantWindowsOnce(nn.Module):
    """A network that computes each kind of constant window once.

    Mutable: it remembers and counts, and so is made anew for each volume. A network that gives anything but one
    tensor of logits (B, L, *S) computes every window.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._known: dict[Kind, torch.Tensor] = {}
        self.n_windows = 0
        """How many windows have come."""
        self.n_reused = 0
        """How many of them took the answer to an earlier one."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits (B, L, *S) of windows (B, C, *S)."""
        kinds = [_kind_of(window) for window in windows]
        needed = [number for number, kind in enumerate(kinds) if kind not in self._known]
        self.n_windows += len(kinds)
        self.n_reused += len(kinds) - len(needed)
        if len(needed) == len(kinds):
            logits: torch.Tensor = self._network(windows)
        else:
            computed = iter(self._network(windows[needed]) if needed else ())
            logits = torch.stack([self._known[kind] if kind in self._known else next(computed) for kind in kinds])
        if isinstance(logits, torch.Tensor):
            self._remember(kinds, logits)
        return logits

    def _remember(self, kinds: list[Kind | None], logits: torch.Tensor) -> None:
        for kind, answer in zip(kinds, logits, strict=True):
            if kind is not None and kind not in self._known and len(self._known) < MOST_KINDS:
                self._known[kind] = answer.clone()


def _kind_of(window: torch.Tensor) -> Kind | None:
    """The values of a window (C, *S) that holds one in each channel; None of any other."""
    first = window.flatten(1)[:, :1]
    if not bool((window.flatten(1) == first).all()):
        return None
    return tuple(window.shape), tuple(first.flatten().tolist())
