"""Batches made ahead by threads while the network learns; which batch comes at which step stays the same."""

import copy
import queue
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from medseg.training.example import Batch

__all__ = ["BatchSource", "Prefetcher"]

AHEAD = 2
"""Batches under way for each thread."""


class BatchSource(Protocol):
    """What gives the batch of a step."""

    def at(self, step: int) -> Batch:
        """The batch of one step, counted from 0."""
        ...


class Prefetcher:
    """A source of batches that prepares the next ones meanwhile, and counts the time that learning had to wait.

    Args:
        batches: copied once for each thread, since MONAI's random transforms hold the state of their last draw.
        workers: threads; with 0 each batch is made when it is asked for.
    """

    def __init__(self, batches: BatchSource, *, workers: int) -> None:
        self._batches = batches
        self._workers = workers
        self._idle: queue.SimpleQueue[BatchSource] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(copy.copy(batches))
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[int, Future[Batch]] = {}
        self.waited_s = 0.0
        """How long ``at`` took in all."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """The threads live here; without, or outside, batches are made on demand."""
        if not self._workers:
            yield
            return
        with ThreadPoolExecutor(self._workers, thread_name_prefix="batches") as pool:
            self._pool = pool
            try:
                yield
            finally:
                for future in self._coming.values():
                    future.cancel()
                self._coming = {}
                self._pool = None

    def at(self, step: int) -> Batch:
        """The batch of one step, counted from 0; steps are expected to follow one another."""
        began = time.perf_counter()
        if self._pool is None:
            batch = self._batches.at(step)
        else:
            for coming in range(step, step + 1 + AHEAD * self._workers):
                if coming not in self._coming:
                    self._coming[coming] = self._pool.submit(self._make, coming)
            batch = self._coming.pop(step).result()
        self.waited_s += time.perf_counter() - began
        return batch

    def _make(self, step: int) -> Batch:
        batches = self._idle.get()
        try:
            return batches.at(step)
        finally:
            self._idle.put(batches)
