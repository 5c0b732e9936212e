"""D-Former weights under the names of the authors' code (kkk55596/D-Former).

In: a state dict with the authors' keys, and their settings. Out: the same tensors under ours.

    model_down.patch_embed                 → embedding
    model_down.layers.{s}                  → encoder.{s}, its downsample → merging.{s}
    model_down.layers_up.{0 … n−1}         → expanding and decoder, counted from the finest stage
    model_down.concat_back_dim.{1 … n−1}   → joining, counted from the finest stage
    final.{h}                              → logits.{h}
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from einops import rearrange
from torch import Tensor

from medseg.networks.checkpoints.release import read_settings
from medseg.networks.checkpoints.report import RenamedState, rename_keys
from medseg.networks.checkpoints.swin import upward_renames
from medseg.networks.dformer import DFormerConfig

__all__ = ["config_from_release", "rename", "told_by"]

OUR_SETTINGS: Final = {
    "in_chan": "in_channels",
    "num_classes": "out_channels",
    "embed_dim": "embed_dim",
    "depths": "depths",
    "num_heads": "num_heads",
    "patch_size": "patch_size",
    "group_size": "group_size",
    "interval_list": "intervals",
}
"""Setting of the released code → ours."""

RELEASED_AUXILIARY_HEADS: Final = 1
"""The released code builds a head for every stage of its decoder and returns the first two."""


def config_from_release(config: Mapping[str, Any]) -> DFormerConfig:
    """Our settings from the released code's; what is not given is as in the base model.

    Raises:
        SettingsError: a setting is unknown or out of range.
    """
    known = read_settings(config, OUR_SETTINGS, network="dformer")
    base = DFormerConfig.base().model_dump()
    ours = {OUR_SETTINGS[name]: value for name, value in known.items()}
    decoder_stages = len(ours.get("depths", base["depths"])) - 1
    fixed = {"auxiliary_heads": min(RELEASED_AUXILIARY_HEADS, decoder_stages - 1), "variant": "released"}
    return DFormerConfig.from_mapping({**base, **ours, **fixed}, source="dformer settings")


def told_by(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The number of classes; everything else is as published unless the settings say so."""
    head = state.get("final.0.1.weight")
    return {} if head is None else {"num_classes": head.shape[0]}


def rename(state: Mapping[str, Tensor], config: DFormerConfig) -> RenamedState:
    """The authors' tensors under our names; heads that their forward pass drops are left out."""
    renamed = rename_keys(
        state,
        [
            (r"^model_down\.patch_embed\.", "embedding."),
            (r"^model_down\.layers\.(\d+)\.downsample\.", r"merging.\1."),
            (r"^model_down\.layers\.", "encoder."),
            *upward_renames(r"model_down\.", stages=len(config.depths)),
            (r"^model_down\.(norm|norm_up)\.", r"\1."),
            (r"^final\.(\d+)\.0\.", r"logits.\1."),
            (r"^final\.(\d+)\.1\.", r"logits.\1.classify."),
            (r"\.pos_block\.proj\.0\.", ".position."),
            (r"\.norm1\.", ".attention_norm."),
            (r"\.norm2\.", ".mlp_norm."),
            (r"\.attn\.", ".attention."),
            (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
        ],
        unused={r"^final\.([2-9]|\d\d+)\.": "the released code computes this head and drops its result"},
    )
    tensors = {name: _as_linear(name, tensor) for name, tensor in renamed.tensors.items()}
    return replace(renamed, tensors=tensors)


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    """A 1×1×1 convolution of a head, (L, D, 1, 1, 1), as the matrix (L, D) it is."""
    if name.endswith("classify.weight") and tuple(tensor.shape[2:]) == (1, 1, 1):
        return rearrange(tensor, "l d 1 1 1 -> l d")
    return tensor
