"""Every key of a D-Former release finds its place, whatever the settings."""

import pytest
import torch

from medseg.errors import SettingsError
from medseg.networks.checkpoints import WeightsError, load_released
from medseg.networks.checkpoints.dformer import config_from_release
from medseg.networks.dformer import DFormerConfig

SETTINGS = {
    "in_chan": 2,
    "num_classes": 5,
    "embed_dim": 6,
    "depths": [1, 2, 1],
    "num_heads": [1, 2, 3],
    "patch_size": [1, 2, 2],
    "group_size": [2, 2, 2],
    "interval_list": [4, 2, 1],
}


def block(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.norm1.weight": (dim,), f"{name}.norm1.bias": (dim,),
        f"{name}.attn.qkv.weight": (3 * dim, dim), f"{name}.attn.qkv.bias": (3 * dim,),
        f"{name}.attn.proj.weight": (dim, dim), f"{name}.attn.proj.bias": (dim,),
        f"{name}.norm2.weight": (dim,), f"{name}.norm2.bias": (dim,),
        f"{name}.mlp.fc1.weight": (4 * dim, dim), f"{name}.mlp.fc1.bias": (4 * dim,),
        f"{name}.mlp.fc2.weight": (dim, 4 * dim), f"{name}.mlp.fc2.bias": (dim,),
    }  # fmt: skip


def stage(name: str, dim: int, depth: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.pos_block.proj.0.weight": (dim, 1, 3, 3, 3), f"{name}.pos_block.proj.0.bias": (dim,)}
    for index in range(depth):
        shapes |= block(f"{name}.blocks.{index}", dim)
    return shapes


def expansion(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.expand.weight": (4 * dim, dim),
        f"{name}.norm.weight": (dim // 2,),
        f"{name}.norm.bias": (dim // 2,),
    }


def released_state(*, heads: int) -> dict[str, torch.Tensor]:
    """Random weights under the authors' names for ``SETTINGS``: three stages, 6, 12 and 24 wide."""
    shapes = {
        "patch_embed.proj.weight": (6, 2, 1, 2, 2), "patch_embed.proj.bias": (6,),
        "patch_embed.norm.weight": (6,), "patch_embed.norm.bias": (6,),
        **stage("layers.0", 6, 1), **stage("layers.1", 12, 2), **stage("layers.2", 24, 1),
        "layers.0.downsample.norm.weight": (48,), "layers.0.downsample.norm.bias": (48,),
        "layers.0.downsample.reduction.weight": (12, 48),
        "layers.1.downsample.norm.weight": (96,), "layers.1.downsample.norm.bias": (96,),
        "layers.1.downsample.reduction.weight": (24, 96),
        "norm.weight": (24,), "norm.bias": (24,), "norm_up.weight": (6,), "norm_up.bias": (6,),
        **expansion("layers_up.0", 24), **expansion("layers_up.1.upsample", 12),
        "concat_back_dim.1.weight": (12, 24), "concat_back_dim.1.bias": (12,),
        "concat_back_dim.2.weight": (6, 12), "concat_back_dim.2.bias": (6,),
        **stage("layers_up.1", 12, 2), **stage("layers_up.2", 6, 1),
    }  # fmt: skip
    shapes = {f"model_down.{key}": shape for key, shape in shapes.items()}
    for head in range(heads):
        dim = 6 * 2**head
        shapes |= {
            f"final.{head}.0.expand.weight": (4 * dim, dim),
            f"final.{head}.0.norm.weight": (dim,), f"final.{head}.0.norm.bias": (dim,),
            f"final.{head}.1.weight": (5, dim, 1, 1, 1),
        }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def test_every_key_of_the_release_is_loaded():
    state = released_state(heads=2)
    model, report = load_released("dformer", state, SETTINGS)
    assert set(report.loaded) == set(state)
    assert set(report.loaded.values()) == set(model.state_dict())


def test_the_decoder_is_counted_from_the_other_end():
    state = released_state(heads=2)
    model, _ = load_released("dformer", state, SETTINGS)
    ours = model.state_dict()
    assert torch.equal(
        ours["decoder.1.blocks.1.mlp.linear1.weight"], state["model_down.layers_up.1.blocks.1.mlp.fc1.weight"]
    )
    assert torch.equal(ours["decoder.0.position.weight"], state["model_down.layers_up.2.pos_block.proj.0.weight"])
    assert torch.equal(ours["expanding.1.expand.weight"], state["model_down.layers_up.0.expand.weight"])
    assert torch.equal(ours["joining.0.bias"], state["model_down.concat_back_dim.2.bias"])
    assert torch.equal(ours["logits.1.classify.weight"], state["final.1.1.weight"].squeeze())


def test_heads_that_the_release_never_returns_are_left_out_by_name():
    _, report = load_released("dformer", released_state(heads=3), SETTINGS)
    assert set(report.unused) == {
        f"final.2.{part}" for part in ("0.expand.weight", "0.norm.weight", "0.norm.bias", "1.weight")
    }


def test_a_missing_key_is_named():
    state = released_state(heads=2)
    del state["model_down.norm.bias"]
    with pytest.raises(WeightsError, match=r"Missing: norm\.bias"):
        load_released("dformer", state, SETTINGS)


@pytest.mark.parametrize(("setting", "value", "ours"), [
    ("in_chan", 3, "in_channels"),
    ("num_classes", 4, "out_channels"),
    ("embed_dim", 12, "embed_dim"),
    ("depths", [1, 1, 1], "depths"),
    ("num_heads", [2, 2, 2], "num_heads"),
    ("patch_size", [2, 4, 4], "patch_size"),
    ("group_size", [2, 4, 4], "group_size"),
    ("interval_list", [2, 2, 2], "intervals"),
])  # fmt: skip
def test_every_released_setting_is_live(setting, value, ours):
    changed = config_from_release({**SETTINGS, setting: value})
    assert changed == config_from_release(SETTINGS).model_copy(
        update={ours: tuple(value) if isinstance(value, list) else value}
    )


def test_settings_that_are_not_given_are_those_of_the_base_model():
    assert config_from_release({}) == DFormerConfig.base().model_copy(update={"variant": "released"})


def test_two_stages_have_no_auxiliary_head():
    settings = {"depths": [2, 2], "num_heads": [3, 6], "interval_list": [2, 1]}
    assert config_from_release(settings).auxiliary_heads == 0


def test_an_unknown_setting_is_named():
    with pytest.raises(SettingsError, match="unknown settings window_size"):
        config_from_release({"window_size": 7})
