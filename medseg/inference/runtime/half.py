"""Half precision on a GPU: torch's kernels for matrix units, proved on the golden window like any other runtime."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from medseg.inference.ladder import HalfPrecision, half_precision
from medseg.inference.runtime.kept_proof import kept_proof, proof_path
from medseg.inference.runtime.proof import Golden, Proof, RuntimeChoice, prove

__all__ = ["in_half_precision"]

REVISION = "1"
"""Of our way to compute in half precision: what an earlier one proved is proved again."""


def in_half_precision(
    network: nn.Module, shape: tuple[int, ...], *, device: torch.device, key: str = "", cache: Path | None = None
) -> tuple[nn.Module, RuntimeChoice]:
    """The network in half precision and its proof; the network itself where half precision changes labels.

    Args:
        shape: of the windows that will come together (B, C, *S).
        key: names the network and its weights; with it a proof is kept in ``cache``: a window in float32 takes twice
            the memory of all that come after it.
    """
    half, precision = HalfPrecision(network), str(half_precision(device.type)).removeprefix("torch.")

    def new() -> Proof:
        return prove(half, Golden(lambda: network, shape, device), precision=precision)

    try:
        if key and cache:
            name = f"torch-{_name_of(device)}"
            path = proof_path(cache, key=key, runtime=name, package="torch", precision=precision, shape=shape)
            proof = kept_proof(path, new, seal=REVISION)
        else:
            proof = new()
    except torch.OutOfMemoryError:  # whether a window fits at all is for the ladder to find out
        return network, RuntimeChoice("torch", f"a golden window does not fit into the memory of {device}")
    if proof.is_passed:
        return half, RuntimeChoice("torch", f"on {device.type} torch computes, in half precision", proof)
    agreement = f"on a golden window {proof.clear_agreement:.2%} of the clear labels agree with float32"
    return network, RuntimeChoice("torch", f"{precision} was refused: {agreement}", is_news=True)


def _name_of(device: torch.device) -> str:
    """A name for a device, the same for all of its make."""
    make = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return hashlib.sha256(make.encode()).hexdigest()[:8]
