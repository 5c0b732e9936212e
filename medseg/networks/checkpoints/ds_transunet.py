"""DS-TransUNet weights under the names of the authors' code (TianBaoGe/DS-TransUNet), and their ImageNet starts.

In: a state dict with the authors' keys and their settings, or one of Microsoft's Swin Transformer classifiers.
Out: the same tensors under our names.

    encoder, encoder2                      → fine_encoder, coarse_encoder
    cross_att_{k}, change{k}               → interactions.{k−1}, joins.{k−1}
    down1, down2                           → pixels, half_pixels
    layer1 … layer3, layer4, layer5        → swin_levels.0 … swin_levels.2, half_level, full_level
    final, loss1, loss2                    → head, deep_head, middle_head
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from torch import Tensor

from medseg.networks.checkpoints.adapt import (
    adapted_keys,
    kernel_for_channels,
    patch_kernel_for_size,
    table_for_window,
    table_window,
)
from medseg.networks.checkpoints.release import read_settings
from medseg.networks.checkpoints.report import RenamedState, rename_keys
from medseg.networks.checkpoints.swin import index_check, mask_check, microsoft_names
from medseg.networks.ds_transunet import COARSE_PATCH, FINE_PATCH, LEVELS, DSTransUNetConfig

__all__ = [
    "config_from_release",
    "rename",
    "rename_imagenet_coarse",
    "rename_imagenet_coarse_stretched",
    "rename_imagenet_fine",
    "settle",
    "told_by",
]

OUR_SETTINGS: Final = {
    "gn_groups": "norm_groups",
    "dim": "fused_dim",
    "n_class": "out_channels",
    "dim_l": "fine_dim",
    "dim_s": "coarse_dim",
    "depths_l": "fine_depths",
    "heads_l": "fine_heads",
    "depths_s": "coarse_depths",
    "heads_s": "coarse_heads",
    "in_channels": "in_channels",
    "window_size": "attn_window",
}
"""Setting of the released code → ours."""

DECODER_TABLE: Final = "layer1.up.layer.blocks.0.attn.relative_position_bias_table"

ENCODER_RENAMES: Final = [
    (r"\bpatch_embed\.", "embedding."),
    (r"\blayers\.(\d+)\.blocks\.", r"stages.\1."),
    (r"\blayers\.(\d+)\.downsample\.", r"merges.\1."),
    (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
]
"""Names inside a Swin encoder, in the authors' files and in Microsoft's."""


def config_from_release(config: Mapping[str, Any]) -> DSTransUNetConfig:
    """Our settings from the released code's; what is not given is as in DS-TransUNet-B.

    Raises:
        SettingsError: a setting is unknown or out of range.
    """
    known = read_settings(config, OUR_SETTINGS, network="ds_transunet")
    base = DSTransUNetConfig.base().model_dump()
    ours = {OUR_SETTINGS[name]: value for name, value in known.items()}
    return DSTransUNetConfig.from_mapping({**base, **ours, "variant": "released"}, source="ds_transunet settings")


def settle(config: DSTransUNetConfig, state: Mapping[str, Tensor]) -> DSTransUNetConfig:
    """``config`` with what only the weights tell: no released setting names the window of the decoder's attention."""
    if DECODER_TABLE not in state:
        return config
    return config.model_copy(update={"decoder_attn_window": table_window(state[DECODER_TABLE])})


