"""Training as a function of its seed: random numbers, and kernels that add in one order."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medseg.gpu import gpu_random_state, set_gpu_random_state

__all__ = ["deterministic"]


@contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Training owns the process's random state and kernels; what was set before is put back afterwards.

    CUDA has no deterministic kernel for some steps, the cross-entropy of volumes among them: there torch warns.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    state, gpu_state = torch.get_rng_state(), gpu_random_state(device)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned_only)
        torch.set_rng_state(state)
        set_gpu_random_state(device, gpu_state)
