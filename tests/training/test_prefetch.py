"""Batches made ahead: the same ones in the same order, and waiting is counted."""

import threading
import time

import pytest
import torch

from medseg.training.example import Batch
from medseg.training.prefetch import Prefetcher


class Numbers:
    """Batches that hold their step, and remember in which threads they were made."""

    def __init__(self, threads: set[str], *, seconds: float = 0.0) -> None:
        self.threads = threads
        self.seconds = seconds
        self.is_busy = False

    def __copy__(self) -> "Numbers":
        return Numbers(self.threads, seconds=self.seconds)

    def at(self, step: int) -> Batch:
        assert not self.is_busy, "one source in two threads at once"
        self.is_busy = True
        time.sleep(self.seconds)
        self.threads.add(threading.current_thread().name)
        self.is_busy = False
        return Batch(torch.tensor([step]), torch.tensor([step]))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_each_step_has_its_own_batch_however_many_threads_make_them(workers):
    threads: set[str] = set()
    source = Prefetcher(Numbers(threads, seconds=0.002), workers=workers)
    with source.running():
        assert [int(source.at(step).images) for step in range(5, 25)] == list(range(5, 25))
    assert (threads == {threading.main_thread().name}) == (workers == 0)


def test_a_mistake_in_a_thread_is_told_to_the_one_who_waits():
    class Broken(Numbers):
        def __copy__(self) -> "Broken":
            return self

        def at(self, step: int) -> Batch:
            raise ValueError(f"no batch {step}")

    source = Prefetcher(Broken(set()), workers=1)
    with source.running(), pytest.raises(ValueError, match="no batch 3"):
        source.at(3)


def test_the_time_that_learning_waited_is_counted():
    source = Prefetcher(Numbers(set(), seconds=0.01), workers=0)
    for step in range(5):
        source.at(step)
    assert source.waited_s >= 0.05


def test_batches_made_ahead_are_not_waited_for():
    source = Prefetcher(Numbers(set(), seconds=0.02), workers=2)
    with source.running():
        source.at(0)
        time.sleep(0.3)
        before = source.waited_s
        source.at(1)
    assert source.waited_s - before < 0.02
