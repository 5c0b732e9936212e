"""What stands in for a GPU refuses what a GPU refuses: else nothing that is tested on it would be."""

from textwrap import dedent

import pytest

BEGIN = """
import torch

there, here = torch.ones(3, device="cuda"), torch.ones(3)
"""


@pytest.fixture
def ends_in(gpu_stand_in, tmp_path, monkeypatch):
    """A function that runs lines on it and gives the last line of what they end in."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(lines: str, **options) -> str:
        (tmp_path / "tried.py").write_text(BEGIN + dedent(lines))
        ended = gpu_stand_in("tried", **options)
        return (ended.stdout + ended.stderr).strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(
    "lines",
    [
        "there + here",
        "there.add_(here)",
        "torch.cat([there, here])",
        "here[there.long()]",
        "torch.nn.functional.conv1d(there[None, None], here[None, None])",
        "torch.nn.functional.linear(there, here[None])",
    ],
)
def test_tensors_of_both_devices_do_not_go_together(ends_in, lines):
    assert "device" in ends_in(lines)


@pytest.mark.parametrize("lines", ["there.numpy()", "import numpy; numpy.asarray(there)"])
def test_values_are_not_read_where_they_lie(ends_in, lines):
    assert "can't convert cuda:0 device type tensor to numpy" in ends_in(lines)


def test_more_than_its_memory_is_not_to_be_had(ends_in):
    assert "OutOfMemoryError: CUDA out of memory" in ends_in("torch.empty(10**7, device='cuda')", limit_mb=20)


def test_what_is_let_go_can_be_had_again(ends_in):
    lines = """
    for _ in range(5):
        there = None
        there = torch.empty(4 * 10**6, device="cuda")
    print(torch.cuda.memory_allocated() // 10**6, torch.cuda.max_memory_allocated() // 10**6)
    """
    assert ends_in(lines, limit_mb=20) == "16 16"


@pytest.mark.parametrize(
    ("lines", "printed"),
    [
        ("print((there + 1).device, (there.cpu() + here).sum().item())", "cuda:0 6.0"),
        ("print(there[here.long() - 1].sum().item())", "3.0"),
        ("print((there.to(torch.bfloat16) * 2).dtype)", "torch.bfloat16"),
        ("there.requires_grad_(); (there**2).sum().backward(); print(there.grad.sum().item())", "6.0"),
    ],
)
def test_the_rest_is_as_on_a_cpu(ends_in, lines, printed):
    assert ends_in(lines) == printed
