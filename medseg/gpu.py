"""What a GPU is asked when a run is measured: to finish what it was given, and how much memory that took.

In: the device of a run. Out: nothing, or 10⁶ bytes. On a CPU there is nothing to wait for, and the memory is that of
the process.
"""

import torch

__all__ = ["finish_work", "gpu_peak_memory_mb"]

BYTES_PER_MB = 1e6


def finish_work(device: torch.device) -> None:
    """Wait until a GPU has done what it was given: it works on while Python goes on, and no clock would see it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gpu_peak_memory_mb(device: torch.device) -> float | None:
    """The most memory of a GPU that torch has held at once in this process, in 10⁶ bytes; None on a CPU.

    With what it keeps for later use, which other programs cannot take; without the driver's own share.
    """
    return torch.cuda.max_memory_reserved(device) / BYTES_PER_MB if device.type == "cuda" else None
