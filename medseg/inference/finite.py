"""Logits as numbers that can be blended, interpolated and compared, or an error that says whose they are not.

A network in float16 makes an infinite number of what is beyond 65504, and one that ends in a logarithm makes one of a
probability of 0. Both mean something: that a label is certain, or out of the question. Interpolation would make NaN of
them, so that they become very large numbers. NaN itself means nothing.
"""

import torch
from torch import nn

from medseg.errors import RunError

__all__ = ["LARGEST_LOGIT", "FiniteLogits", "finite"]

LARGEST_LOGIT = 1e30
"""What infinity becomes: above all that networks compute, and sums of it over windows stay numbers in float32."""


def finite(logits: torch.Tensor, *, named: str = "the network", advice: str = "") -> torch.Tensor:
    """The same logits, infinite ones as the largest there are.

    Args:
        named: what computed them, for the message.
        advice: what to do where they are no numbers; by default, what helps any network.
    Raises:
        RunError: some are not numbers.
    """
    if bool(logits.sum(dtype=torch.float32).isfinite()):  # a tenth of the time of any other look at all of them
        return logits
    if bool(logits.isnan().any()):
        advice = advice or "the weights are damaged, or overflow on this device: verify the bundle, or try --device cpu"
        raise RunError(f"{named} gave values that are not numbers (NaN): {advice}.")
    return logits.float().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


class FiniteLogits(nn.Module):
    """A network whose logits are all finite numbers; what is no tensor passes as it is.

    Args:
        network: gives logits (B, L, *S) of windows (B, C, *S).
        named: what computes, and where, for the message.
        advice: what to do where it gives values that are not numbers.
    """

    def __init__(self, network: nn.Module, *, named: str, advice: str) -> None:
        super().__init__()
        self._network = network
        self._named = named
        self._advice = advice

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits (B, L, *S) of windows (B, C, *S).

        Raises:
            RunError: some are not numbers.
        """
        logits: torch.Tensor = self._network(windows)
        return finite(logits, named=self._named, advice=self._advice) if isinstance(logits, torch.Tensor) else logits
