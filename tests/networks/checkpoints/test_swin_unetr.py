"""Swin UNETR weights as MONAI writes them, today's and older ones, give MONAI's numbers here."""

import pytest
import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import nn

from medseg.errors import SettingsError
from medseg.networks.checkpoints import WeightsError, load_released, load_start
from medseg.networks.checkpoints.swin_unetr import config_from_release
from medseg.networks.swin_unetr import SwinUNETR, SwinUNETRConfig

BASE = {"in_channels": 1, "out_channels": 2, "feature_size": 12}


def lively(network: nn.Module) -> nn.Module:
    """Random weights of a size at which every part of the network shows in the output."""
    generator = torch.Generator().manual_seed(0)
    for name, values in network.state_dict().items():
        if not values.is_floating_point():
            continue
        noise = torch.randn(values.shape, generator=generator)
        if "bias_table" in name:
            values.copy_(0.5 * noise)
        elif values.ndim > 1:
            values.copy_(noise * (2 / values[0].numel()) ** 0.5)
        else:
            values.copy_((1.0 if name.endswith(("weight", "running_var")) else 0.0) + 0.1 * noise.clamp(-3, 3))
    return network.eval()


@pytest.mark.parametrize(
    ("extra", "size"),
    [
        ({}, (64, 32, 32)),
        ({"use_v2": True}, (32, 64, 32)),
        ({"spatial_dims": 2}, (64, 96)),
        ({"spatial_dims": 2, "downsample": "mergingv2", "use_v2": True}, (64, 32)),
        ({"downsample": "mergingv2", "norm_name": ("group", {"num_groups": 3, "eps": 1e-3})}, (64, 32, 32)),
        ({"norm_name": "batch", "window_size": (2, 3, 4)}, (64, 32, 32)),
        ({"depths": (1, 2, 3, 1), "num_heads": (2, 4, 6, 8)}, (32, 64, 32)),
        ({"norm_name": ("INSTANCE", {"affine": True}), "feature_size": 24}, (32, 32, 64)),
        ({"qkv_bias": False, "mlp_ratio": 2.5, "patch_norm": True, "normalize": False, "patch_size": 2}, (64, 32, 32)),
    ],
)  # fmt: skip
@torch.no_grad()
def test_every_setting_gives_monais_numbers(extra, size):
    monai = lively(MonaiSwinUNETR(**BASE | extra)).double()  # in float32 rounding differs from processor to processor
    network, report = load_released("swin_unetr", monai.state_dict(), BASE | extra)
    image = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(network.double()(image), monai(image), atol=1e-9, rtol=1e-7)
    assert len(report.loaded) + len(report.derived) == len(monai.state_dict())


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ({"drop_rate": 0.1, "attn_drop_rate": 0.2}, {"dropout": 0.1, "attention_dropout": 0.2}),
        ({"dropout_path_rate": 0.3, "use_checkpoint": True}, {"drop_path": 0.3, "checkpointing": True}),
        ({"downsample": "legacy_merging"}, {"merging": "legacy"}),
        ({"patch_size": [2, 2, 2]}, {}),
    ],
)
def test_settings_of_training_are_ours_by_another_name(published, ours):
    assert config_from_release(BASE | published) == SwinUNETRConfig(**BASE | ours)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_hyena": True}, "use_hyena"),
        ({"patch_size": 4}, "patch_size is 4"),
        ({"downsample": "merging3"}, "merging3.*mergingv2"),
        ({"norm_name": "layer"}, "kind"),
        ({"norm_name": ["instance", {"momentum": 0.2}]}, "momentum"),
        ({"norm_name": 3}, "norm_name is 3"),
        ({"depths": [2, 2, 2]}, "depths"),
    ],
)
def test_settings_we_cannot_follow_are_refused_by_name(values, message):
    with pytest.raises(SettingsError, match=message):
        config_from_release(BASE | values)


def test_tables_of_another_window_are_refused():
    state = MonaiSwinUNETR(**BASE).state_dict()
    key = "swinViT.layers1.0.blocks.0.attn.relative_position_index"
    state[key] = state[key].clone().flip(0)
    with pytest.raises(WeightsError, match="relative_position_index holds other values"):
        load_released("swin_unetr", state, BASE)
    with pytest.raises(WeightsError, match="another window size"):
        load_released("swin_unetr", state, BASE | {"window_size": 5})


def self_supervised(spelling: str) -> dict[str, torch.Tensor]:
    """An encoder as pre-training wrote it at different times, with a head that only pre-training needs."""
    whole = lively(MonaiSwinUNETR(**BASE)).state_dict()
    encoder = {name.removeprefix("swinViT."): value for name, value in whole.items() if name.startswith("swinViT.")}
    if spelling == "module.":
        encoder = {name.replace("mlp.linear", "mlp.fc"): value for name, value in encoder.items()}
    return {f"{spelling}{name}": value for name, value in encoder.items()} | {
        f"{spelling.replace('swin_vit.', '').replace('swinViT.', '')}rotation_head.weight": torch.zeros(4, 8)
    }


@pytest.mark.parametrize("spelling", ["module.", "module.swinViT.", "swin_vit."])
def test_a_self_supervised_encoder_fills_the_whole_encoder_and_nothing_else(spelling):
    network = SwinUNETR(SwinUNETRConfig(**BASE))
    report = load_start("swin_unetr", network, {"state_dict": self_supervised(spelling)}, start="self_supervised")
    source = lively(MonaiSwinUNETR(**BASE)).state_dict()
    ours = network.state_dict()
    assert all(torch.equal(ours[name], source[name]) for name in ours if name.startswith("swinViT."))
    assert set(report.not_started) == {name for name in ours if not name.startswith("swinViT.")}
    assert len(report.unused) == 1


def test_an_encoder_with_a_part_missing_is_refused():
    state = self_supervised("module.")
    del state["module.layers3.0.blocks.1.mlp.fc1.weight"]
    network = SwinUNETR(SwinUNETRConfig(**BASE))
    with pytest.raises(WeightsError, match=r"swinViT\.layers3\.0\.blocks\.1\.mlp\.linear1\.weight"):
        load_start("swin_unetr", network, state, start="self_supervised")
