"""Bundles from disk: found by name or folder; whatever is broken is said in one line."""

import copy
import hashlib
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.bundle import find_bundles, load_bundle, load_weights, parse_settings, sha256_of
from medseg.bundle.trust import bundle_digest
from medseg.errors import BundleError, MedsegError, SettingsError

CPU = torch.device("cpu")


def test_bundles_that_medseg_brings_along_are_found_by_name():
    found = find_bundles()
    assert found["swin_unetr_hippocampus"].name == "swin_unetr_hippocampus"
    assert load_bundle("swin_unetr_hippocampus").folder == found["swin_unetr_hippocampus"].resolve()


def test_a_folder_without_configs_is_no_bundle(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / "bundles" / name / "configs").mkdir(parents=True)
    (tmp_path / "bundles" / "notes").mkdir()
    monkeypatch.setattr("medseg.bundle.found.shared_folder", lambda name: tmp_path / name)
    assert list(find_bundles()) == ["one", "two"]


def test_a_bundle_is_loaded_from_its_folder_and_says_what_it_is(folder):
    bundle = load_bundle(str(folder))
    assert (bundle.name, bundle.version) == ("tiny", "0.1.0")
    assert bundle.label_table.names == ("anterior_hippocampus", "posterior_hippocampus")
    assert [(spec.name, spec.modality) for spec in bundle.channel_specs] == [("T1", "MR")]
    assert bundle.weights_path == folder / "models" / "model.safetensors"


@pytest.mark.parametrize("name", ["nothing_of_the_kind", "../nowhere", ""])
def test_a_name_that_nothing_has_is_refused_with_those_there_are(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"expected a folder with configs/, or one of .*swin_unetr_hippocampus"):
        load_bundle(name)


@pytest.mark.parametrize("name", ["inference.yaml", "metadata.json"])
def test_a_bundle_that_lacks_a_file_is_refused(folder, name):
    (folder / "configs" / name).unlink()
    with pytest.raises(BundleError, match=f"tiny has no configs/{name.partition('.')[0]}.yaml or .json"):
        load_bundle(folder)


def test_an_overlay_that_is_not_there_is_refused(folder):
    with pytest.raises(BundleError, match=r"tiny has no configs/export.yaml or .json"):
        load_bundle(folder, overlays=("export",))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("inference.yaml", "network: [1, 2", "inference.yaml cannot be parsed"),
        ("inference.yaml", "\tkey: value", "inference.yaml cannot be parsed"),
        ("metadata.json", '{"version": ', "metadata.json cannot be parsed"),
        ("inference.yaml", "- one\n- two", "inference.yaml holds a list: a mapping"),
        ("inference.yaml", "", "inference.yaml holds a NoneType: a mapping"),
        ("metadata.json", "3", "metadata.json holds a int: a mapping"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(folder, name, content, reason):
    (folder / "configs" / name).write_text(content)
    with pytest.raises(BundleError) as refusal:
        load_bundle(folder)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_overlay_replaces_nested_values_by_monais_rules(folder):
    (folder / "configs" / "variant.yaml").write_text(
        "network_def::channels: [2, 4]\n+imports: [$import math]\nextra: 1\n"
    )
    bundle = load_bundle(folder, overlays=("variant",))
    assert bundle.config["network_def"]["channels"] == [2, 4]
    assert bundle.config["network_def"]["strides"] == [2]
    assert bundle.config["imports"][0] == "$import torch"
    assert bundle.config["imports"][-1] == "$import math"
    assert bundle.config["extra"] == 1


def test_an_overlay_that_fits_nothing_is_refused(folder):
    (folder / "configs" / "variant.yaml").write_text("overlap::deeper: 3\n")
    with pytest.raises(BundleError, match=r"variant.yaml: 'overlap::deeper' fits nothing"):
        load_bundle(folder, overlays=("variant",))


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"labels": None}, SettingsError, "tiny: labels: labels"),
        ({"labels": [{"index": 1}]}, SettingsError, "tiny: labels: labels.0.name"),
        ({"channels": []}, BundleError, "bundle tiny: channels are []"),
        ({"channels": "T1"}, BundleError, "bundle tiny: channels are 'T1'"),
        ({"channels": ["T1"]}, SettingsError, "tiny: channels: 'T1' found"),
    ],
)
def test_wrong_labels_or_channels_are_refused(folder, change, changes, error, reason):
    change(folder / "configs" / "inference.yaml", changes)
    bundle = load_bundle(folder)
    with pytest.raises(error) as refusal:
        _ = bundle.label_table if "labels" in changes else bundle.channels
    assert str(refusal.value).startswith(reason)


