"""Several processes that train one network together, as ``torchrun`` starts them.

Every process draws the same batch and takes its share of it; gradients are averaged. With a loss that is a mean over
samples the weights are those of one process with the whole batch.
"""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from medseg.errors import SettingsError

__all__ = ["World", "world"]

SETTLING_S = 0.5
"""A group's threads need Python's global lock to let go of their last work: time for that, before Python shuts down.

A thread that asks for the lock while Python shuts down is ended by force, and takes the process with it.
"""


@dataclass(frozen=True)
class World:
    """This process among all that train: ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process validates, logs and writes for all."""
        return self.rank == 0

    def share(self, tensor: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch (B, …).

        Raises:
            SettingsError: the batch cannot be shared out evenly.
        """
        if tensor.shape[0] % self.size:
            raise SettingsError(
                f"a batch of {tensor.shape[0]} cannot be shared by {self.size} processes: set a multiple with "
                "--set batch_size, or start fewer."
            )
        return tensor[self.rank :: self.size]

    def wrapped(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network with gradients that are averaged over all processes."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.size == 1:
            return value
        values: list[float | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return sum(one for one in values if one is not None) / self.size

    def gathered(self, state: torch.Tensor) -> list[torch.Tensor]:
        """The random states of all processes, in the order of their ranks."""
        if self.size == 1:
            return [state]
        states: list[torch.Tensor | None] = [None] * self.size
        dist.all_gather_object(states, state)
        return [one for one in states if one is not None]

    def agreed(self, value: bool) -> bool:
        """The main process's answer, which all take over; it waits for all as well."""
        if self.size == 1:
            return value
        answers = [value]
        dist.broadcast_object_list(answers, src=0)
        return bool(answers[0])


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """The processes that ``torchrun`` started; alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        yield World() if not dist.is_initialized() else World(dist.get_rank(), dist.get_world_size())
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    _keep_for_ever(dist.group.WORLD)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        time.sleep(SETTLING_S)
        dist.destroy_process_group()


def _keep_for_ever(group: dist.ProcessGroup | None) -> None:
    """See to it that nobody frees the group, not even Python's end.

    Whoever lets go of a group last joins its threads. A ``DistributedDataParallel`` and Python's end do so while they
    hold the global lock, for which such a thread may be waiting: both would wait for ever. The process takes the
    threads with it when it ends.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))
