"""A network that another runtime computes, in the place of the torch module: windows in, logits out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.errors import ImageError
from medseg.inference.runtime.proof import Proof

__all__ = ["Compiled", "CompiledNetwork", "Compute"]

Compute = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Windows (B, C, *S) of the one size that was compiled → logits (B, L, *S)."""


class CompiledNetwork(nn.Module):
    """Windows of one size through a compiled network, however many come at once.

    Args:
        compute: takes exactly ``batch_size`` windows.
        batch_size: what was compiled; a smaller batch is filled up, a larger one is cut.
        window: size (C, *S) of a window.
        rest: gives back what only windows need, and the next window brings again.
    """

    def __init__(
        self, compute: Compute, *, batch_size: int, window: Sequence[int], rest: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._compute = compute
        self.rest = rest
        self._batch_size = batch_size
        self._window = tuple(window)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits (B, L, *S) float32 of windows (B, C, *S) on the CPU.

        Raises:
            ImageError: windows of another size than was compiled.
        """
        if tuple(windows.shape[1:]) != self._window:
            raise ImageError(
                f"windows of {tuple(windows.shape[1:])} came to a network compiled for {self._window}: "
                "run with --runtime torch."
            )
        given = np.ascontiguousarray(windows.numpy(force=True), dtype=np.float32)
        parts = [
            self._part(given[first : first + self._batch_size]) for first in range(0, len(given), self._batch_size)
        ]
        return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _part(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(windows)
        if count < self._batch_size:
            filling = np.zeros((self._batch_size - count, *self._window), np.float32)
            windows = np.concatenate([windows, filling])
        # A copy: a runtime may give the same memory again for the next windows.
        return self._compute(windows)[:count].copy()


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled network, the precision it computes in, and its proof where compiling gave one.

    ``note`` tells of a way that was not the usual one; it is kept with the converted network.
    """

    network: nn.Module
    precision: str
    proof: Proof | None = None
    note: str = ""
