"""A scan too large for the device is prepared on the CPU, and its windows go there and come back."""

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, ScaleIntensityRanged
from torch import nn

from medseg.inference import elsewhere
from medseg.inference.elsewhere import OnDevice, prepare_where_it_fits

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SCALED = Compose([ScaleIntensityRanged("image", 0, 10, 0, 1)])
WINDOWS = SlidingWindowInferer(roi_size=(4, 4, 4))


@pytest.fixture
def scan():
    return MetaTensor(torch.arange(6.0**3).view(1, 6, 6, 6))


def refused_by_the_gpu(monkeypatch, error):
    prepare = elsewhere.prepare

    def prepare_on(scan, preprocessing, *, device=None):
        if device == GPU:
            raise error
        return prepare(scan, preprocessing, device=device)

    monkeypatch.setattr(elsewhere, "prepare", prepare_on)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def test_a_scan_that_the_gpu_has_no_room_for_is_prepared_on_the_cpu(monkeypatch, scan):
    refused_by_the_gpu(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    told = []
    found = prepare_where_it_fits(scan, SCALED, WINDOWS, device=GPU, told=told.append)
    assert found.image.device == CPU
    torch.testing.assert_close(found.finished().as_tensor(), scan.as_tensor() / 10)
    assert told == ["cuda has too little memory for the whole scan: preparing it on the CPU."]


def test_any_other_error_is_none_of_its_business(monkeypatch, scan):
    refused_by_the_gpu(monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        prepare_where_it_fits(scan, SCALED, WINDOWS, device=GPU, told=print)


def test_where_the_cpu_itself_has_no_room_there_is_no_other_place(monkeypatch, scan):
    def prepare(*_, **__):
        raise MemoryError

    monkeypatch.setattr(elsewhere, "prepare", prepare)
    with pytest.raises(MemoryError):
        prepare_where_it_fits(scan, SCALED, WINDOWS, device=CPU, told=print)


def test_windows_go_to_the_network_and_their_logits_come_back():
    class OnMeta(nn.Module):
        """Gives, of windows of a device that has no values, logits on the CPU."""

        def forward(self, windows):
            assert windows.device.type == "meta"
            return torch.ones(windows.shape, device=CPU)

    windows = torch.zeros(2, 1, 4, 4, 4)
    logits = OnDevice(OnMeta(), torch.device("meta"))(windows)
    assert (logits.device, logits.shape) == (CPU, windows.shape)


def test_what_is_no_tensor_passes_as_it_is():
    class Several(nn.Module):
        def forward(self, windows):
            return {"logits": windows}

    windows = torch.zeros(1, 1, 2, 2, 2)
    assert OnDevice(Several(), CPU)(windows)["logits"] is windows
