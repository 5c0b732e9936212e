"""What a run asks of its GPU beside computing: to finish, how much memory it took, where its random numbers stand.

In: the device of a run, which may be a CPU: there is nothing to wait for there, memory is that of the process, and the
random numbers are those of ``torch.get_rng_state``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["finish_work", "gpu_memory_taken", "gpu_peak_memory_mb", "gpu_random_state", "set_gpu_random_state"]

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


@contextmanager
def gpu_memory_taken(device: torch.device) -> Iterator[list[float]]:
    """What is taken of a GPU within, at the fullest moment and on top of what was, in 10⁶ bytes: known afterwards.

    Nothing on a CPU.
    """
    taken: list[float] = []
    if device.type != "cuda":
        yield taken
        return
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    yield taken
    torch.cuda.synchronize(device)
    taken.append((torch.cuda.max_memory_allocated(device) - before) / BYTES_PER_MB)


def gpu_random_state(device: torch.device) -> torch.Tensor:
    """Where the random numbers of a GPU stand, bytes on the CPU; none on a CPU."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0, dtype=torch.uint8)


def set_gpu_random_state(device: torch.device, state: torch.Tensor) -> None:
    """Go on from what ``gpu_random_state`` said; nothing where either was a CPU."""
    if device.type == "cuda" and len(state):
        torch.cuda.set_rng_state(state, device)
