"""Runtimes: the same labels from each that is installed, proved before use, refused where they differ."""

import json
import shutil

import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.networks.nets import UNet
from torch import nn

from medseg.errors import SettingsError
from medseg.inference import MirrorInferer, SliceBySliceInferer, WindowRuntime, installed_runtimes
from medseg.inference.runtime import choose, openvino
from medseg.inference.runtime.compiled import Compiled, CompiledNetwork
from medseg.inference.runtime.proof import Golden, Proof, golden_window, prove

CPU = torch.device("cpu")
WINDOWS = SlidingWindowInferer(roi_size=(16, 16, 16), sw_batch_size=3, overlap=0.5)
SLICES = SliceBySliceInferer(2, (16, 16), context=1, batch_size=5)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return UNet(3, 1, 3, channels=(4, 8), strides=(2,)).eval()


@pytest.fixture(scope="module")
def network_2d() -> nn.Module:
    torch.manual_seed(0)
    return UNet(2, 3, 3, channels=(4, 8), strides=(2,)).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 1, 20, 19, 13, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["openvino", "onnx"])
@pytest.mark.parametrize("inferer", [WINDOWS, SLICES, MirrorInferer(WINDOWS, (0,))], ids=["3D", "2D", "mirrored"])
def test_each_runtime_gives_the_logits_of_torch(name, inferer, network, network_2d, image, tmp_path):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[name])
    net = network_2d if inferer is SLICES else network
    runtime = WindowRuntime(net, name=name, key="unet", device=CPU, cache=tmp_path)
    compiled = runtime.network_for(inferer, image.shape[1:], n_windows=8)
    assert isinstance(compiled, CompiledNetwork)
    assert runtime.choice.name == name
    assert runtime.choice.proof.is_passed
    with torch.inference_mode():
        found, expected = inferer(image, compiled), inferer(image, net)
    tolerance = 1e-4 if runtime.choice.proof.precision == "float32" else 0.05 * float(expected.std())
    assert torch.allclose(found, expected, atol=tolerance)


def test_a_converted_network_is_kept_for_the_next_time(network, image, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    first = WindowRuntime(network, name="openvino", key="unet", device=CPU, cache=tmp_path)
    first.network_for(WINDOWS, image.shape[1:], n_windows=8)
    assert sorted(path.suffix for path in tmp_path.glob("unet*")) == [".bin", ".json", ".xml"]
    monkeypatch.setattr(torch.export, "export", None)  # would fail
    monkeypatch.setattr(openvino, "compiled_apart", None)  # would fail
    monkeypatch.setattr(choose, "prove", None)  # would fail
    again = WindowRuntime(network, name="openvino", key="unet", device=CPU, cache=tmp_path)
    again.network_for(WINDOWS, image.shape[1:], n_windows=8)
    assert again.choice.proof == first.choice.proof


def test_a_runtime_that_rested_computes_the_same(network, image, tmp_path):
    pytest.importorskip("openvino")
    runtime = WindowRuntime(network, name="openvino", key="unet", device=CPU, cache=tmp_path)
    runtime.rest()
    compiled = runtime.network_for(WINDOWS, image.shape[1:], n_windows=8)
    window = torch.rand(1, 1, 16, 16, 16)
    before = compiled(window)
    runtime.rest()
    assert torch.equal(compiled(window), before)


def test_a_converted_network_without_the_compilers_work_is_compiled_and_not_converted_again(
    network, image, tmp_path, monkeypatch
):
    pytest.importorskip("openvino")
    first = WindowRuntime(network, name="openvino", key="unet", device=CPU, cache=tmp_path)
    first.network_for(WINDOWS, image.shape[1:], n_windows=8)
    shutil.rmtree(tmp_path / "compiled")
    monkeypatch.setattr(torch.export, "export", None)  # would fail
    again = WindowRuntime(network, name="openvino", key="unet", device=CPU, cache=tmp_path)
    again.network_for(WINDOWS, image.shape[1:], n_windows=8)
    assert again.choice.proof == first.choice.proof
    assert len(list((tmp_path / "compiled").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "suffix", "damage"),
    [
        ("openvino", ".bin", "foreign"),
        ("openvino", ".xml", "cut short"),
        ("openvino", ".blob", "foreign"),
        ("openvino", ".blob", "cut short"),
        ("onnx", ".onnx", "foreign"),
    ],
)
def test_a_kept_file_that_is_damaged_or_of_another_network_is_made_anew(name, suffix, damage, network, image, tmp_path):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[name])
    torch.manual_seed(7)
    other = UNet(3, 1, 3, channels=(4, 8), strides=(2,)).eval()
    for key, net in (("ours", network), ("theirs", other)):
        WindowRuntime(net, name=name, key=key, device=CPU, cache=tmp_path).network_for(WINDOWS, (1, 16), n_windows=8)
    (ours,), (theirs,) = (
        list(tmp_path.rglob(f"{key}*{suffix}" if suffix != ".blob" else f"{key}*/*.blob")) for key in ("ours", "theirs")
    )
    content = theirs.read_bytes()
    ours.write_bytes(content if damage == "foreign" else content[:100])
    again = WindowRuntime(network, name=name, key="ours", device=CPU, cache=tmp_path)
    compiled = again.network_for(WINDOWS, image.shape[1:], n_windows=8)
    with torch.inference_mode():
        found, expected = WINDOWS(image, compiled), WINDOWS(image, network)
    assert float((found - expected).abs().mean()) < 0.05 * float(expected.std())


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_cache_that_cannot_be_used_costs_time_and_no_result(name, network, image, tmp_path):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[name])
    (tmp_path / "file").touch()
    runtime = WindowRuntime(network, name=name, key="unet", device=CPU, cache=tmp_path / "file" / "runtime")
    compiled = runtime.network_for(WINDOWS, image.shape[1:], n_windows=8)
    assert isinstance(compiled, CompiledNetwork)
    assert runtime.choice.reason == "asked for; the cache folder cannot be used, so that every start compiles anew"


