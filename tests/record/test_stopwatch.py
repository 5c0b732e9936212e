"""The stopwatch: stages add up, also when they fail, and the memory peak is that of the whole process."""

import numpy as np
import psutil
import pytest

from medseg.record import Stopwatch, process_peak_memory_mb


class HandClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_a_stage_entered_again_adds_to_its_time(clock):
    watch = Stopwatch(clock=clock)
    for seconds in (1.5, 2.0):
        with watch.stage("windows"):
            clock.now_s += seconds
    assert watch.stage_s == {"windows": 3.5}


def test_time_between_stages_is_not_counted(clock):
    watch = Stopwatch(clock=clock)
    with watch.stage("read"):
        clock.now_s += 1
    clock.now_s += 10
    with watch.stage("write"):
        clock.now_s += 2
    assert watch.stage_s == {"read": 1, "write": 2}
    assert list(watch.stage_s) == ["read", "write"]


def test_a_stage_that_fails_is_counted_and_its_error_passes(clock):
    watch = Stopwatch(clock=clock)

    def read_damaged_file() -> None:
        with watch.stage("read"):
            clock.now_s += 4
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        read_damaged_file()
    assert watch.stage_s == {"read": 4}


def test_a_stage_inside_another_counts_in_both(clock):
    watch = Stopwatch(clock=clock)
    with watch.stage("outer"):
        clock.now_s += 1
        with watch.stage("inner"):
            clock.now_s += 2
    assert watch.stage_s == {"inner": 2, "outer": 3}


def test_what_a_caller_does_with_the_times_does_not_reach_the_watch(clock):
    watch = Stopwatch(clock=clock)
    watch.stage_s["invented"] = 9.0
    assert watch.stage_s == {}


def test_a_real_clock_counts_seconds():
    watch = Stopwatch()
    with watch.stage("nothing"):
        pass
    assert 0 <= watch.stage_s["nothing"] < 5


def test_the_peak_is_at_least_what_the_process_holds_now_and_never_falls():
    before = process_peak_memory_mb()
    block = np.ones(30_000_000)  # 240 MB, touched
    held = psutil.Process().memory_info().rss / 1e6
    during = process_peak_memory_mb()
    assert block.sum() == 30_000_000
    del block
    # the kernel batches its counts for each thread, so both readings may be a few pages apart
    assert during >= max(before, 0.98 * held)
    assert process_peak_memory_mb() >= 0.999 * during
    assert during < 100_000, "bytes or KiB were taken for MB"
