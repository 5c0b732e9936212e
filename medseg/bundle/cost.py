"""What one window costs a network: arithmetic and memory, found without computing anything.

The network runs on fake tensors, which know their shape and nothing else; every operation is counted, and every
storage from its birth to its death.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["NetworkCost", "inference_mb", "network_cost"]


@dataclass(frozen=True)
class NetworkCost:
    """One forward pass of one window.

    Attributes:
        gflop: 10⁹ floating point operations of convolutions and matrix products, a multiply-add counted as two;
            attention counted as the two products it is. Norms and activations are not counted.
        inference_mb: 10⁶ bytes of the network's maps at the fullest moment of inference; weights come on top, and
            what a convolution library takes for itself.
        training_mb: the same for a forward and a backward pass in float32, gradients of the weights included; the
            optimiser's state comes on top.
        weights_mb: the weights in float32.
    """

    gflop: float
    inference_mb: float
    training_mb: float
    weights_mb: float


def network_cost(network: nn.Module, shape: Sequence[int]) -> NetworkCost:
    """The cost of one input of this shape, (B, C, *S); the network is left in evaluation mode."""
    network.eval()
    # Single numbers are real to fake tensors, too: the batch counters of normalisations would go on counting.
    counters = {buffer: buffer.clone() for buffer in network.buffers() if buffer.ndim == 0}
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(tuple(shape))
        counter = FlopCounterMode(display=False)
        # The fused kernel of attention hides its products, and so do the in-place ones of our inference path.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            network(image)
        inference = _peak_bytes(lambda: _forward(network, image))
        training = _peak_bytes(lambda: _forward_and_backward(network, image))
    network.eval()
    for buffer, value in counters.items():
        buffer.copy_(value)
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    return NetworkCost(
        gflop=counter.get_total_flops() / 1e9,
        inference_mb=inference / 1e6,
        training_mb=training / 1e6,
        weights_mb=weights / 1e6,
    )


def inference_mb(network: nn.Module, shape: Sequence[int]) -> float:
    """10⁶ bytes of the maps of one input of this shape, (B, C, *S), at the fullest moment of inference."""
    network.eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(tuple(shape))
        return _peak_bytes(lambda: _forward(network, image)) / 1e6


@torch.no_grad()
def _forward(network: nn.Module, image: torch.Tensor) -> None:
    network(image)


def _forward_and_backward(network: nn.Module, image: torch.Tensor) -> None:
    logits = network.train()(image)
    torch.autograd.grad(logits.sum(), list(network.parameters()), allow_unused=True)


def _peak_bytes(run: Callable[[], None]) -> int:
    storages = _LiveStorages()
    with storages:
        run()
    return storages.peak


class _LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all storages that operations inside made and nobody has dropped yet, at their highest."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes: dict[int, int] = {}
        self._live = 0
        self.peak: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self._notice(value.untyped_storage())
        return result

    def _notice(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._live += storage.nbytes()
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._live -= self._sizes.pop(key, 0)
