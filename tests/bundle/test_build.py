"""Devices by name, and the parts of a bundle put together."""

import pytest
import torch

from medseg.bundle import build_network, build_segmenter, choose_device, find_bundles, load_bundle, load_weights
from medseg.errors import BundleError, SettingsError
from medseg.inference.largest_parts import LargestPartsd

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "count", "device"),
    [("cpu", 0, "cpu"), ("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_has_a_name(name, count, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:one", "cuda:-1", "mps:0", ""])
def test_a_name_that_is_no_device_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=f"device '{name}' is (unknown|not on this machine)"):
        choose_device(name)


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_device_that_this_machine_lacks_is_refused_with_what_there_is(name, count, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(SettingsError, match=rf"'{name}' is not on this machine \({count} CUDA devices found\)"):
        choose_device(name)


def test_the_network_is_built_with_its_weights_and_in_evaluation_mode(bundle):
    network = build_network(bundle, device=CPU)
    assert not network.training
    again = build_network(bundle, device=CPU)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_device_without_room_for_the_weights_is_told_as_that(bundle, monkeypatch):
    def too_large(self, *_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Module, "to", too_large)
    with pytest.raises(SettingsError, match=r"cuda has too little memory for the weights of .*: use --device cpu"):
        build_network(bundle, device=torch.device("cuda"))


@pytest.mark.parametrize("name", sorted(name for name in find_bundles() if name.endswith("_hippocampus")))
def test_parameters_whose_initial_values_were_not_computed_are_those_of_the_weights(name):
    trained = load_bundle(name)
    initialised = load_weights(trained.build("network", trained.parser(device=CPU)), trained.weights_path)
    values = build_network(trained, device=CPU).state_dict()
    assert all(torch.equal(value, values[key]) for key, value in initialised.state_dict().items())


def test_a_segmenter_keeps_of_the_postprocessing_what_cleans_labels(bundle):
    segmenter = build_segmenter(bundle, device=CPU)
    (step,) = segmenter.postprocessing.transforms
    assert isinstance(step, LargestPartsd)
    assert segmenter.channel_names == ("T1",)
    assert segmenter.label_table == bundle.label_table
    assert segmenter.device == CPU


def test_a_bundle_without_postprocessing_has_none(bundle):
    del bundle.config["postprocessing"]
    assert build_segmenter(bundle, device=CPU).postprocessing.transforms == ()


def test_a_bundle_without_weights_is_refused(bundle):
    bundle.weights_path.unlink()
    with pytest.raises(BundleError, match="bundle tiny has no weights here; to get them: medseg train tiny"):
        build_segmenter(bundle, device=CPU)


@pytest.mark.parametrize("part", ["preprocessing", "postprocessing"])
def test_steps_that_are_no_compose_are_refused(folder, change, part):
    change(folder / "configs" / "inference.yaml", {part: {"_target_": "Identityd", "keys": "image"}})
    with pytest.raises(BundleError, match=f"bundle tiny: '{part}' is a Identityd: MONAI's Compose was expected"):
        build_segmenter(load_bundle(folder), device=CPU)


def test_what_windows_take_is_known_before_they_are_computed(bundle):
    segmenter = build_segmenter(bundle, device=torch.device("cpu"))
    one, four = segmenter.window_mb(1), segmenter.window_mb(4)
    assert one > 4 * 3 * 16**3 / 1e6  # its logits alone
    assert four == pytest.approx(4 * one, rel=0.01)
