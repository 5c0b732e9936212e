"""When memory may be reused: not where a gradient is wanted or a graph captured, whatever other threads do."""

import threading

import torch
from torch import nn

from medseg.networks.blocks.frugal import may_reuse_memory


class Asking(nn.Module):
    """Notes in a list of others what it is told each time it computes."""

    def __init__(self, told):
        super().__init__()
        self.note = told.append

    def forward(self, x):
        self.note(may_reuse_memory(x))
        return x + 1


def test_memory_is_reused_where_no_gradient_is_wanted():
    with torch.no_grad():
        assert may_reuse_memory(torch.zeros(2), torch.zeros(3))
    assert not may_reuse_memory(torch.zeros(2))


def test_no_memory_is_reused_while_a_graph_is_captured():
    told = []
    with torch.no_grad():
        torch.export.export(Asking(told), (torch.zeros(2),), strict=False)
        assert told
        torch.jit.trace(Asking(told), torch.zeros(2), check_trace=False)
    assert len(told) > 1
    assert not any(told)


def test_a_capture_in_one_thread_changes_nothing_for_another():
    computed, captures = threading.Event(), threading.Event()
    told = []

    class Slow(nn.Module):
        def forward(self, x):
            captures.set()
            assert computed.wait(60)
            return x + 1

    def compute():
        assert captures.wait(60)
        with torch.inference_mode():
            told.extend([torch.compiler.is_compiling(), may_reuse_memory(torch.zeros(2))])
        computed.set()

    thread = threading.Thread(target=compute)
    thread.start()
    with torch.no_grad():
        torch.export.export(Slow(), (torch.zeros(2),), strict=False)
    thread.join()
    assert told == [True, True]  # torch's own mark is set for all threads
