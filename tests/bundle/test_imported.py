"""Weights of others become a folder that builds the same network again."""

import json

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from safetensors.torch import load_file, save_file

from medseg.bundle import import_weights, load_weights
from medseg.errors import OutputError, SettingsError
from medseg.networks import load_released
from medseg.networks.checkpoints import WeightsError

GOLDEN = {
    "swin_unetr": "swin_unetr",
    "transunet": "transunet",
    "ds_transunet": "ds_transunet",
    "dformer": "dformer",
    "att_swin_unet": "attswinunet",
}


@pytest.fixture(scope="module")
def swin_unetr(tmp_path_factory):
    """A file of MONAI's own, with settings that are nobody's default."""
    torch.manual_seed(0)
    network = MonaiSwinUNETR(
        in_channels=2, out_channels=5, feature_size=12, depths=(1, 2, 1, 1), num_heads=(2, 4, 6, 8), window_size=5
    )
    path = tmp_path_factory.mktemp("weights") / "theirs.pt"
    torch.save({"state_dict": network.state_dict()}, path)
    return path


def build(folder):
    """The network as a bundle would build it from what was written."""
    parser = ConfigParser(ConfigParser.load_config_file(folder / "configs" / "network.yaml"))
    return load_weights(parser.get_parsed_content("network_def"), folder / "models" / "model.safetensors").eval()


@torch.no_grad()
@pytest.mark.parametrize("network", sorted(GOLDEN))
def test_the_folder_builds_the_network_that_the_authors_released(network, test_golden, tmp_path):
    weights, config = (test_golden / f"{GOLDEN[network]}{suffix}" for suffix in (".safetensors", ".json"))
    imported = import_weights(network, weights, tmp_path, config=config)
    stored = {key: value for key, value in load_file(weights).items() if not key.startswith("__")}
    counts = imported.report.counts
    assert sum(counts.values()) == len(stored)
    assert counts["missing"] == counts["interpolated"] == 0
    image = load_file(weights)["__input__"].float()
    expected, _ = load_released(network, weights, json.loads(config.read_text())["config"])
    torch.testing.assert_close(build(tmp_path)(image), expected(image))


@torch.no_grad()
def test_merging_is_legacy_unless_told_otherwise(test_golden, swin_unetr, tmp_path):
    assert import_weights("swin_unetr", swin_unetr, tmp_path / "a").merging == "legacy"
    assert import_weights("swin_unetr", swin_unetr, tmp_path / "b", merging="current").merging == "current"
    image = torch.randn(1, 2, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(build(tmp_path / "a")(image), build(tmp_path / "b")(image), atol=1e-3)

    golden = test_golden / "swin_unetr.safetensors"
    tensors = load_file(golden)
    import_weights("swin_unetr", golden, tmp_path / "c")
    found = build(tmp_path / "c")(tensors["__input__"].float())
    torch.testing.assert_close(found, tensors["__output_legacy_merging__"].float(), atol=1e-3, rtol=1e-3)


def test_the_shapes_of_a_swin_unetr_tell_its_settings(swin_unetr, tmp_path):
    import_weights("swin_unetr", swin_unetr, tmp_path)
    config = build(tmp_path).config
    assert (config.in_channels, config.out_channels, config.feature_size) == (2, 5, 12)
    assert (config.depths, config.num_heads, config.attn_window) == ((1, 2, 1, 1), (2, 4, 6, 8), 5)


def test_the_report_names_every_key_and_no_folder(swin_unetr, tmp_path):
    import_weights("swin_unetr", swin_unetr, tmp_path)
    text = (tmp_path / "import_report.json").read_text()
    report = json.loads(text)
    assert report["counts"]["missing"] == 0
    assert len(report["source"]["sha256"]) == 64
    assert str(tmp_path) not in text


def test_a_result_is_not_replaced_unless_asked(swin_unetr, tmp_path):
    import_weights("swin_unetr", swin_unetr, tmp_path)
    with pytest.raises(OutputError, match="exists"):
        import_weights("swin_unetr", swin_unetr, tmp_path)
    import_weights("swin_unetr", swin_unetr, tmp_path, overwrite=True)


def test_an_unexplained_key_is_refused_and_nothing_is_written(swin_unetr, tmp_path):
    state = torch.load(swin_unetr, weights_only=True)["state_dict"] | {"surprise.weight": torch.zeros(1)}
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"Unexpected: surprise\.weight"):
        import_weights("swin_unetr", tmp_path / "odd.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("network", "extra", "reason"),
    [
        ("unet", {}, "no importer for the network 'unet'"),
        ("dformer", {"merging": "legacy"}, "one order of patch merging"),
        ("swin_unetr", {"config": "brats20"}, "neither a file nor a published setting of swin_unetr.*brats21, btcv"),
        ("swin_unetr", {"start": "imagenet"}, "has no start weights named 'imagenet': choose one of self_supervised"),
    ],
)
def test_what_makes_no_sense_is_refused(swin_unetr, tmp_path, network, extra, reason):
    extra = {"config": "brats21"} | extra if "start" in extra else extra
    with pytest.raises(SettingsError, match=reason):
        import_weights(network, swin_unetr, tmp_path, **extra)


def test_a_start_fills_its_part_and_leaves_the_rest_alike_each_time(tmp_path):
    torch.manual_seed(0)
    encoder = MonaiSwinUNETR(in_channels=1, out_channels=14, feature_size=48).swinViT.state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in encoder.items()}}, tmp_path / "vit.pt")
    first, second = (
        import_weights("swin_unetr", tmp_path / "vit.pt", tmp_path / name, config="btcv", start="self_supervised")
        for name in "ab"
    )
    assert first.report.counts["missing"] > 0
    states = [load_file(imported.files[0]) for imported in (first, second)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    torch.testing.assert_close(states[0]["swinViT.patch_embed.proj.weight"], encoder["patch_embed.proj.weight"])
