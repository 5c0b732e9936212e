"""An exponential moving average of a network's weights (Polyak averaging): steadier than the last step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The running average of a network's state: average ← decay·average + (1 − decay)·weights after each step.

    Early on the decay is (1 + step) / (10 + step) where that is smaller, so that the random start is soon forgotten.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self.state: dict[str, torch.Tensor] = {
            key: value.detach().clone() for key, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, *, step: int) -> None:
        """Take in the weights after one more step, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:  # counters and index tables have no average
                self.state[key].copy_(value)

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from an earlier average."""
        self.state = {key: value.clone() for key, value in state.items()}

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network with the averaged weights; its own come back at the end."""
        own = {key: value.detach().clone() for key, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield network
        finally:
            network.load_state_dict(own)
