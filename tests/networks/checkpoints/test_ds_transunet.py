"""Every key of a DS-TransUNet release finds its place, and Microsoft's Swin classifiers start its encoders."""

import pytest
import torch

from medseg.errors import SettingsError
from medseg.networks.checkpoints import WeightsError, load_released, load_start
from medseg.networks.checkpoints.adapt import patch_kernel_for_size, table_for_window, table_window
from medseg.networks.checkpoints.ds_transunet import config_from_release, settle
from medseg.networks.ds_transunet import DSTransUNet, DSTransUNetConfig

SETTINGS = {
    "gn_groups": 4, "dim": 16, "n_class": 2, "dim_l": 16, "dim_s": 6, "depths_l": [1, 2, 1, 1], "heads_l": [1, 2, 4, 8],
    "depths_s": [1, 1, 1, 1], "heads_s": [1, 2, 3, 6], "in_channels": 1, "window_size": 3,
}  # fmt: skip
DECODER_WINDOW = 4  # unlike the encoders': no released setting names it


class Names:
    """The authors' keys and shapes, written down from their naming; ``tables`` are derived, not trained."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.tables: dict[str, torch.Tensor] = {}

    def layer(self, name: str, *weight: int, bias: bool = True) -> None:
        self.shapes[f"{name}.weight"] = weight
        if bias:
            self.shapes[f"{name}.bias"] = weight[:1]

    def swin_block(self, name: str, dim: int, heads: int, window: int) -> None:
        self.layer(f"{name}.norm1", dim)
        self.shapes[f"{name}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
        self.tables[f"{name}.attn.relative_position_index"] = offsets(window)
        self.layer(f"{name}.attn.qkv", 3 * dim, dim)
        self.layer(f"{name}.attn.proj", dim, dim)
        self.layer(f"{name}.norm2", dim)
        self.layer(f"{name}.mlp.fc1", 4 * dim, dim)
        self.layer(f"{name}.mlp.fc2", dim, 4 * dim)

    def swin_encoder(self, name: str, sizes: tuple[int, int, int], *, branch: str, window: int) -> None:
        dim, patch, channels = sizes
        self.layer(f"{name}patch_embed.proj", dim, channels, patch, patch)
        self.layer(f"{name}patch_embed.norm", dim)
        for stage, (depth, heads) in enumerate(
            zip(SETTINGS[f"depths_{branch}"], SETTINGS[f"heads_{branch}"], strict=True)
        ):
            for block in range(depth):
                self.swin_block(f"{name}layers.{stage}.blocks.{block}", dim * 2**stage, heads, window)
            if stage < 3:
                self.layer(f"{name}layers.{stage}.downsample.norm", 4 * dim * 2**stage)
                self.layer(
                    f"{name}layers.{stage}.downsample.reduction", 2 * dim * 2**stage, 4 * dim * 2**stage, bias=False
                )

    def fusion(self, name: str, large: int, small: int) -> None:
        for branch, own, other in (("l", large, small), ("s", small, large)):
            inner, hidden = (64, 256) if branch == "l" else (96, 128)
            layer = f"{name}.transformer_{branch}.layers.0"
            self.layer(f"{layer}.0.norm", own)
            self.layer(f"{layer}.0.fn.to_qkv", 3 * inner, own, bias=False)
            if not (branch == "l" and own == 64):
                self.layer(f"{layer}.0.fn.to_out.0", own, inner)
            self.layer(f"{layer}.1.norm", own)
            self.layer(f"{layer}.1.fn.net.0", hidden, own)
            self.layer(f"{layer}.1.fn.net.3", own, hidden)
            self.layer(f"{name}.norm_{branch}", own)
            self.layer(f"{name}.linear_{branch}", other, own)

    def state(self) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {key: torch.rand(shape, generator=generator) for key, shape in self.shapes.items()} | self.tables


def offsets(window: int) -> torch.Tensor:
    """(N, N) row of the bias table for each pair of places, number by number."""
    places = [(i, j) for i in range(window) for j in range(window)]
    across = 2 * window - 1
    return torch.tensor([[(a - c + window - 1) * across + b - d + window - 1 for c, d in places] for a, b in places])


def released_state() -> dict[str, torch.Tensor]:
    names, dim = Names(), SETTINGS["dim"]
    names.swin_encoder("encoder.", (16, 4, 1), branch="l", window=3)
    names.swin_encoder("encoder2.", (6, 8, 1), branch="s", window=3)
    for level in range(4):
        large, small, fused = 16 * 2**level, 6 * 2**level, dim * 2**level
        names.layer(f"encoder.norm{level}", large)
        names.layer(f"encoder2.norm{level}", small)
        names.fusion(f"cross_att_{level + 1}", large, small)
        for index, into in ((0, large + small), (3, fused)):
            names.layer(f"change{level + 1}.conv.{index}", fused, into, 3, 3)
            names.layer(f"change{level + 1}.conv.{index + 1}", fused)
    for number, heads in ((1, 8), (2, 4), (3, 2)):
        name, half = f"layer{number}", dim * 8 // 2**number
        names.layer(f"{name}.up.up.up.1", half, 2 * half, 3, 3)
        names.layer(f"{name}.up.up.up.2", half)
        for block in range(2):
            names.swin_block(f"{name}.up.layer.blocks.{block}", half, heads, DECODER_WINDOW)
        names.layer(f"{name}.up.conv_relu.0", half // 2, half, 1, 1)
        names.layer(f"{name}.conv2.0", half // 2, half, 1, 1)
        names.layer(f"{name}.conv_relu.0", half, half, 3, 3)
    for number, out in ((4, dim // 2), (5, dim // 4)):
        names.layer(f"layer{number}.up.up.1", out, 2 * out, 3, 3)
        names.layer(f"layer{number}.up.up.2", out)
        names.layer(f"layer{number}.conv_relu.0", out, 2 * out, 3, 3)
    names.layer("down1", dim // 4, 1, 1, 1)
    for index, into in ((1, dim // 4), (4, dim // 2)):
        names.layer(f"down2.conv.{index}", dim // 2, into, 3, 3)
        names.layer(f"down2.conv.{index + 1}", dim // 2)
    for name, into in (("final", dim // 4), ("loss1.0", 8 * dim), ("loss2.0", dim)):
        names.layer(name, 2, into, 1, 1)
    return names.state()


@pytest.fixture(scope="module")
def release():
    return released_state()


def test_every_released_key_is_loaded_or_compared(release):
    network, report = load_released("ds_transunet", release, SETTINGS)
    assert set(report.derived) == {key for key in release if key.endswith("relative_position_index")}
    assert set(report.loaded) == set(release) - set(report.derived)
    assert set(report.loaded.values()) == set(network.state_dict())
    assert not report.not_started


def test_parallel_training_s_prefix_is_taken_off(release):
    prefixed = {f"module.{key}": value for key, value in release.items()}
    _, report = load_released("ds_transunet", prefixed, SETTINGS)
    assert set(report.loaded) | set(report.derived) == set(release)


def test_released_tensors_keep_their_numbers(release):
    ours = load_released("ds_transunet", release, SETTINGS)[0].state_dict()
    pairs = {
        "coarse_encoder.stages.2.0.mlp.linear2.weight": "encoder2.layers.2.blocks.0.mlp.fc2.weight",
        "interactions.1.fine_summary.weight": "cross_att_2.linear_l.weight",
        "interactions.3.coarse_layer.mlp.linear1.bias": "cross_att_4.transformer_s.layers.0.1.fn.net.0.bias",
        "swin_levels.0.narrow_skip.0.weight": "layer1.conv2.0.weight",
        "swin_levels.0.narrow.0.weight": "layer1.up.conv_relu.0.weight",
        "middle_head.weight": "loss2.0.weight",
    }
    for name, key in pairs.items():
        assert torch.equal(ours[name], release[key])


def test_the_decoder_s_window_is_read_off_the_weights(release):
    config = config_from_release(SETTINGS)
    assert (config.attn_window, config.decoder_attn_window) == (3, 7)
    assert settle(config, release).decoder_attn_window == DECODER_WINDOW


def test_an_index_table_of_another_network_is_refused(release):
    key = "encoder.layers.0.blocks.0.attn.relative_position_index"
    with pytest.raises(WeightsError, match=f"{key} holds other values"):
        load_released("ds_transunet", {**release, key: release[key].flip(0)}, SETTINGS)


def test_weights_for_another_window_are_refused(release):
    with pytest.raises(WeightsError, match=r"relative_position_index has shape \(9, 9\), expected \(49, 49\)"):
        load_released("ds_transunet", release, {**SETTINGS, "window_size": 7})


@pytest.mark.parametrize(
    ("setting", "value", "ours", "expected"),
    [
        ("gn_groups", 2, "norm_groups", 2),
        ("dim", 32, "fused_dim", 32),
        ("n_class", 5, "out_channels", 5),
        ("dim_l", 24, "fine_dim", 24),
        ("dim_s", 12, "coarse_dim", 12),
        ("depths_l", [2, 2, 4, 2], "fine_depths", (2, 2, 4, 2)),
        ("heads_l", [2, 4, 8, 16], "fine_heads", (2, 4, 8, 16)),
        ("depths_s", [1, 2, 3, 4], "coarse_depths", (1, 2, 3, 4)),
        ("heads_s", [3, 6, 12, 24], "coarse_heads", (3, 6, 12, 24)),
        ("in_channels", 4, "in_channels", 4),
        ("window_size", 5, "attn_window", 5),
    ],
)
def test_every_released_setting_reaches_its_own(setting, value, ours, expected):
    assert getattr(config_from_release({**SETTINGS, setting: value}), ours) == expected


def test_no_settings_are_the_published_ones_with_released_heads():
    assert config_from_release({}) == DSTransUNetConfig.base().model_copy(update={"variant": "released"})


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(SettingsError, match="unknown settings patch_size"):
        config_from_release({**SETTINGS, "patch_size": 4})


def swin_classifier(*, branch: str, dim: int, window: int = 3) -> dict[str, torch.Tensor]:
    """A Swin classifier with Microsoft's key names: 4×4 patches of three channels, as deep as one of our branches."""
    names = Names()
    names.swin_encoder("", (dim, 4, 3), branch=branch, window=window)
    names.layer("norm", 8 * dim)
    names.layer("head", 10, 8 * dim)
    return names.state()