def told_by(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The number of classes; everything else is as published unless the settings say so."""
    head = state.get("final.weight")
    return {} if head is None else {"n_class": head.shape[0]}


def rename(state: Mapping[str, Tensor], config: DSTransUNetConfig) -> RenamedState:
    """The authors' tensors under our names."""
    numbered = []
    for number in range(1, LEVELS + 1):  # the authors count levels from 1, we from 0
        numbered += [
            (rf"^cross_att_{number}\.", f"interactions.{number - 1}."),
            (rf"^change{number}\.conv\.", f"joins.{number - 1}."),
        ]
        if number < LEVELS:
            numbered += [(rf"^layer{number}\.", f"swin_levels.{number - 1}.")]
    renames = [
        (r"^encoder\.", "fine_encoder."),
        (r"^encoder2\.", "coarse_encoder."),
        (r"_encoder\.norm(\d)\.", r"_encoder.norms.\1."),
        *ENCODER_RENAMES,
        *numbered,
        *_fusion_renames(theirs="l", ours="fine"),
        *_fusion_renames(theirs="s", ours="coarse"),
        (r"^down1\.", "pixels."),
        (r"^down2\.conv\.", "half_pixels."),
        (r"^(swin_levels\.\d)\.up\.up\.up\.", r"\1.up."),
        (r"^(swin_levels\.\d)\.up\.layer\.blocks\.", r"\1.blocks."),
        (r"^(swin_levels\.\d)\.up\.conv_relu\.", r"\1.narrow."),
        (r"^(swin_levels\.\d)\.conv2\.", r"\1.narrow_skip."),
        (r"^layer4\.", "half_level."),
        (r"^layer5\.", "full_level."),
        (r"^(half|full)_level\.up\.up\.", r"\1_level.up."),
        (r"^(swin_levels\.\d|half_level|full_level)\.conv_relu\.", r"\1.mix."),
        (r"^final\.", "head."),
        (r"^loss1\.0\.", "deep_head."),
        (r"^loss2\.0\.", "middle_head."),
    ]
    derived = {
        r"^encoder2?\..*\.relative_position_index$": index_check(config.attn_window),
        r"^layer\d\..*\.relative_position_index$": index_check(config.decoder_attn_window),
    }
    return rename_keys(state, renames, derived=derived)


def rename_imagenet_fine(state: Mapping[str, Tensor], config: DSTransUNetConfig) -> RenamedState:
    """The fine encoder from Microsoft's Swin-B with 4×4 patches (``swin_base_patch4_window7_224_22k.pth``).

    A network for other than three channels, or with another window, gets kernel and tables adapted, which is
    logged; the norm after each level has no counterpart in a classifier.
    """
    return _rename_classifier(state, config, encoder="fine_encoder", patch=FINE_PATCH)


def rename_imagenet_coarse(state: Mapping[str, Tensor], config: DSTransUNetConfig) -> RenamedState:
    """The coarse encoder from Microsoft's Swin-T (``swin_tiny_patch4_window7_224.pth``), as the authors start it.

    Its kernel for 4×4 patches does not fit 8×8 ones and is left out.
    """
    return _rename_classifier(state, config, encoder="coarse_encoder", patch=None)


def rename_imagenet_coarse_stretched(state: Mapping[str, Tensor], config: DSTransUNetConfig) -> RenamedState:
    """The coarse encoder from Microsoft's Swin-T, its kernel for 4×4 patches stretched to 8×8 (not the authors')."""
    return _rename_classifier(state, config, encoder="coarse_encoder", patch=COARSE_PATCH)


def _rename_classifier(
    state: Mapping[str, Tensor], config: DSTransUNetConfig, *, encoder: str, patch: int | None
) -> RenamedState:
    """A Swin classifier under the names of one encoder; no ``patch``: its patch embedding's kernel is left out."""
    kernel = "patch_embed.proj.weight"
    state = microsoft_names(state)
    adapted = dict(state)
    for key, tensor in state.items():
        if key.endswith("relative_position_bias_table"):
            adapted[key] = table_for_window(tensor, config.attn_window)
        elif key == kernel and patch is not None:
            adapted[key] = patch_kernel_for_size(kernel_for_channels(tensor, config.in_channels), (patch, patch))

    unused = {
        r"^head\.": "the classifier",
        r"^norm\.": "the classifier's last norm: the network has one for each level",
    }
    scope = [f"{encoder}.{part}." for part in ("stages", "merges", "embedding.norm")] + [f"{encoder}.embedding.proj.b"]
    if patch is None:
        unused[rf"^{kernel}$"] = "for patches of another size, as in the released code"
    else:
        scope.append(f"{encoder}.embedding.proj.w")

    tables = [tensor for key, tensor in state.items() if key.endswith("relative_position_bias_table")]
    window = table_window(tables[0]) if tables else config.attn_window
    renamed = rename_keys(
        adapted,
        [(r"^", f"{encoder}."), *ENCODER_RENAMES],
        unused=unused,
        derived={r"\.relative_position_index$": index_check(window), r"\.attn_mask$": mask_check(window)},
        scope=tuple(scope),
    )
    return replace(renamed, interpolated=adapted_keys(state, adapted))


def _fusion_renames(*, theirs: str, ours: str) -> list[tuple[str, str]]:
    """Names inside an interactive fusion for one branch: l is the large (fine) one, s the small (coarse) one."""
    layer = rf"\.transformer_{theirs}\.layers\.0\."
    return [
        (rf"\.norm_{theirs}\.", f".{ours}_norm."),
        (rf"\.linear_{theirs}\.", f".{ours}_summary."),
        (rf"{layer}0\.norm\.", f".{ours}_layer.attention_norm."),
        (rf"{layer}0\.fn\.to_qkv\.", f".{ours}_layer.attention.qkv."),
        (rf"{layer}0\.fn\.to_out\.0\.", f".{ours}_layer.attention.proj."),
        (rf"{layer}1\.norm\.", f".{ours}_layer.mlp_norm."),
        (rf"{layer}1\.fn\.net\.0\.", f".{ours}_layer.mlp.linear1."),
        (rf"{layer}1\.fn\.net\.3\.", f".{ours}_layer.mlp.linear2."),
    ]
