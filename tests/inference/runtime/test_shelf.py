"""A shelf: weights that are put away take no memory, and come back as they were when torch computes."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from medseg.inference import WindowRuntime
from medseg.inference.runtime.shelf import Shelf

WINDOWS = SlidingWindowInferer(roi_size=(8, 8, 8))


class Network(nn.Module):
    """Two convolutions that share their weight, and a table that no file holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 2, 3, padding=1)
        self.second = nn.Conv3d(2, 2, 3, padding=1)
        self.second.weight = self.first.weight
        self.register_buffer("table", torch.arange(8.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) + self.table


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().eval().requires_grad_(False)


def shelf_of(network: nn.Module) -> tuple[Shelf, list[int]]:
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    fetched = []

    def fetch() -> None:
        fetched.append(1)
        network.load_state_dict(kept)

    return Shelf(network, fetch), fetched


def test_weights_that_are_put_away_take_no_memory_and_come_back(network):
    window = torch.rand(1, 2, 8, 8, 8)
    expected = network(window)
    shelf, fetched = shelf_of(network)
    here = shelf.n_bytes_here
    shelf.put_away()
    assert (here, shelf.n_bytes_here) == (4 * (2 * 2 * 27 + 4), 0)
    found = shelf.look_at()
    assert torch.equal(found(window), expected)
    assert found.first.weight is found.second.weight
    assert not any(value.requires_grad for value in found.parameters())
    assert fetched == [1]


def test_what_somebody_computes_with_stays(network):
    shelf, fetched = shelf_of(network)
    shelf.take()
    shelf.put_away()
    assert shelf.n_bytes_here > 0
    assert not fetched


def test_what_cannot_be_fetched_stays(network):
    shelf = Shelf(network, None)
    shelf.put_away()
    assert shelf.n_bytes_here > 0


def test_a_volume_that_torch_computes_gets_its_weights_after_one_that_was_compiled(network, tmp_path):
    pytest.importorskip("openvino")
    window = torch.rand(1, 2, 8, 8, 8)
    expected = network(window)
    shelf, fetched = shelf_of(network)
    runtime = WindowRuntime(network, key="two", device=torch.device("cpu"), cache=tmp_path, fetch=shelf._fetch)
    compiled = runtime.network_for(WINDOWS, (2, 400, 400, 400), n_windows=100_000)
    assert runtime.choice.name == "openvino"
    assert torch.allclose(compiled(window), expected, atol=0.05)
    assert all(value.is_meta for value in network.parameters())
    again = runtime.network_for(WINDOWS, (2, 8, 8, 8), n_windows=1)
    assert runtime.choice.name == "torch"
    assert torch.equal(again(window), expected)
    assert runtime.network_for(WINDOWS, (2, 400, 400, 400), n_windows=100_000) is compiled
    assert torch.equal(network(window), expected)
    assert fetched == [1]


def test_what_was_compiled_and_proved_before_is_loaded_without_torchs_weights(network, tmp_path):
    pytest.importorskip("openvino")
    sizes, device = (2, 400, 400, 400), torch.device("cpu")
    first = WindowRuntime(network, key="two", device=device, cache=tmp_path)
    expected = first.network_for(WINDOWS, sizes, n_windows=100_000)(torch.ones(1, 2, 8, 8, 8))
    shelf, fetched = shelf_of(network)
    again = WindowRuntime(network, key="two", device=device, cache=tmp_path, fetch=shelf._fetch)
    found = again.network_for(WINDOWS, sizes, n_windows=100_000)
    assert torch.equal(found(torch.ones(1, 2, 8, 8, 8)), expected)
    assert not fetched
