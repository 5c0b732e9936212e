"""Every key of an Att-SwinU-Net release finds its place, and Swin-T starts encoder and decoder."""

import json

import pytest
import torch
from safetensors.torch import load_file

from medseg.errors import SettingsError
from medseg.networks.att_swin_unet import AttSwinUNet, AttSwinUNetConfig
from medseg.networks.checkpoints import WeightsError, load_released, load_start
from medseg.networks.checkpoints.att_swin_unet import config_from_release

DIM = 4  # embedding of the small Swin-T used here; everything else is as published
HEADS = (1, 2, 2, 4)
DEPTHS = (2, 2, 6, 2)


def table_of_offsets(window: int) -> torch.Tensor:
    """(N, N) row of the bias table, number by number."""
    places = [(i, j) for i in range(window) for j in range(window)]
    across = 2 * window - 1
    return torch.tensor([[(a - c + window - 1) * across + b - d + window - 1 for c, d in places] for a, b in places])


def shift_masks(side: int, window: int) -> torch.Tensor:
    """(W, N, N) of a square map rolled by half a window: −100 between tokens of different regions."""
    edges = [0, side - window, side - window // 2, side]
    region = torch.empty(side, side)
    for i in range(3):
        for j in range(3):
            region[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] = 3 * i + j
    windows = region.unfold(0, window, window).unfold(1, window, window).reshape(-1, window * window)
    return (windows[:, :, None] != windows[:, None, :]).float() * -100


def swin_classifier(*, side: int = 224, window: int = 7, depths=DEPTHS) -> dict[str, torch.Tensor]:
    """A Swin-T classifier with Microsoft's key names and random weights, ``DIM`` wide, for images of ``side``."""
    shapes = {
        "patch_embed.proj.weight": (DIM, 3, 4, 4), "patch_embed.proj.bias": (DIM,),
        "patch_embed.norm.weight": (DIM,), "patch_embed.norm.bias": (DIM,),
        "norm.weight": (8 * DIM,), "norm.bias": (8 * DIM,),
        "head.weight": (1000, 8 * DIM), "head.bias": (1000,),
    }  # fmt: skip
    tables = {}
    for stage, depth in enumerate(depths):
        dim, tokens = DIM * 2**stage, side // (4 * 2**stage)
        used = min(window, tokens)
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            shapes |= {
                f"{block}.norm1.weight": (dim,), f"{block}.norm1.bias": (dim,),
                f"{block}.attn.relative_position_bias_table": ((2 * used - 1) ** 2, HEADS[stage]),
                f"{block}.attn.qkv.weight": (3 * dim, dim), f"{block}.attn.qkv.bias": (3 * dim,),
                f"{block}.attn.proj.weight": (dim, dim), f"{block}.attn.proj.bias": (dim,),
                f"{block}.norm2.weight": (dim,), f"{block}.norm2.bias": (dim,),
                f"{block}.mlp.fc1.weight": (4 * dim, dim), f"{block}.mlp.fc1.bias": (4 * dim,),
                f"{block}.mlp.fc2.weight": (dim, 4 * dim), f"{block}.mlp.fc2.bias": (dim,),
            }  # fmt: skip
            tables[f"{block}.attn.relative_position_index"] = table_of_offsets(used)
            if index % 2 and tokens > window:
                tables[f"{block}.attn_mask"] = shift_masks(tokens, window)
        if stage < len(depths) - 1:
            reduction = f"layers.{stage}.downsample"
            shapes |= {
                f"{reduction}.reduction.weight": (2 * dim, 4 * dim),
                f"{reduction}.norm.weight": (4 * dim,), f"{reduction}.norm.bias": (4 * dim,),
            }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()} | tables


def small_network(**changes) -> AttSwinUNet:
    values = {"in_channels": 3, "out_channels": 1, "embed_dim": DIM, "num_heads": HEADS, "cross_head_dim": 2}
    return AttSwinUNet({**values, **changes})


def golden(folder):
    weights = load_file(folder / "attswinunet.safetensors")
    weights = {key: value.float() if value.dtype == torch.float16 else value for key, value in weights.items()}
    return weights, json.loads((folder / "attswinunet.json").read_text())


def logits_of_release(folder, *, without: str = "nothing", **settings):
    """Logits of the golden weights at these settings, the golden values and how far apart they may be."""
    weights, facts = golden(folder)
    state = {key: value for key, value in weights.items() if without not in key}
    model, _ = load_released("att_swin_unet", state, {**facts["config"], **settings})
    with torch.no_grad():
        return model(weights["__input__"]), weights, {"atol": facts["suggested_atol"], "rtol": facts["suggested_rtol"]}


@pytest.mark.parametrize(("settings", "name"), [
    ({"skip_num": "1"}, "__output_skip1__"),
    ({"mode": "swin", "spatial_attention": "1"}, "__output_swin_double__"),
    ({"mode": "swin", "spatial_attention": "0"}, "__output_swin_single__"),
    ({"spatial_attention": "0", "operationaddatten": "mul"}, "__output__"),
])  # fmt: skip
def test_every_mode_of_the_release_gives_its_logits(test_golden, settings, name):
    logits, expected, tolerance = logits_of_release(test_golden, **settings)
    torch.testing.assert_close(logits, expected[name], **tolerance)


def test_weights_of_the_plain_mode_need_no_cross_attention(test_golden):
    logits, expected, tolerance = logits_of_release(test_golden, without="Crossvit", mode="swin", spatial_attention="0")
    torch.testing.assert_close(logits, expected["__output_swin_single__"], **tolerance)


