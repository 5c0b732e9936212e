"""Half precision on a GPU: torch's kernels for matrix units, proved on the golden window like any other runtime."""

import torch
from torch import nn

from medseg.inference.ladder import HalfPrecision, half_precision
from medseg.inference.runtime.proof import Golden, RuntimeChoice, prove

__all__ = ["in_half_precision"]


def in_half_precision(
    network: nn.Module, shape: tuple[int, ...], *, device: torch.device
) -> tuple[nn.Module, RuntimeChoice]:
    """The network in half precision and its proof; the network itself where half precision changes labels.

    Args:
        shape: of the windows that will come together (B, C, *S).
    """
    half, precision = HalfPrecision(network), str(half_precision(device.type)).removeprefix("torch.")
    try:
        proof = prove(half, Golden(lambda: network, shape, device), precision=precision)
    except torch.OutOfMemoryError:  # whether a window fits at all is for the ladder to find out
        return network, RuntimeChoice("torch", f"a golden window does not fit into the memory of {device}")
    if proof.is_passed:
        return half, RuntimeChoice("torch", f"on {device.type} torch computes, in half precision", proof)
    agreement = f"on a golden window {proof.clear_agreement:.2%} of the clear labels agree with float32"
    return network, RuntimeChoice("torch", f"{precision} was refused: {agreement}", is_news=True)
