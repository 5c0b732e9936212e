"""TransUNet weights under the names of the authors' code (Beckschen/TransUNet), and their ImageNet start.

In: a state dict with the authors' keys and their settings, or the arrays of Google's ``R50+ViT-B_16.npz``.
Out: the same tensors under our names.

    transformer.embeddings.hybrid_model    → resnet
    transformer.embeddings                 → embedding
    transformer.encoder.layer.{i}          → transformer.{i}, its query, key and value → one qkv
    transformer.encoder.encoder_norm       → norm
    decoder.conv_more, decoder.blocks      → decoder.bottleneck, decoder.blocks
    segmentation_head.0                    → head
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import Any, Final

import torch
from einops import rearrange
from torch import Tensor

from medseg.errors import SettingsError
from medseg.networks.checkpoints.adapt import adapted_keys, kernel_for_channels, positions_for_side
from medseg.networks.checkpoints.release import read_settings
from medseg.networks.checkpoints.report import RenamedState, rename_keys
from medseg.networks.transunet import STRIDE, TransUNetConfig

__all__ = ["config_from_release", "rename", "rename_imagenet", "told_by"]

OUR_SETTINGS: Final = {
    "img_size": "image_size",
    "hidden_size": "embed_dim",
    "mlp_dim": "mlp_dim",
    "num_heads": "heads",
    "num_layers": "depth",
    "resnet_layers": "resnet_units",
    "decoder_channels": "decoder_channels",
    "n_skip": "skips",
    "n_classes": "out_channels",
}
"""Setting of the released code → ours, where the meaning is the same."""

ROOT_CHANNELS: Final = 64
"""Channels of the ResNet's root at the released ``width_factor`` of 1."""

UNIT_RENAMES: Final = [
    (r"conv1\.", "reduce."),
    (r"gn1\.", "reduce_norm."),
    (r"conv2\.", "spatial."),
    (r"gn2\.", "spatial_norm."),
    (r"conv3\.", "restore."),
    (r"gn3\.", "restore_norm."),
    (r"(downsample|conv_proj)\.", "shortcut.0."),
    (r"gn_proj\.", "shortcut.1."),
]
"""Layers of a residual unit; the ImageNet file calls the shortcut's convolution by its second name."""

TIMM_POSITIONS: Final = "pos_embed"
"""The name of the position embedding in timm's files, and in no other."""

START_SCOPE: Final = ("resnet.", "embedding.", "transformer.", "norm.")


def config_from_release(config: Mapping[str, Any]) -> TransUNetConfig:
    """Our settings from the released code's; what is not given is as in R50-ViT-B_16.

    The released code shows a grey slice to the network as three channels and takes colour as it is, so the
    weights say nothing about ``in_channels``; 1 accepts both.

    Raises:
        SettingsError: a setting is unknown, out of range, or ``skip_channels`` is not what the ResNet has.
    """
    known = read_settings(config, [*OUR_SETTINGS, "width_factor", "skip_channels"], network="transunet")
    ours = {OUR_SETTINGS[name]: value for name, value in known.items() if name in OUR_SETTINGS}
    if "width_factor" in known:
        ours["resnet_width"] = int(ROOT_CHANNELS * known["width_factor"])
    values = {**TransUNetConfig.r50_vit_b16().model_dump(), **ours}
    settings = TransUNetConfig.from_mapping(values, source="transunet settings")
    _check_skip_channels(known.get("skip_channels"), settings)
    return settings