def test_a_refusal_that_cannot_be_kept_does_not_end_the_run(network, image, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setitem(choose.COMPILERS, "openvino", lambda *_, **__: Compiled(Wrong(), "float32"))
    monkeypatch.setattr(choose, "installed_runtimes", lambda: ("torch", "openvino"))
    runtime = WindowRuntime(network, key="unet", device=CPU, cache=tmp_path / "file")
    assert runtime.network_for(WINDOWS, image.shape[1:], n_windows=2000) is network


@pytest.mark.parametrize(("n_windows", "expected"), [(4, "torch"), (2000, "openvino")])
def test_auto_compiles_only_where_there_is_enough_to_compute(n_windows, expected, network, image, tmp_path):
    pytest.importorskip("openvino")
    runtime = WindowRuntime(network, key="unet", device=CPU, cache=tmp_path)
    runtime.network_for(WINDOWS, image.shape[1:], n_windows=n_windows)
    assert runtime.choice.name == expected
    assert bool(list(tmp_path.iterdir())) == (expected == "openvino")


def test_auto_says_what_would_be_faster(network, image, monkeypatch):
    monkeypatch.setattr(choose, "installed_runtimes", lambda: ("torch",))
    runtime = WindowRuntime(network, device=CPU)
    assert runtime.network_for(WINDOWS, image.shape[1:], n_windows=2000) is network
    assert "pip install 'medseg[openvino]'" in runtime.choice.reason


class Wrong(nn.Module):
    """A compiler's mistake: logits of another network."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return torch.randn(windows.shape[0], 3, *windows.shape[2:])


def test_a_runtime_that_computes_something_else_is_not_used(network, image, monkeypatch):
    monkeypatch.setitem(choose.COMPILERS, "openvino", lambda *_, **__: Compiled(Wrong(), "float32"))
    monkeypatch.setattr(choose, "installed_runtimes", lambda: ("torch", "openvino"))
    runtime = WindowRuntime(network, device=CPU)
    assert runtime.network_for(WINDOWS, image.shape[1:], n_windows=2000) is network
    assert runtime.choice.name == "torch"
    assert runtime.choice.reason.startswith("openvino was refused: on a golden window ")
    asked = WindowRuntime(network, name="openvino", device=CPU)
    with pytest.raises(SettingsError, match=r"openvino cannot be used for this network .*: use --runtime torch"):
        asked.network_for(WINDOWS, image.shape[1:], n_windows=8)


@pytest.mark.parametrize(("max_difference", "n_proofs"), [(0.2, 0), (0.6, 1)], ids=["rounding", "more than rounding"])
def test_half_precision_is_proved_in_float32_where_it_differs_by_more_than_rounding(
    max_difference, n_proofs, network, image, tmp_path, monkeypatch
):
    pytest.importorskip("openvino")
    found = Proof("bfloat16", max_difference, 0.01, 1.0, 0.999, 1.0)
    monkeypatch.setattr(openvino, "prove", lambda *_, **__: found)
    check, checked = openvino._check_exactly, []
    monkeypatch.setattr(openvino, "_check_exactly", lambda *given, **named: checked.append(check(*given, **named)))
    runtime = WindowRuntime(network, key="unet", device=CPU, cache=tmp_path)
    assert runtime.network_for(WINDOWS, image.shape[1:], n_windows=2000) is not network
    assert len(checked) == n_proofs
    assert runtime.choice.proof == found


def test_a_conversion_that_computes_something_else_is_not_kept(network, image, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    torch.manual_seed(5)
    other = UNet(3, 1, 3, channels=(4, 8), strides=(2,)).eval()
    monkeypatch.setattr(openvino, "with_written_norms", lambda _: other)
    runtime = WindowRuntime(network, key="unet", device=CPU, cache=tmp_path)
    assert runtime.network_for(WINDOWS, image.shape[1:], n_windows=2000) is network
    assert "the converted network computes something else" in runtime.choice.reason
    assert [path.suffixes[-2:] for path in tmp_path.glob("*")] == [[".refused", ".json"]]


def test_a_network_that_cannot_be_converted_is_computed_by_torch(network, image, monkeypatch, tmp_path):
    def fails(*_: object, **__: object) -> None:
        raise ValueError("no such operation")

    monkeypatch.setitem(choose.COMPILERS, "openvino", fails)
    monkeypatch.setattr(choose, "installed_runtimes", lambda: ("torch", "openvino"))
    runtime = WindowRuntime(network, device=CPU, cache=tmp_path)
    assert runtime.network_for(WINDOWS, image.shape[1:], n_windows=2000) is network
    assert runtime.choice.reason == "openvino was refused: ValueError: no such operation"


def test_an_inferer_without_fixed_windows_stays_with_torch(network, image):
    auto = WindowRuntime(network, device=CPU)
    assert auto.network_for(SimpleInferer(), image.shape[1:], n_windows=None) is network
    if "onnx" in installed_runtimes():
        asked = WindowRuntime(network, name="onnx", device=CPU)
        with pytest.raises(SettingsError, match="needs windows of one size"):
            asked.network_for(SimpleInferer(), image.shape[1:], n_windows=None)


@pytest.mark.parametrize(
    ("name", "device", "match"),
    [
        ("caffe", "cpu", r"runtime 'caffe' is unknown: expected one of auto, torch, openvino, onnx"),
        ("openvino", "cuda", r"computes on the CPU, not on cuda"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(name, device, match, network, monkeypatch):
    monkeypatch.setattr(choose, "installed_runtimes", lambda: ("torch", "openvino", "onnx"))
    with pytest.raises(SettingsError, match=match):
        WindowRuntime(network, name=name, device=torch.device(device))


def test_a_runtime_that_is_not_installed_is_refused_with_the_way_to_get_it(network, monkeypatch):
    monkeypatch.setattr(choose, "installed_runtimes", lambda: ("torch",))
    with pytest.raises(SettingsError, match=r"openvino is not installed: pip install 'medseg\[openvino\]'"):
        WindowRuntime(network, name="openvino", device=CPU)


def test_the_proof_sees_a_difference_and_a_number_that_is_none(network):
    window = golden_window((1, 1, 16, 16, 16))
    assert torch.equal(window, golden_window((1, 1, 16, 16, 16)))
    same = prove(network, Golden(lambda: network, (1, 1, 16, 16, 16)), precision="float32")
    assert (same.max_difference, same.label_agreement, same.is_passed) == (0.0, 1.0, True)

    class Broken(nn.Module):
        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            return network(windows) * float("nan")

    broken = prove(Broken(), Golden(lambda: network, (1, 1, 16, 16, 16)), precision="bfloat16")
    assert not broken.is_passed


def test_the_run_record_tells_what_computed(tmp_path):
    from medseg.record import GoldenWindow, UsedRuntime

    used = UsedRuntime(
        name="openvino",
        reason="asked for",
        precision="bfloat16",
        golden_window=GoldenWindow(max_difference=0.5, label_agreement=0.999),
    )
    assert json.loads(used.model_dump_json())["golden_window"] == {"max_difference": 0.5, "label_agreement": 0.999}


class Nudged(nn.Module):
    """A network with small random errors in its logits, as half precision makes them."""

    def __init__(self, network: nn.Module, share: float) -> None:
        super().__init__()
        self.network, self.share = network, share

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        logits = self.network(windows)
        return logits + self.share * logits.std() * torch.randn(
            logits.shape, generator=torch.Generator().manual_seed(0)
        )


class Undecided(nn.Module):
    """Logits that hardly prefer any label, as random weights give them."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(windows.shape[0], 14, *windows.shape[2:], generator=torch.Generator().manual_seed(1))
        return windows + 0.2 * noise


@pytest.mark.parametrize(("share", "is_passed"), [(0.002, True), (0.2, False)])
def test_rounding_where_no_label_is_clear_does_not_fail_a_proof(share, is_passed):
    network = Undecided()
    proof = prove(Nudged(network, share), Golden(lambda: network, (1, 1, 16, 16, 16)), precision="bfloat16")
    assert proof.label_agreement < 0.9995
    assert proof.is_passed == is_passed