def network_at_settings(**changes) -> DSTransUNet:
    return DSTransUNet(config_from_release(SETTINGS).model_copy(update={"in_channels": 3, **changes}))


def test_swin_base_starts_all_of_the_fine_encoder_but_its_level_norms():
    classifier, network = swin_classifier(branch="l", dim=16), network_at_settings()
    report = load_start("ds_transunet", network, classifier, start="imagenet_fine")
    assert set(report.unused) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert set(report.loaded) | set(report.unused) | set(report.derived) == set(classifier)
    fine = {name for name in network.state_dict() if name.startswith("fine_encoder.")}
    assert fine - set(report.loaded.values()) == {name for name in fine if ".norms." in name}
    assert torch.equal(network.fine_encoder.embedding.proj.weight, classifier["patch_embed.proj.weight"])


def test_timm_s_names_start_the_same_parts():
    theirs = swin_classifier(branch="l", dim=16)
    timms = {}
    for key, value in theirs.items():
        if ".downsample." in key:  # timm hangs it on the stage that it leads to
            stage = int(key.split(".")[1])
            timms[key.replace(f"layers.{stage}.", f"layers.{stage + 1}.")] = value
        elif not key.endswith(("relative_position_index", "attn_mask")):  # timm does not store these
            timms[key.replace("head.", "head.fc.")] = value
    ours, expected = network_at_settings(), network_at_settings()
    load_start("ds_transunet", ours, timms, start="imagenet_fine")
    report = load_start("ds_transunet", expected, theirs, start="imagenet_fine")
    for name in report.loaded.values():
        assert torch.equal(ours.state_dict()[name], expected.state_dict()[name]), name


