"""Every key of a TransUNet release finds its place, and Google's ViT file starts the encoder."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.errors import SettingsError
from medseg.networks.checkpoints import WeightsError, load_released, load_start
from medseg.networks.checkpoints.adapt import positions_for_side
from medseg.networks.checkpoints.transunet import config_from_release
from medseg.networks.transunet import TransUNet, TransUNetConfig

SETTINGS = {
    "img_size": 32, "hidden_size": 24, "mlp_dim": 48, "num_heads": 3, "num_layers": 2, "resnet_layers": [1, 2, 1],
    "width_factor": 0.5, "decoder_channels": [16, 8, 8, 4], "skip_channels": [256, 128, 32, 16], "n_skip": 3,
    "n_classes": 3,
}  # fmt: skip
GRID = 2  # 16-pixel tokens along the side of a 32-pixel slice
SKIPS = (256, 128, 32)


def normalisation(name: str, channels: int, *, running: bool = False) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
    if running:
        shapes |= {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


def linear(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def released_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the authors' network at ``SETTINGS``, written down from their naming."""
    resnet = "transformer.embeddings.hybrid_model"
    shapes = {f"{resnet}.root.conv.weight": (32, 3, 7, 7), **normalisation(f"{resnet}.root.gn", 32)}
    into = 32
    for stage, units in enumerate(SETTINGS["resnet_layers"], start=1):
        out = 64 * 2**stage
        for unit in range(1, units + 1):
            name = f"{resnet}.body.block{stage}.unit{unit}"
            shapes |= {
                f"{name}.conv1.weight": (out // 4, into, 1, 1),
                f"{name}.conv2.weight": (out // 4, out // 4, 3, 3),
                f"{name}.conv3.weight": (out, out // 4, 1, 1),
                **normalisation(f"{name}.gn1", out // 4),
                **normalisation(f"{name}.gn2", out // 4),
                **normalisation(f"{name}.gn3", out),
            }
            if unit == 1:
                shapes |= {f"{name}.downsample.weight": (out, into, 1, 1), **normalisation(f"{name}.gn_proj", out)}
            into = out
    shapes["transformer.embeddings.position_embeddings"] = (1, GRID**2, 24)
    shapes["transformer.embeddings.patch_embeddings.weight"] = (24, 512, 1, 1)
    shapes["transformer.embeddings.patch_embeddings.bias"] = (24,)
    for index in range(2):
        layer = f"transformer.encoder.layer.{index}"
        shapes |= normalisation(f"{layer}.attention_norm", 24) | normalisation(f"{layer}.ffn_norm", 24)
        shapes |= linear(f"{layer}.ffn.fc1", 24, 48) | linear(f"{layer}.ffn.fc2", 48, 24)
        for part in ("query", "key", "value", "out"):
            shapes |= linear(f"{layer}.attn.{part}", 24, 24)
    shapes |= normalisation("transformer.encoder.encoder_norm", 24)
    return shapes | released_decoder_shapes()


def released_decoder_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {"decoder.conv_more.0.weight": (512, 24, 3, 3), **normalisation("decoder.conv_more.1", 512, running=True)}
    below = 512
    for index, (out, skip) in enumerate(zip(SETTINGS["decoder_channels"], (*SKIPS, 0), strict=True)):
        for number, into in ((1, below + skip), (2, out)):
            name = f"decoder.blocks.{index}.conv{number}"
            shapes |= {f"{name}.0.weight": (out, into, 3, 3), **normalisation(f"{name}.1", out, running=True)}
        below = out
    return shapes | {"segmentation_head.0.weight": (3, below, 3, 3), "segmentation_head.0.bias": (3,)}


def filled_with_numbers(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.rand(shape, generator=generator) + 0.5 for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def release():
    return filled_with_numbers(released_shapes())


def test_every_released_key_is_loaded(release):
    network, report = load_released("transunet", release, SETTINGS)
    assert set(report.loaded) == set(release)
    assert report.not_started == ()
    assert set(report.loaded.values()) == set(network.state_dict())
    assert report.parameters == sum(value.numel() for value in release.values())
    assert torch.isfinite(network(torch.zeros(1, 1, 32, 32))).all()


def test_released_tensors_keep_their_numbers(release):
    ours = load_released("transunet", release, SETTINGS)[0].state_dict()
    layer = "transformer.encoder.layer.1.attn"
    stacked = torch.cat([release[f"{layer}.{part}.weight"] for part in ("query", "key", "value")])
    assert torch.equal(ours["transformer.1.attention.qkv.weight"], stacked)
    second_unit = "transformer.embeddings.hybrid_model.body.block2.unit2.conv2.weight"
    assert torch.equal(ours["resnet.stages.1.1.spatial.weight"], release[second_unit])
    assert torch.equal(ours["decoder.blocks.2.1.1.running_var"], release["decoder.blocks.2.conv2.1.running_var"])


def test_a_missing_value_layer_is_reported(release):
    short = {key: value for key, value in release.items() if ".1.attn.value." not in key}
    with pytest.raises(WeightsError, match=r"Missing: transformer\.1\.attention\.qkv\.bias.*Unexpected: .*attn\.key"):
        load_released("transunet", short, SETTINGS)


def test_weights_of_another_image_size_are_refused(release):
    with pytest.raises(WeightsError, match=r"position_embeddings \(1, 4, 24\) for \(1, 9, 24\)"):
        load_released("transunet", release, {**SETTINGS, "img_size": 48})


@pytest.mark.parametrize(
    ("setting", "value", "ours", "expected"),
    [
        ("img_size", 64, "image_size", 64),
        ("hidden_size", 36, "embed_dim", 36),
        ("mlp_dim", 96, "mlp_dim", 96),
        ("num_heads", 4, "heads", 4),
        ("num_layers", 3, "depth", 3),
        ("resnet_layers", [3, 4, 6], "resnet_units", (3, 4, 6)),
        ("decoder_channels", [8, 8, 4, 4], "decoder_channels", (8, 8, 4, 4)),
        ("n_skip", 1, "skips", 1),
        ("n_classes", 5, "out_channels", 5),
    ],
)
def test_every_released_setting_reaches_its_own(setting, value, ours, expected):
    assert getattr(config_from_release({**SETTINGS, setting: value}), ours) == expected


def test_width_factor_scales_the_resnet():
    assert config_from_release({**SETTINGS, "width_factor": 1, "skip_channels": [512, 256, 64, 16]}).resnet_width == 64


@pytest.mark.parametrize("skip_channels", [[256, 128, 0, 0], [256, 128, 32, 16]])
def test_skip_channels_beyond_n_skip_are_not_read(skip_channels):
    assert config_from_release({**SETTINGS, "n_skip": 2, "skip_channels": skip_channels}).skip_channels == (256, 128)


def test_skip_channels_the_resnet_does_not_have_are_refused():
    with pytest.raises(SettingsError, match=r"begins with \[512, 256, 64\], expected \[256, 128, 32\]"):
        config_from_release({**SETTINGS, "skip_channels": [512, 256, 64, 16]})


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(SettingsError, match="unknown settings patches_grid"):
        config_from_release({**SETTINGS, "patches_grid": 14})


def test_no_settings_are_the_published_ones():
    assert config_from_release({}) == TransUNetConfig.r50_vit_b16()


def google_arrays(*, colours: int = 3, side: int = GRID) -> dict[str, np.ndarray]:
    """A Google ViT file with small shapes: kernels end in the output axis, heads have an axis of their own."""
    shapes = {
        "cls": (1, 1, 24), "head/kernel": (24, 10), "head/bias": (10,), "pre_logits/kernel": (24, 24),
        "pre_logits/bias": (24,), "conv_root/kernel": (7, 7, colours, 32), "gn_root/scale": (1, 1, 1, 32),
        "gn_root/bias": (1, 1, 1, 32), "embedding/kernel": (1, 1, 512, 24), "embedding/bias": (24,),
        "Transformer/posembed_input/pos_embedding": (1, 1 + side**2, 24), "Transformer/encoder_norm/scale": (24,),
        "Transformer/encoder_norm/bias": (24,),
    }  # fmt: skip
    into = 32
    for stage, units in enumerate(SETTINGS["resnet_layers"], start=1):
        out = 64 * 2**stage
        for unit in range(1, units + 1):
            name = f"block{stage}/unit{unit}"
            kernels = {"conv1": (1, into, out // 4), "conv2": (3, out // 4, out // 4), "conv3": (1, out // 4, out)}
            scales = {"gn1": out // 4, "gn2": out // 4, "gn3": out}
            if unit == 1:
                kernels["conv_proj"], scales["gn_proj"] = (1, into, out), out
            for layer, (side_length, *channels) in kernels.items():
                shapes[f"{name}/{layer}/kernel"] = (side_length, side_length, *channels)
            for layer, channels in scales.items():
                shapes |= {f"{name}/{layer}/{part}": (1, 1, 1, channels) for part in ("scale", "bias")}
            into = out
    for index in range(2):
        layer = f"Transformer/encoderblock_{index}"
        attention = f"{layer}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes |= {f"{attention}/{part}/kernel": (24, 3, 8), f"{attention}/{part}/bias": (3, 8)}
        shapes |= {f"{attention}/out/kernel": (3, 8, 24), f"{attention}/out/bias": (24,)}
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{layer}/{norm}/{part}": (24,) for part in ("scale", "bias")}
        shapes |= {f"{layer}/MlpBlock_3/Dense_0/kernel": (24, 48), f"{layer}/MlpBlock_3/Dense_0/bias": (48,)}
        shapes |= {f"{layer}/MlpBlock_3/Dense_1/kernel": (48, 24), f"{layer}/MlpBlock_3/Dense_1/bias": (24,)}
    random = np.random.default_rng(0)
    return {key: random.random(shape, dtype=np.float32) for key, shape in shapes.items()}


def network_at_settings(**changes) -> TransUNet:
    return TransUNet(config_from_release(SETTINGS).model_copy(update=changes))


def test_a_google_file_starts_encoder_and_transformer(tmp_path):
    arrays = google_arrays()
    np.savez(tmp_path / "R50+ViT-B_16.npz", **arrays)
    network = network_at_settings()
    report = load_start("transunet", network, tmp_path / "R50+ViT-B_16.npz", start="imagenet")
    assert set(report.loaded) | set(report.unused) == set(arrays)
    assert set(report.unused) == {"cls", "head/kernel", "head/bias", "pre_logits/kernel", "pre_logits/bias"}
    assert all(name.startswith(("decoder.", "head.")) for name in report.not_started)
    assert all(name.startswith(("decoder.", "head.")) is (name in report.not_started) for name in network.state_dict())


@torch.no_grad()
def test_google_arrays_compute_the_same_in_our_layout(tmp_path):
    arrays = google_arrays()
    network = network_at_settings()
    load_start("transunet", network, {key: torch.from_numpy(value) for key, value in arrays.items()}, start="imagenet")

    token = np.random.default_rng(1).random(24, dtype=np.float32)
    attention = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    keys = np.einsum("i,ihd->hd", token, arrays[f"{attention}/key/kernel"]) + arrays[f"{attention}/key/bias"]
    ours = network.transformer[1].attention
    np.testing.assert_allclose(ours.qkv(torch.from_numpy(token))[24:48], keys.ravel(), rtol=1e-5)

    heads = keys.astype(np.float32)
    mixed = np.einsum("hd,hdo->o", heads, arrays[f"{attention}/out/kernel"]) + arrays[f"{attention}/out/bias"]
    np.testing.assert_allclose(ours.proj(torch.from_numpy(heads.ravel())), mixed, rtol=1e-5)

    kernel = arrays["block1/unit1/conv2/kernel"]
    assert network.resnet.stages[0][0].spatial.weight[5, 7, 0, 2] == kernel[0, 2, 7, 5]
    positions = arrays["Transformer/posembed_input/pos_embedding"]
    np.testing.assert_array_equal(network.embedding.positions, positions[:, 1:])


@torch.no_grad()
def test_a_start_for_colour_and_another_size_is_adapted_and_says_so(caplog):
    arrays = {key: torch.from_numpy(value) for key, value in google_arrays(side=3).items()}
    network = network_at_settings(in_channels=4)
    load_start("transunet", network, arrays, start="imagenet")
    root = network.resnet.root[0].weight
    torch.testing.assert_close(root[:, 2], arrays["conv_root/kernel"].mean(dim=2).permute(2, 0, 1) * 3 / 4)
    assert "mean of 3 channels is used for each of 4" in caplog.text
    assert "learned on 3×3 tokens, interpolated to 2×2" in caplog.text


def timm_state() -> dict[str, torch.Tensor]:
    """The same sizes under the names of timm's hybrid Vision Transformers, in PyTorch's layout."""
    shapes = {"cls_token": (1, 1, 24), "pos_embed": (1, 1 + GRID**2, 24), "patch_embed.proj.weight": (24, 512, 1, 1)}
    stem = "patch_embed.backbone.stem"
    shapes |= {f"{stem}.conv.weight": (32, 3, 7, 7), f"{stem}.norm.weight": (32,), f"{stem}.norm.bias": (32,)}
    shapes |= {"patch_embed.proj.bias": (24,), "norm.weight": (24,), "norm.bias": (24,), "head.weight": (10, 24)}
    into = 32
    for stage, units in enumerate(SETTINGS["resnet_layers"]):
        out = 128 * 2**stage
        for unit in range(units):
            name = f"patch_embed.backbone.stages.{stage}.blocks.{unit}"
            layers = {"1": (out // 4, into, 1), "2": (out // 4, out // 4, 3), "3": (out, out // 4, 1)}
            for number, (channels, source, side) in layers.items():
                shapes[f"{name}.conv{number}.weight"] = (channels, source, side, side)
                shapes |= {f"{name}.norm{number}.{part}": (channels,) for part in ("weight", "bias")}
            if unit == 0:
                shapes[f"{name}.downsample.conv.weight"] = (out, into, 1, 1)
                shapes |= {f"{name}.downsample.norm.{part}": (out,) for part in ("weight", "bias")}
            into = out
    for index in range(2):
        layers = {"attn.qkv": (72, 24), "attn.proj": (24, 24), "mlp.fc1": (48, 24), "mlp.fc2": (24, 48)}
        for layer, shape in layers.items():
            shapes |= {f"blocks.{index}.{layer}.weight": shape, f"blocks.{index}.{layer}.bias": shape[:1]}
        shapes |= {f"blocks.{index}.norm{n}.{part}": (24,) for n in (1, 2) for part in ("weight", "bias")}
    generator = torch.Generator().manual_seed(0)
    return {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}


def test_timm_s_names_start_the_same_parts():
    state, network = timm_state(), network_at_settings()
    report = load_start("transunet", network, state, start="imagenet")
    assert set(report.unused) == {"cls_token", "head.weight"}
    assert set(report.loaded) | set(report.unused) == set(state)
    assert all(name.startswith(("decoder.", "head.")) for name in report.not_started)
    unit = network.resnet.stages[1][0]
    name = "patch_embed.backbone.stages.1.blocks.0"
    assert torch.equal(unit.spatial.weight, state[f"{name}.conv2.weight"])
    assert torch.equal(unit.shortcut[1].bias, state[f"{name}.downsample.norm.bias"])
    assert torch.equal(network.transformer[1].mlp_norm.weight, state["blocks.1.norm2.weight"])
    assert report.interpolated == ()


def test_the_report_counts_what_was_interpolated():
    arrays = {key: torch.from_numpy(value) for key, value in google_arrays(side=3).items()}
    report = load_start("transunet", network_at_settings(in_channels=4), arrays, start="imagenet")
    assert set(report.interpolated) == {"conv_root/kernel", "Transformer/posembed_input/pos_embedding"}
    keys = sum(number for name, number in report.counts.items() if name != "missing")
    assert keys == len(arrays)


def test_a_google_file_with_other_units_is_refused():
    arrays = {key: torch.from_numpy(value) for key, value in google_arrays().items()}
    with pytest.raises(WeightsError, match=r"Unexpected: block2/unit2"):
        load_start("transunet", network_at_settings(resnet_units=(1, 1, 1)), arrays, start="imagenet")


def test_positions_are_zoomed_as_the_authors_zoom_them():
    positions = torch.randn(1, 14 * 14, 3, generator=torch.Generator().manual_seed(0))
    grid = positions.reshape(14, 14, 3).numpy()
    expected = ndimage.zoom(grid, (20 / 14, 20 / 14, 1), order=1)
    found = positions_for_side(positions, 20).reshape(20, 20, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 weights against float64 ones


def test_positions_of_no_square_are_refused():
    with pytest.raises(WeightsError, match="12 tokens: a square grid was expected"):
        positions_for_side(torch.zeros(1, 12, 3), 4)
