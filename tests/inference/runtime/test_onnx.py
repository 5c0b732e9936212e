"""Trained networks with attention in windows, as ``medseg segment --runtime onnx`` meets them: with gradients."""

import pytest
import torch
from monai.data import MetaTensor

from medseg.bundle import build_segmenter, load_bundle


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["swin_unetr_hippocampus", "att_swin_unet_hippocampus"])
def test_a_trained_network_is_converted_and_gives_the_labels_of_torch(name, tmp_path, monkeypatch, capfd):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path))
    bundle = load_bundle(name)
    scan = MetaTensor(torch.rand(1, 40, 48, 40, generator=torch.Generator().manual_seed(0)) * 500)
    assert torch.is_grad_enabled()
    segmenters = {one: build_segmenter(bundle, device=torch.device("cpu"), runtime=one) for one in ("onnx", "torch")}
    found = {one: segmenter(scan).labels for one, segmenter in segmenters.items()}
    assert segmenters["onnx"].runtime.choice.name == "onnx"
    assert (found["onnx"] == found["torch"]).mean() > 0.999
    assert "torchvision" not in capfd.readouterr().err
