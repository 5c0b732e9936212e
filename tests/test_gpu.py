"""What is asked of a GPU, with a stand-in for the driver; and on a CPU, where there is nothing to ask."""

import pytest
import torch

from medseg.gpu import (
    finish_work,
    gpu_memory_taken,
    gpu_peak_memory_mb,
    gpu_random_state,
    set_gpu_random_state,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


class Driver:
    """Answers as ``torch.cuda`` does, for one device with 100 million bytes taken."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.highest = 500_000_000
        self.state = torch.arange(4, dtype=torch.uint8)

    def _note(self, name, device):
        assert device == GPU
        self.asked.append(name)

    def synchronize(self, device):
        self._note("synchronize", device)

    def memory_allocated(self, device):
        self._note("memory_allocated", device)
        return 100_000_000

    def reset_peak_memory_stats(self, device):
        self._note("reset_peak_memory_stats", device)
        self.highest = 100_000_000

    def max_memory_allocated(self, device):
        self._note("max_memory_allocated", device)
        return self.highest

    def max_memory_reserved(self, device):
        self._note("max_memory_reserved", device)
        return 600_000_000

    def get_rng_state(self, device):
        self._note("get_rng_state", device)
        return self.state

    def set_rng_state(self, state, device):
        self._note("set_rng_state", device)
        self.state = state


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    for name in [name for name in vars(Driver) if not name.startswith("_")]:
        monkeypatch.setattr(torch.cuda, name, getattr(driver, name))
    return driver


def test_a_stage_on_a_gpu_ends_when_its_work_has(driver):
    finish_work(GPU)
    assert driver.asked == ["synchronize"]


def test_the_peak_is_what_torch_keeps_of_the_device(driver):
    assert gpu_peak_memory_mb(GPU) == 600


def test_what_is_taken_counts_from_what_was_taken_before(driver):
    with gpu_memory_taken(GPU) as taken:
        driver.highest = 350_000_000
    assert taken == [250]
    assert driver.asked.index("synchronize") < driver.asked.index("max_memory_allocated")


def test_random_numbers_go_on_where_they_stood(driver):
    kept = gpu_random_state(GPU).clone()
    driver.state = torch.zeros(4, dtype=torch.uint8)
    set_gpu_random_state(GPU, kept)
    assert torch.equal(driver.state, kept)


def test_what_a_cpu_kept_changes_nothing_on_a_gpu(driver):
    set_gpu_random_state(GPU, gpu_random_state(CPU))
    assert "set_rng_state" not in driver.asked


def test_on_a_cpu_nothing_is_asked(driver):
    finish_work(CPU)
    set_gpu_random_state(CPU, torch.arange(4, dtype=torch.uint8))
    with gpu_memory_taken(CPU) as taken:
        pass
    assert taken == []
    assert gpu_peak_memory_mb(CPU) is None
    assert len(gpu_random_state(CPU)) == 0
    assert driver.asked == []
