"""Half precision in the place of float32: taken where labels stay, refused where they do not."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from medseg.bundle import build_network, load_bundle
from medseg.inference import WindowRuntime
from medseg.inference.ladder import HalfPrecision
from medseg.inference.runtime import choose
from medseg.inference.runtime.half import in_half_precision

CPU = torch.device("cpu")
WINDOW = (1, 1, 32, 64, 32)


class OtherInHalf(nn.Module):
    """Labels that depend on the precision, as those of a network that overflows."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        sign = -1 if torch.is_autocast_enabled("cpu") else 1
        return torch.cat([sign * windows, -sign * windows], 1)


class TooLarge(nn.Module):
    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError


def test_a_trained_network_computes_in_half_precision_and_proves_it():
    network = build_network(load_bundle("swin_unetr_hippocampus"), device=CPU)
    half, choice = in_half_precision(network, WINDOW, device=CPU)
    assert isinstance(half, HalfPrecision)
    assert choice.name == "torch"
    assert choice.proof.precision == "bfloat16"
    assert choice.proof.clear_agreement >= 0.9995
    assert choice.proof.max_difference > 0
    with torch.inference_mode():
        assert half(torch.rand(WINDOW)).dtype == torch.float32


def test_a_proof_is_kept_and_the_next_start_computes_no_window_in_float32(tmp_path):
    class Counting(nn.Module):
        """Nearly the same in half precision; counts its windows in float32."""

        n_exact = 0

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            self.n_exact += not torch.is_autocast_enabled("cpu")
            return torch.cat([windows, -windows], 1)

    network = Counting()
    for key, n_exact in (("one", 1), ("one", 1), ("other", 2)):
        half, choice = in_half_precision(network, WINDOW, device=CPU, key=key, cache=tmp_path)
        assert isinstance(half, HalfPrecision)
        assert choice.proof.precision == "bfloat16"
        assert network.n_exact == n_exact
    assert len(list(tmp_path.iterdir())) == 2


def test_a_refusal_is_found_anew_each_time(tmp_path):
    for _ in range(2):
        _, choice = in_half_precision(OtherInHalf(), WINDOW, device=CPU, key="one", cache=tmp_path)
        assert "refused" in choice.reason
    assert not list(tmp_path.iterdir())


def test_half_precision_that_changes_labels_is_refused():
    network = OtherInHalf()
    kept, choice = in_half_precision(network, WINDOW, device=CPU)
    assert kept is network
    assert choice.proof is None
    assert choice.is_news
    assert "bfloat16 was refused: on a golden window 0.00% of the clear labels" in choice.reason


def test_a_golden_window_without_room_leaves_the_network_to_the_ladder():
    network = TooLarge()
    kept, choice = in_half_precision(network, WINDOW, device=CPU)
    assert kept is network
    assert "does not fit into the memory" in choice.reason


@pytest.mark.parametrize(("name", "is_half"), [("auto", True), ("torch", False)])
def test_on_a_gpu_auto_takes_half_precision_and_torch_stays_as_it_is(name, is_half, monkeypatch):
    taken = []
    monkeypatch.setattr(
        choose,
        "in_half_precision",
        lambda network, shape, *, device, key, cache: taken.append((shape, device)) or (network, None),
    )
    runtime = WindowRuntime(OtherInHalf(), name=name, device=torch.device("cuda:0"))
    windows = SlidingWindowInferer(roi_size=WINDOW[2:], sw_batch_size=4)
    for _ in range(2):  # proved once
        runtime.network_for(windows, (1, 40, 70, 40), n_windows=8)
    assert taken == ([(WINDOW, torch.device("cuda:0"))] if is_half else [])
