"""The running average of the weights."""

import pytest
import torch
from torch import nn

from medseg.training.average import WeightAverage


def network_of(value: float) -> nn.Module:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        network[0].weight.fill_(value)
    return network


def test_each_step_moves_the_average_by_one_minus_the_decay():
    network = network_of(0.0)
    average = WeightAverage(network, decay=0.9)
    network[0].weight.data.fill_(1.0)
    for _ in range(2):
        average.update(network, step=10_000)
    assert average.state["0.weight"].item() == pytest.approx(1 - 0.9**2)


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (8, 0.5), (80, 0.9), (10_000, 0.998)])
def test_the_random_start_is_forgotten_faster_than_the_decay_says(step, decay):
    network = network_of(0.0)
    average = WeightAverage(network, decay=0.998)
    network[0].weight.data.fill_(1.0)
    average.update(network, step=step)
    assert average.state["0.weight"].item() == pytest.approx(1 - decay)


def test_a_decay_of_zero_keeps_the_raw_weights():
    network = network_of(0.0)
    average = WeightAverage(network, decay=0.0)
    network[0].weight.data.fill_(0.3)
    average.update(network, step=5)
    assert torch.equal(average.state["0.weight"], network[0].weight)


def test_counters_are_copied_and_not_averaged():
    network = network_of(0.0)
    average = WeightAverage(network, decay=0.9)
    network[1].num_batches_tracked.fill_(7)
    average.update(network, step=100)
    assert average.state["1.num_batches_tracked"].item() == 7


def test_the_network_has_its_own_weights_again_after_standing_in_even_for_a_failure():
    network = network_of(0.0)
    average = WeightAverage(network, decay=0.9)
    network[0].weight.data.fill_(1.0)

    def fail() -> None:
        with average.in_place_of(network) as standing_in:
            assert standing_in[0].weight.item() == 0.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert network[0].weight.item() == 1.0
    assert average.state["0.weight"].item() == 0.0


def test_a_loaded_average_is_a_copy():
    average = WeightAverage(network_of(0.0), decay=0.9)
    earlier = {key: value.clone() for key, value in network_of(5.0).state_dict().items()}
    average.load(earlier)
    average.update(network_of(0.0), step=100)
    assert earlier["0.weight"].item() == 5.0
    assert average.state["0.weight"].item() == pytest.approx(4.5)
