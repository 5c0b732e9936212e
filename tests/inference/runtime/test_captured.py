"""A captured network: converted, it computes what torch computes; what cannot be said so goes torch's own way."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import DynUNet, SegResNet
from torch import nn

from medseg.bundle import load_bundle
from medseg.bundle.build import build_network
from medseg.inference import WindowRuntime
from medseg.inference.runtime import openvino
from medseg.inference.runtime.apart import NotConvertedError
from medseg.inference.runtime.captured import captured
from medseg.inference.runtime.choose import batch_shape
from medseg.inference.runtime.proof import Golden, prove

pytest.importorskip("openvino")

CPU = torch.device("cpu")


class Overwriting(nn.Module):
    """A residual whose activation overwrites what is added to it afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.fold = nn.Conv3d(1, 3, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.fold(x)
        return before + self.act(before)


class Shifting(nn.Module):
    """Adds to a part of a map in place, of which a graph of values has no trace."""

    def __init__(self) -> None:
        super().__init__()
        self.fold = nn.Conv3d(1, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.fold(x)
        made[:, 1:].add_(1.0)
        return made


@pytest.fixture
def ways(monkeypatch):
    """The captures that were tried, in their order."""
    tried = []
    for name in ("captured", "exported"):
        way = getattr(openvino, name)

        def noted(network, shape, name=name, way=way):
            tried.append(name)
            return way(network, shape)

        monkeypatch.setattr(openvino, name, noted)
    return tried


def proof_of(network: nn.Module, shape: tuple[int, ...], cache):
    golden = Golden(lambda: network, shape)
    compiled = openvino.compile_openvino(golden, key="network", cache=cache)
    return prove(compiled.network, golden, precision=compiled.precision)


@pytest.mark.parametrize("name", ["swin_unetr", "transunet", "ds_transunet", "dformer", "att_swin_unet"])
def test_each_of_the_five_networks_is_captured_in_one_pass(name, tmp_path, ways):
    bundle = load_bundle(f"{name}_hippocampus")
    network = build_network(bundle, device=CPU)
    shape = batch_shape(bundle.build("inferer", bundle.parser(device=CPU)), 1)
    assert proof_of(network, shape, tmp_path).is_passed
    assert ways == ["captured"]


@pytest.mark.parametrize(
    "network",
    [
        SegResNet(init_filters=8, in_channels=1, out_channels=3, blocks_down=(1, 1), blocks_up=(1,)),
        DynUNet(3, 1, 3, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 8], norm_name="batch"),
    ],
    ids=["group norm", "batch norm"],
)
def test_networks_of_monai_are_captured_in_one_pass(network, tmp_path, ways):
    torch.manual_seed(0)
    assert proof_of(network.eval(), (1, 1, 16, 16, 16), tmp_path).is_passed
    assert ways == ["captured"]


@pytest.mark.parametrize("network", [Overwriting(), Shifting()], ids=["activation", "part of a map"])
def test_what_is_overwritten_on_the_way_is_converted_rightly_all_the_same(network, tmp_path, ways):
    assert proof_of(network.eval(), (1, 1, 12, 12, 12), tmp_path).is_passed
    assert ways == ["captured", "exported"]


def test_the_slower_conversion_is_told_with_its_reason_and_again_by_what_was_kept(tmp_path):
    windows = SlidingWindowInferer(roi_size=(12, 12, 12))
    told = []
    for _ in range(2):
        runtime = WindowRuntime(Shifting().eval(), name="openvino", key="shifting", device=CPU, cache=tmp_path)
        with torch.no_grad():
            runtime._shelf.look_at().fold.weight.fill_(0.1)
        runtime.network_for(windows, (1, 24, 24, 24), n_windows=8)
        told.append(runtime.choice.reason)
    assert "asked for; converted by torch.export, because the quicker conversion failed (" in told[0]
    assert len(told[0].splitlines()) == 1
    assert told[1] == told[0]


def test_the_usual_conversion_is_not_worth_a_word(tmp_path):
    network = nn.Conv3d(1, 2, 3, padding=1).eval()
    golden = Golden(lambda: network, (1, 1, 8, 8, 8))
    assert openvino.compile_openvino(golden, key="network", cache=tmp_path).note == ""


def test_the_graph_takes_inputs_of_the_size_asked_for():
    decoder = captured(nn.Conv3d(1, 2, 3).eval(), (2, 1, 8, 9, 10))
    assert [tuple(shape) for shape in decoder.input_shapes] == [(2, 1, 8, 9, 10)]


def test_a_norm_over_the_other_windows_of_its_batch_is_refused():
    network = nn.BatchNorm3d(1, track_running_stats=False).eval()
    with pytest.raises(ValueError, match="the other windows of its batch"):
        captured(network, (1, 1, 8, 8, 8))


def test_a_network_that_no_way_can_say_is_refused(tmp_path, ways):
    class Deciding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(NotConvertedError):
        proof_of(Deciding().eval(), (1, 1, 8, 8, 8), tmp_path)
    assert ways == ["captured", "exported"]
    assert not list(tmp_path.iterdir())


def test_another_thread_computes_as_ever_during_a_capture():
    torch.manual_seed(0)
    network = SegResNet(init_filters=8, in_channels=1, out_channels=3, blocks_down=(1, 1), blocks_up=(1,)).eval()
    window = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        expected = network(window)
    is_over, n_computed, differences = threading.Event(), [], []

    def compute() -> None:
        with torch.inference_mode():
            while not is_over.is_set():
                differences.append((network(window) - expected).abs().max())
                n_computed.append(1)

    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(compute)
        try:
            captured(build_network(load_bundle("dformer_hippocampus"), device=CPU), (1, 1, 32, 64, 32))
        finally:
            is_over.set()
        computing.result()
    assert len(n_computed) > 1
    assert max(differences) == 0
