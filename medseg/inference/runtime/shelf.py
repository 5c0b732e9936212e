"""A network whose weights are put away while another runtime computes in its place, and fetched when it is needed."""

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["Shelf"]


class Shelf:
    """Holds a network on the CPU; mutable: its weights are there or not.

    A compiled network has its own form of the weights, beside which torch's are a quarter of a gigabyte for nothing.
    They are fetched for a volume that torch computes, and stay from then on.

    Args:
        network: in evaluation mode.
        fetch: loads its weights anew, into parameters of their shapes; without it they are never put away.
    """

    def __init__(self, network: nn.Module, fetch: Callable[[], object] | None) -> None:
        self._network = network
        self._fetch = fetch
        self._is_away = False
        self._is_in_use = False

    @property
    def n_bytes_here(self) -> int:
        """What the parameters take of memory."""
        return sum(value.nbytes for value in self._network.parameters() if not value.is_meta)

    def take(self) -> nn.Module:
        """The network with its weights, for whoever computes with it from now on."""
        self._is_in_use = True
        return self.look_at()

    def look_at(self) -> nn.Module:
        """The network with its weights, for a moment."""
        if self._is_away:
            assert self._fetch is not None, "only what can be fetched is put away"
            self._replace(lambda value: torch.empty(value.shape, dtype=value.dtype))
            self._fetch()
            self._is_away = False
        return self._network

    def put_away(self) -> None:
        """Give back the memory of the weights, unless somebody computes with them."""
        if self._fetch is not None and not self._is_in_use and not self._is_away:
            self._replace(lambda value: value.to("meta"))
            self._is_away = True

    def _replace(self, make: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Other values for all parameters; those that modules share stay shared."""
        made: dict[int, nn.Parameter] = {}
        for module in self._network.modules():
            for name, value in module.named_parameters(recurse=False, remove_duplicate=False):
                if id(value) not in made:
                    made[id(value)] = nn.Parameter(make(value.detach()), requires_grad=value.requires_grad)
                setattr(module, name, made[id(value)])
