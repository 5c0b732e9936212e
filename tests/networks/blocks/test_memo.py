"""Remembered tensors are shared, and never remembered in a state that would harm a later caller."""

import pytest
import torch

from medseg.networks.blocks.memo import MEMORY_SIZE, memoised


@pytest.fixture
def ramp():
    """A remembered function, and the sizes for which it really ran."""
    built = []

    @memoised
    def build(size: int, *, device: torch.device) -> torch.Tensor:
        built.append(size)
        return torch.arange(size, device=device)

    return build, built


def test_a_tensor_is_built_once_for_each_size(ramp):
    build, built = ramp
    cpu = torch.device("cpu")
    assert build(3, device=cpu) is build(3, device=cpu)
    assert build(4, device=cpu).tolist() == [0, 1, 2, 3]
    assert built == [3, 4]


def test_a_tensor_built_during_inference_can_be_used_in_training(ramp):
    build, _ = ramp
    with torch.inference_mode():
        build(3, device=torch.device("cpu"))
    weights = torch.ones(3, requires_grad=True)
    weights[build(3, device=torch.device("cpu"))].sum().backward()
    assert weights.grad.tolist() == [1.0, 1.0, 1.0]


def test_nothing_is_remembered_while_a_graph_is_captured(ramp):
    build, _ = ramp

    class Module(torch.nn.Module):
        def forward(self, x):
            return x + build(3, device=x.device)

    program = torch.export.export(Module(), (torch.zeros(3),))
    assert program.module()(torch.ones(3)).tolist() == [1.0, 2.0, 3.0]
    assert build(3, device=torch.device("cpu")).tolist() == [0, 1, 2]


def test_stand_ins_without_values_are_not_remembered(ramp):
    build, _ = ramp
    with torch._subclasses.FakeTensorMode():
        build(3, device=torch.device("cpu"))
    assert build(3, device=torch.device("cpu")).tolist() == [0, 1, 2]


def test_memory_is_bounded(ramp):
    build, built = ramp
    for size in range(MEMORY_SIZE + 1):
        build(size, device=torch.device("cpu"))
    build(0, device=torch.device("cpu"))
    assert built.count(0) == 2