def test_swin_tiny_starts_the_coarse_encoder_as_the_authors_do():
    classifier, network = swin_classifier(branch="s", dim=6), network_at_settings()
    report = load_start("ds_transunet", network, classifier, start="imagenet_coarse")
    assert "patch_embed.proj.weight" in report.unused
    coarse = {name for name in network.state_dict() if name.startswith("coarse_encoder.")}
    left = {name for name in coarse if ".norms." in name} | {"coarse_encoder.embedding.proj.weight"}
    assert coarse - set(report.loaded.values()) == left


def test_swin_tiny_s_patch_kernel_can_be_stretched():
    classifier, network = swin_classifier(branch="s", dim=6), network_at_settings()
    report = load_start("ds_transunet", network, classifier, start="imagenet_coarse_stretched")
    assert report.loaded["patch_embed.proj.weight"] == "coarse_encoder.embedding.proj.weight"


@torch.no_grad()
def test_a_start_for_colour_and_another_window_is_adapted_and_says_so(caplog):
    classifier, network = swin_classifier(branch="l", dim=16, window=4), network_at_settings(in_channels=1)
    load_start("ds_transunet", network, classifier, start="imagenet_fine")
    kernel = network.fine_encoder.embedding.proj.weight
    torch.testing.assert_close(kernel[:, 0], classifier["patch_embed.proj.weight"].sum(dim=1))
    assert "mean of 3 channels is used for each of 1" in caplog.text
    assert "learned for windows of 4, interpolated to 3" in caplog.text


def test_an_incomplete_classifier_is_refused():
    classifier = swin_classifier(branch="l", dim=16)
    del classifier["layers.1.blocks.1.attn.qkv.weight"]
    with pytest.raises(WeightsError, match=r"Missing: fine_encoder\.stages\.1\.1\.attn\.qkv\.weight"):
        load_start("ds_transunet", network_at_settings(), classifier, start="imagenet_fine")


def test_a_stretched_patch_kernel_answers_an_even_image_as_before():
    kernel = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(patch_kernel_for_size(kernel, (8, 8)).sum(dim=(2, 3)), kernel.sum(dim=(2, 3)))


def test_a_bias_table_keeps_its_middle_in_another_window():
    table = torch.rand(7 * 7, 2, generator=torch.Generator().manual_seed(0))  # window 4
    for window in (3, 4, 5):
        adapted = table_for_window(table, window)
        assert table_window(adapted) == window
        middle = adapted.shape[0] // 2  # the row of a token and itself
        torch.testing.assert_close(adapted[middle], table[24], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rows", [10, 16])
def test_a_bias_table_of_no_square_window_is_refused(rows):
    with pytest.raises(WeightsError, match=f"a bias table of {rows} rows"):
        table_window(torch.zeros(rows, 2))