def test_unused_keys_of_the_release_are_named(test_golden):
    weights, facts = golden(test_golden)
    _, report = load_released("att_swin_unet", weights, facts["config"])
    assert sorted(report.unused) == sorted(facts["unused_parameters_zero_gradient"])
    _, report = load_released("att_swin_unet", weights, {**facts["config"], "skip_num": "2"})
    crossing = {key for key in report.unused if "Crossvit" in key}
    assert crossing == {key for key in weights if key.startswith("decoder.Crossvit_layer.0.")}


@pytest.mark.parametrize("table", ["relative_position_index", "attn_mask"])
def test_a_damaged_table_is_refused(test_golden, table):
    weights, facts = golden(test_golden)
    key = next(key for key in weights if key.startswith("decoder.layers_up.2.") and key.endswith(table))
    weights[key] = weights[key].flip(-1)
    with pytest.raises(WeightsError, match=f"{table} holds other values"):
        load_released("att_swin_unet", weights, facts["config"])


@pytest.mark.parametrize(("settings", "ours"), [
    ({}, {}),
    ({"num_classes": 2}, {"out_channels": 2}),
    ({"embed_dim": 48}, {"embed_dim": 48}),
    ({"depths": [2, 2, 2, 2]}, {"depths": (2, 2, 2, 2)}),
    ({"num_heads": [4, 8, 16, 32]}, {"num_heads": (4, 8, 16, 32)}),
    ({"window_size": 14}, {"attn_windows": (14, 14, 14, 7)}),
    ({"image_size": 64, "window_size": 4}, {"attn_windows": (4, 4, 4, 2)}),
    ({"patch_size": 2, "image_size": 112}, {"patch_size": 2}),
    ({"mlp_ratio": 2}, {"mlp_ratio": 2.0}),
    ({"mode": "swin"}, {"cross_skips": 0, "skip_fusions": 2}),
    ({"mode": "swin", "spatial_attention": "0"}, {"cross_skips": 0}),
    ({"spatial_attention": "0"}, {}),
    ({"operationaddatten": "mul"}, {}),
    ({"skip_num": "1"}, {"cross_skips": 1}),
    ({"skip_num": "2"}, {"cross_skips": 2}),
    ({"skip_num": 3}, {"cross_skips": 0}),
    ({"crossvit": {"depth": 1}}, {"cross_depth": 1}),
    ({"crossvit": {"heads": 4, "dim_head": 32}}, {"cross_heads": 4, "cross_head_dim": 32}),
])  # fmt: skip
def test_every_released_setting_is_live_unless_the_release_drops_its_result(settings, ours):
    published = AttSwinUNetConfig.tiny_7_224().model_copy(update={"variant": "released"})
    assert config_from_release(settings) == published.model_copy(update=ours)


@pytest.mark.parametrize(("settings", "message"), [
    ({"img_size": 224}, "unknown settings img_size"),
    ({"crossvit": {"depht": 2}}, "depht"),
    ({"mode": "cross"}, "mode"),
    ({"spatial_attention": 1}, "spatial_attention"),
    ({"image_size": 100}, "no multiple of 32"),
])  # fmt: skip
def test_settings_the_release_does_not_know_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        config_from_release(settings)


def test_swin_tiny_starts_the_encoder_and_the_blocks_of_the_decoder():
    state, model = swin_classifier(), small_network()
    report = load_start("att_swin_unet", model, state, start="imagenet")
    ours = model.state_dict()
    assert (len(report.loaded) + len(report.derived), sorted(report.unused)) == (188, ["head.bias", "head.weight"])
    assert torch.equal(ours["embedding.proj.weight"], state["patch_embed.proj.weight"])
    assert torch.equal(ours["merging.2.reduction.weight"], state["layers.2.downsample.reduction.weight"])
    for part in ("encoder", "decoder"):
        assert torch.equal(ours[f"{part}.2.blocks.5.mlp.linear2.bias"], state["layers.2.blocks.5.mlp.fc2.bias"])
    untouched = {key.split(".")[0] for key in report.not_started}
    assert untouched == {"expanding", "joining", "norm_up", "up", "logits"}


def test_a_network_of_other_sizes_gets_swin_tiny_adapted(caplog):
    state = swin_classifier()
    model = small_network(in_channels=1, patch_size=2, attn_windows=(8, 7, 7, 4), depths=(2, 3, 1, 2))
    report = load_start("att_swin_unet", model, state, start="imagenet")
    blocks = {".".join(key.split(".")[:4]) for key in report.not_started if ".blocks." in key}
    assert blocks == {"encoder.1.blocks.2", "decoder.1.blocks.2"}
    assert "layers.2.blocks.1.norm1.weight" in report.unused
    table = model.state_dict()["encoder.1.blocks.1.attn.relative_position_bias_table"]
    assert torch.equal(table, state["layers.1.blocks.1.attn.relative_position_bias_table"])
    assert "interpolated to 8" in caplog.text
    assert "mean of 3 channels" in caplog.text


def test_a_swin_tiny_without_a_stage_is_refused_and_changes_nothing():
    state = {key: value for key, value in swin_classifier().items() if not key.startswith("layers.1.blocks.1.")}
    model = small_network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(WeightsError, match="Missing"):
        load_start("att_swin_unet", model, state, start="imagenet")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