def told_by(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The released code's settings as far as the shapes tell them; the number of heads is not among those."""
    positions = state.get("transformer.embeddings.position_embeddings")
    head = state.get("segmentation_head.0.weight")
    if positions is None or head is None:
        return {}
    blocks = {key.split(".")[3] for key in state if key.startswith("transformer.encoder.layer.")}
    mlp = state["transformer.encoder.layer.0.ffn.fc1.weight"]
    return {
        "img_size": STRIDE * isqrt(positions.shape[1]),
        "hidden_size": positions.shape[2],
        "mlp_dim": mlp.shape[0],
        "num_layers": len(blocks),
        "n_classes": head.shape[0],
    }


def rename(state: Mapping[str, Tensor], config: TransUNetConfig) -> RenamedState:
    """The authors' tensors under our names."""
    return _joined(
        state,
        [
            (r"^transformer\.embeddings\.hybrid_model\.root\.conv\.", "resnet.root.0."),
            (r"^transformer\.embeddings\.hybrid_model\.root\.gn\.", "resnet.root.1."),
            *_unit_renames(r"^transformer\.embeddings\.hybrid_model\.body\.block{stage}\.unit{unit}\.", config),
            (r"^transformer\.embeddings\.patch_embeddings\.", "embedding.project."),
            (r"^transformer\.embeddings\.position_embeddings$", "embedding.positions"),
            (r"^transformer\.encoder\.encoder_norm\.", "norm."),
            (r"^transformer\.encoder\.layer\.", "transformer."),
            (r"\.attn\.out\.", ".attention.proj."),
            (r"\.attn\.", ".attention."),
            (r"\.ffn_norm\.", ".mlp_norm."),
            (r"\.ffn\.fc([12])\.", r".mlp.linear\1."),
            (r"^decoder\.conv_more\.", "decoder.bottleneck."),
            (r"^decoder\.blocks\.(\d+)\.conv1\.", r"decoder.blocks.\1.0."),
            (r"^decoder\.blocks\.(\d+)\.conv2\.", r"decoder.blocks.\1.1."),
            (r"^segmentation_head\.0\.", "head."),
        ],
    )


def rename_imagenet(state: Mapping[str, Tensor], config: TransUNetConfig) -> RenamedState:
    """ResNet and transformer of a Google ViT file (``R50+ViT-B_16.npz`` and its kin), in PyTorch's layout.

    The file is for three channels and 224-pixel images; a network for others gets the kernel and the positions
    adapted, which is logged.
    """
    if TIMM_POSITIONS in state:
        return _rename_timm(state, config)
    ours = {key: _in_torch_layout(key, tensor, config) for key, tensor in state.items()}
    learned = {key: tensor[:, 1:] if key.endswith("pos_embedding") else tensor for key, tensor in state.items()}
    renamed = _joined(
        ours,
        [
            (r"/", "."),
            (r"\.(kernel|scale)$", ".weight"),
            (r"^conv_root\.", "resnet.root.0."),
            (r"^gn_root\.", "resnet.root.1."),
            *_unit_renames(r"^block{stage}\.unit{unit}\.", config),
            (r"^embedding\.", "embedding.project."),
            (r"^Transformer\.posembed_input\.pos_embedding$", "embedding.positions"),
            (r"^Transformer\.encoder_norm\.", "norm."),
            (r"^Transformer\.encoderblock_(\d+)\.", r"transformer.\1."),
            (r"\.MultiHeadDotProductAttention_1\.out\.", ".attention.proj."),
            (r"\.MultiHeadDotProductAttention_1\.", ".attention."),
            (r"\.LayerNorm_0\.", ".attention_norm."),
            (r"\.LayerNorm_2\.", ".mlp_norm."),
            (r"\.MlpBlock_3\.Dense_0\.", ".mlp.linear1."),
            (r"\.MlpBlock_3\.Dense_1\.", ".mlp.linear2."),
        ],
        unused={
            r"^cls$": "the class token: segmentation has none",
            r"^(head|pre_logits)/": "the classifier",
        },
        scope=START_SCOPE,
    )
    return replace(renamed, interpolated=adapted_keys(learned, ours))


def _rename_timm(state: Mapping[str, Tensor], config: TransUNetConfig) -> RenamedState:
    """The same start as timm publishes it (``vit_base_r50_s16_224`` and its kin), already in PyTorch's layout."""
    learned = {key: tensor[:, 1:] if key == TIMM_POSITIONS else tensor for key, tensor in state.items()}
    ours = dict(learned)
    ours[TIMM_POSITIONS] = positions_for_side(learned[TIMM_POSITIONS], config.image_size // STRIDE)
    reads_image = "patch_embed.backbone.stem.conv.weight" if config.resnet_units else "patch_embed.proj.weight"
    if reads_image in ours:
        ours[reads_image] = kernel_for_channels(ours[reads_image], config.stem_channels)
    renamed = rename_keys(
        ours,
        [
            (r"^patch_embed\.backbone\.stem\.conv\.", "resnet.root.0."),
            (r"^patch_embed\.backbone\.stem\.norm\.", "resnet.root.1."),
            (r"^patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\.", r"resnet.stages.\1.\2."),
            (r"^(resnet\.stages\..*)\bconv1\.", r"\1reduce."),
            (r"^(resnet\.stages\..*)\bnorm1\.", r"\1reduce_norm."),
            (r"^(resnet\.stages\..*)\bconv2\.", r"\1spatial."),
            (r"^(resnet\.stages\..*)\bnorm2\.", r"\1spatial_norm."),
            (r"^(resnet\.stages\..*)\bconv3\.", r"\1restore."),
            (r"^(resnet\.stages\..*)\bnorm3\.", r"\1restore_norm."),
            (r"\.downsample\.conv\.", ".shortcut.0."),
            (r"\.downsample\.norm\.", ".shortcut.1."),
            (r"^patch_embed\.proj\.", "embedding.project."),
            (r"^pos_embed$", "embedding.positions"),
            (r"^blocks\.(\d+)\.norm1\.", r"transformer.\1.attention_norm."),
            (r"^blocks\.(\d+)\.norm2\.", r"transformer.\1.mlp_norm."),
            (r"^blocks\.(\d+)\.attn\.", r"transformer.\1.attention."),
            (r"^blocks\.(\d+)\.mlp\.fc([12])\.", r"transformer.\1.mlp.linear\2."),
        ],
        unused={
            r"^cls_token$": "the class token: segmentation has none",
            r"^(head|pre_logits|fc_norm)\.": "the classifier",
        },
        scope=START_SCOPE,
    )
    return replace(renamed, interpolated=adapted_keys(learned, ours))


def _check_skip_channels(found: Any, settings: TransUNetConfig) -> None:
    """The released code reads as many entries as it has skips and overwrites the others with 0."""
    if found is None:
        return
    if list(found)[: settings.skips] != list(settings.skip_channels):
        raise SettingsError(
            f"transunet settings: skip_channels begins with {list(found)[: settings.skips]}, expected "
            f"{list(settings.skip_channels)}: the maps of a ResNet of this width_factor, coarsest first."
        )


def _unit_renames(pattern: str, config: TransUNetConfig) -> list[tuple[str, str]]:
    """Residual units, which the authors count from 1 and we from 0."""
    return [
        (pattern.format(stage=stage + 1, unit=unit + 1) + layer, f"resnet.stages.{stage}.{unit}.{ours}")
        for stage, units in enumerate(config.resnet_units or ())
        for unit in range(units)
        for layer, ours in UNIT_RENAMES
    ]


def _joined(
    state: Mapping[str, Tensor],
    renames: list[tuple[str, str]],
    *,
    unused: Mapping[str, str] | None = None,
    scope: tuple[str, ...] = ("",),
) -> RenamedState:
    """``state`` renamed, with the three linear layers of an attention stacked into the one we have."""
    renamed = rename_keys(state, renames, unused=unused, scope=scope)
    tensors, sources = dict(renamed.tensors), dict(renamed.sources)
    joined = {}
    for query in [name for name in renamed.tensors if ".attention.query." in name]:
        parts = [query.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if not all(part in tensors for part in parts):
            continue  # left under its own name, which strict accounting then reports
        qkv = query.replace(".query.", ".qkv.")
        tensors[qkv] = torch.cat([tensors.pop(part) for part in parts])
        sources[qkv], *others = (sources.pop(part) for part in parts)
        joined.update(dict.fromkeys(others, qkv))
    return replace(renamed, tensors=tensors, sources=sources, joined=joined)


def _in_torch_layout(key: str, tensor: Tensor, config: TransUNetConfig) -> Tensor:
    """An array of the ImageNet file as PyTorch keeps it: output axis first, one axis for all heads.

    An array with another number of axes than Google's goes on as it is, for strict accounting to refuse.
    """
    if key.endswith("pos_embedding"):
        return positions_for_side(tensor[:, 1:], config.image_size // STRIDE)  # the class token stands first
    if key.endswith("out/kernel") and tensor.ndim == 3:
        return rearrange(tensor, "h d out -> out (h d)")
    if key.endswith(("query/kernel", "key/kernel", "value/kernel")) and tensor.ndim == 3:
        return rearrange(tensor, "into h d -> (h d) into")
    if key.endswith("kernel") and tensor.ndim == 4:
        kernel = rearrange(tensor, "i j into out -> out into i j")
        reads_image = key == "conv_root/kernel" or (key == "embedding/kernel" and config.resnet_units is None)
        return kernel_for_channels(kernel, config.stem_channels) if reads_image else kernel
    if key.endswith("kernel") and tensor.ndim == 2:
        return rearrange(tensor, "into out -> out into")
    return tensor if key.endswith("kernel") else tensor.flatten()
