"""A scan that does not fit beside its network: it stays on the CPU, and each of its windows goes to the device.

In: a scan as read, and where the network computes. Out: the scan on the network's grid, on that device or on the CPU.
"""

from collections.abc import Callable

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose
from torch import nn

from medseg.inference.ladder import is_out_of_memory
from medseg.inference.prepared import Prepared
from medseg.inference.preprocessing import prepare

__all__ = ["OnDevice", "prepare_where_it_fits"]


def prepare_where_it_fits(
    scan: MetaTensor, preprocessing: Compose, inferer: Inferer, *, device: torch.device, told: Callable[[str], None]
) -> Prepared:
    """A scan (C, I, J, K) through a bundle's transforms on a device, or on the CPU where memory there is too little.

    Args:
        told: hears of it where the CPU did it.
    Raises:
        ImageError: the bundle's cropping leaves nothing of it, or a step loses its place in space.
    """
    try:
        return prepare(scan, preprocessing, device=device).ready_for(inferer)
    except (RuntimeError, MemoryError) as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    # Here, and no sooner, the volumes that did not fit are given up: the error's frames held them.
    told(f"{device} has too little memory for the whole scan: preparing it on the CPU.")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return prepare(scan, preprocessing).ready_for(inferer)


class OnDevice(nn.Module):
    """A network on one device for windows that may lie on another, to which its logits come back."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self._network = network
        self._device = device

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits (B, L, *S) of windows (B, C, *S), where the windows lie; what is no tensor passes as it is."""
        logits: torch.Tensor = self._network(windows.to(self._device))
        return logits.to(windows.device) if isinstance(logits, torch.Tensor) else logits
