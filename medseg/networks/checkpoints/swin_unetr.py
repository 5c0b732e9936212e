"""Swin UNETR weights: MONAI's own names are ours, so only older spellings are renamed.

In: a state dict of MONAI's ``SwinUNETR`` and its settings, or the self-supervised encoder ``model_swinvit.pt``.
Out: the same tensors under our names.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from medseg.errors import SettingsError
from medseg.networks.blocks.residual import ConvolutionNorm
from medseg.networks.blocks.windows import relative_position_index
from medseg.networks.checkpoints.release import read_settings
from medseg.networks.checkpoints.report import RenamedState, check_derived, rename_keys
from medseg.networks.swin_unetr import PATCH, SwinUNETRConfig

__all__ = ["config_from_release", "rename", "rename_self_supervised", "told_by"]

OUR_SETTINGS: Final = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "spatial_dims": "spatial_dims",
    "feature_size": "feature_size",
    "depths": "depths",
    "num_heads": "num_heads",
    "window_size": "attn_window",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "patch_norm": "patch_norm",
    "normalize": "normalize",
    "use_v2": "stage_convolutions",
    "drop_rate": "dropout",
    "attn_drop_rate": "attention_dropout",
    "dropout_path_rate": "drop_path",
    "use_checkpoint": "checkpointing",
}
"""Setting of MONAI's constructor → ours, where the value stays as it is."""

MERGINGS: Final = {"merging": "current", "legacy_merging": "legacy", "mergingv2": "lexicographic"}
"""``downsample``: today's names, and ``legacy_merging`` for what ``merging`` meant before MONAI 1.5."""

MONAI_FEATURE_SIZE: Final = 24
"""MONAI's default; ours is that of the published weights."""

NORM_ARGUMENTS: Final = {"affine": "affine", "eps": "eps", "num_groups": "groups"}
"""Argument of torch's normalisation layer → ours."""

INDEX: Final = r"relative_position_index$"
MLP_RENAMES: Final = ((r"\.mlp\.fc([12])\.", r".mlp.linear\1."),)


def config_from_release(config: Mapping[str, Any]) -> SwinUNETRConfig:
    """Our settings from those of MONAI's constructor; what is not given is as in MONAI 1.6.

    Weights carry no mark of the order their neighbours were merged in: say ``downsample: legacy_merging`` for
    everything trained before MONAI 1.5, the published BraTS 2021 and BTCV weights among it.

    Raises:
        SettingsError: a setting is unknown or out of range.
    """
    known = read_settings(config, [*OUR_SETTINGS, "patch_size", "downsample", "norm_name"], network="swin_unetr")
    patch, downsample = known.pop("patch_size", PATCH), known.pop("downsample", "merging")
    if set(patch if isinstance(patch, list | tuple) else [patch]) != {PATCH}:
        raise SettingsError(f"swin_unetr: patch_size is {patch}, expected {PATCH}: the decoder doubles five times.")
    if downsample not in MERGINGS:
        raise SettingsError(f"swin_unetr: downsample is {downsample!r}, expected one of {', '.join(MERGINGS)}.")
    norm = _norm(known.pop("norm_name", "instance"))
    ours = {"feature_size": MONAI_FEATURE_SIZE, "merging": MERGINGS[downsample], "norm": norm}
    ours |= {OUR_SETTINGS[name]: value for name, value in known.items()}
    return SwinUNETRConfig.from_mapping(ours, source="swin_unetr settings")


def told_by(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """MONAI's settings as far as the shapes tell them; the order of merging is not among those."""
    state = {key.replace("swin_vit.", "swinViT."): tensor for key, tensor in state.items()}
    kernel, head = state.get("swinViT.patch_embed.proj.weight"), state.get("out.conv.conv.weight")
    if kernel is None or head is None:
        return {}
    tables = [
        [tensor for key, tensor in state.items() if re.match(rf"swinViT\.layers{stage}\..*bias_table$", key)]
        for stage in range(1, 5)
    ]
    if not all(tables):
        return {}
    axes = kernel.ndim - 2
    return {
        "spatial_dims": axes,
        "in_channels": kernel.shape[1],
        "out_channels": head.shape[0],
        "feature_size": kernel.shape[0],
        "depths": [len(stage) for stage in tables],
        "num_heads": [stage[0].shape[1] for stage in tables],
        "window_size": (round(tables[0][0].shape[0] ** (1 / axes)) + 1) // 2,
        "use_v2": any(key.startswith("swinViT.layers1c.") for key in state),
        "patch_norm": "swinViT.patch_embed.norm.weight" in state,
        "qkv_bias": any(key.endswith("attn.qkv.bias") for key in state),
    }


def rename(state: Mapping[str, Tensor], config: SwinUNETRConfig) -> RenamedState:
    """A whole Swin UNETR; ``swin_vit`` and ``fc1`` are older spellings of ``swinViT`` and ``linear1``."""
    renames = ((r"^swin_vit\.", "swinViT."), *MLP_RENAMES)
    return rename_keys(state, renames, derived={INDEX: _index_check(config)})


def rename_self_supervised(state: Mapping[str, Tensor], config: SwinUNETRConfig) -> RenamedState:
    """The encoder alone, as self-supervised pre-training on CT leaves it (Tang et al. 2022).

    Older files name it without a prefix; heads that were only needed while pre-training are left out.
    """
    renames = (*MLP_RENAMES, (r"^(?:swin_vit\.|swinViT\.)?(patch_embed|layers\d)", r"swinViT.\1"))
    heads = r"^(rotation_head|rotation_pre|contrastive_head|contrastive_pre|convTrans3d|conv|norm)\b"
    return rename_keys(
        state,
        renames,
        derived={INDEX: _index_check(config)},
        unused={heads: "serves pre-training alone"},
        scope=("swinViT.",),
    )


def _index_check(config: SwinUNETRConfig) -> Callable[[str, Tensor], None]:
    expected = relative_position_index(config.attn_windows, device=torch.device("cpu"))
    return lambda key, found: check_derived(key, found, expected)


def _norm(name: str | tuple[str, Mapping[str, Any]]) -> ConvolutionNorm:
    """MONAI's ``norm_name``: a word, or a word and the arguments of torch's layer."""
    if not isinstance(name, str | tuple | list):
        raise SettingsError(f"swin_unetr: norm_name is {name!r}, expected a word, or a word and arguments.")
    kind, given = (name, {}) if isinstance(name, str) else name
    arguments = dict(given)
    ours = {ours: arguments.pop(theirs) for theirs, ours in NORM_ARGUMENTS.items() if theirs in arguments}
    if arguments:
        raise SettingsError(
            f"swin_unetr: norm_name has unknown arguments {', '.join(arguments)}, expected {', '.join(NORM_ARGUMENTS)}."
        )
    affine = kind.lower() != "instance"  # torch's own defaults
    return ConvolutionNorm.from_mapping(
        {"kind": kind.lower(), "affine": affine, **ours}, source="swin_unetr: norm_name"
    )