def test_a_configuration_without_labels_or_channels_is_refused(folder):
    (folder / "configs" / "inference.yaml").write_text("network_def: 1\n")
    (folder / "configs" / "metadata.json").write_text("{}")
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match="bundle tiny has no 'labels' in its configuration"):
        _ = bundle.label_table
    with pytest.raises(BundleError, match="bundle tiny has no 'channels' in its configuration"):
        _ = bundle.channels


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"_target_": "monai.networks.nets.UNet"}, "TypeError: .*missing 5 required positional arguments"),
        ({"_target_": "monai.networks.nets.Nothing"}, "bundle tiny builds monai.networks.nets.Nothing"),
        ("@nothing", "nothing"),
        ("$1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_part_that_cannot_be_built_is_refused_in_its_own_words(folder, change, broken, reason):
    change(folder / "configs" / "inference.yaml", {"network_def": broken})
    bundle = load_bundle(folder)
    with pytest.raises(
        BundleError, match=f"bundle tiny: 'network_def' cannot be built: .*{reason}|{reason}"
    ) as refusal:
        bundle.build("network_def", bundle.parser(device=CPU))
    assert "\n" not in str(refusal.value)


def test_a_part_that_is_not_there_is_refused(bundle):
    with pytest.raises(BundleError, match="bundle tiny has no 'validate' in its configuration"):
        bundle.build("validate", bundle.parser())


def test_a_macro_that_leads_nowhere_is_refused(folder, change):
    change(folder / "configs" / "inference.yaml", {"overlap": "%elsewhere.yaml::overlap"})
    with pytest.raises(BundleError, match=r"bundle tiny cannot be parsed: .*elsewhere.yaml"):
        load_bundle(folder, trust=bundle_digest(folder)).parser()


def test_building_leaves_the_configuration_as_written(folder, change):
    change(folder / "configs" / "inference.yaml", {"nested": {"one": 1, "two": "@#one"}})
    bundle = load_bundle(folder)
    before = copy.deepcopy(bundle.config)
    assert bundle.parser().get_parsed_content("nested") == {"one": 1, "two": 1}
    assert bundle.config == before


def test_a_parser_builds_each_part_once_on_the_device_asked_for(bundle):
    parser = bundle.parser(device=torch.device("meta"))
    assert bundle.build("device", parser) == torch.device("meta")
    assert bundle.build("network", parser) is bundle.build("network", parser)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))


def weights() -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network().state_dict().items()}


def test_weights_fill_every_parameter_in_the_precision_of_the_network(tmp_path):
    kept = {key: value.half() if value.is_floating_point() else value for key, value in weights().items()}
    save_file(kept, tmp_path / "model.safetensors")
    loaded = load_weights(network(), tmp_path / "model.safetensors")
    assert loaded[0].weight.dtype == torch.float32
    assert torch.equal(loaded[0].weight, kept["0.weight"].float())


@pytest.mark.parametrize("prefix", ["module.", "model.", "_model.", "module.net."])
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("container", [None, "state_dict", "network_weights"])
def test_weights_of_a_wrapped_network_load_by_its_own_names(prefix, suffix, container, tmp_path):
    state = {prefix + key: value for key, value in weights().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({container: state, "args": Namespace(epochs=3)} if container else state, path)
    assert torch.equal(load_weights(network(), path)[0].weight, state[f"{prefix}0.weight"])


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk", b"\x80\x04junk"])
def test_a_damaged_file_of_torch_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(MedsegError, match=r"model.pt cannot be read as plain weights") as refused:
        load_weights(network(), tmp_path / "model.pt")
    assert "\n" not in str(refused.value)


def test_a_parameter_with_two_names_needs_one_of_them_in_the_file(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 3)
            self.second = self.first

    save_file({"first.weight": torch.ones(3, 2), "first.bias": torch.zeros(3)}, tmp_path / "one.safetensors")
    network = load_weights(Twice(), tmp_path / "one.safetensors")
    assert torch.equal(network.second.weight, torch.ones(3, 2))


@pytest.mark.parametrize(
    ("change_weights", "reason"),
    [
        (lambda state: state.pop("0.bias"), "1 missing (first: 0.bias)"),
        (lambda state: state.update(extra=torch.ones(1)), "1 unexpected (first: extra)"),
        (lambda state: state.update({"0.weight": torch.ones(2, 1, 1, 1, 1)}), "1 of another shape (first: 0.weight)"),
    ],
    ids=["missing", "unexpected", "of another shape"],
)
def test_weights_that_do_not_fit_are_refused_and_never_loaded_partly(tmp_path, change_weights, reason):
    state = weights()
    change_weights(state)
    save_file(state, tmp_path / "model.safetensors")
    target = network()
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(BundleError) as refusal:
        load_weights(target, tmp_path / "model.safetensors")
    assert f"model.safetensors does not fit the network: parameters {reason}" in str(refusal.value)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100])
def test_damaged_weights_are_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=r"model.safetensors cannot be read as safetensors"):
        load_weights(network(), tmp_path / "model.safetensors")


def test_weights_cut_short_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BundleError, match=r"model.safetensors cannot be read as safetensors"):
        load_weights(network(), path)


def test_missing_weights_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(BundleError, match=r"no trained weights at model.safetensors: train the bundle"):
        load_weights(network(), tmp_path / "model.safetensors")


def test_a_section_of_settings_is_a_mapping_or_refused(bundle):
    assert parse_settings(bundle, "network_def")["strides"] == [2]
    for section in ("nothing", "roi_size"):
        with pytest.raises(BundleError, match=f"bundle tiny has no section '{section}'"):
            parse_settings(bundle, section)


def test_the_hash_is_that_of_the_file(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("key", ["1", "yes", "null", "1.5", "2001-01-01"])
def test_a_key_that_is_no_text_is_refused(folder, key):
    path = folder / "configs" / "inference.yaml"
    path.write_text(f"{path.read_text()}\n{key}: 1\n")
    with pytest.raises(BundleError, match="which is no text"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "aliases",
    [
        "x: &x [*x]\n",
        "x0: &x0 [1, 1, 1, 1]\n" + "".join(f"x{n + 1}: &x{n + 1} [*x{n}, *x{n}, *x{n}, *x{n}]\n" for n in range(20)),
    ],
)
def test_a_configuration_that_grows_without_a_bound_is_refused(folder, aliases):
    path = folder / "configs" / "inference.yaml"
    path.write_text(f"{path.read_text()}\n{aliases}")
    with pytest.raises(BundleError, match="take out its YAML aliases"):
        load_bundle(folder)
