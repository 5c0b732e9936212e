"""Att-SwinU-Net weights under the names of the authors' code (NITR098/AttSwinUNet), and their ImageNet start.

In: a state dict with the authors' keys and their settings, or Microsoft's Swin-T classifier. Out: the same tensors
under our names.

    encoder.patch_embed, encoder.norm      → embedding, norm
    encoder.layers.{s}                     → encoder.{s}, its downsample → merging.{s}
    decoder.layers_up.{0 … n−1}            → expanding and decoder, counted from the finest stage
    decoder.concat_back_dim.{1 … n−1}      → joining.*.linear, counted from the finest stage
    decoder.Crossvit_layer.{s}             → joining.{s}.crossing
    decoder.up, decoder.output             → up, logits
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from medseg.networks.att_swin_unet import AttSwinUNetConfig
from medseg.networks.checkpoints.adapt import (
    adapted_keys,
    kernel_for_channels,
    patch_kernel_for_size,
    table_for_window,
    table_window,
)
from medseg.networks.checkpoints.release import read_settings
from medseg.networks.checkpoints.report import RenamedState, rename_keys
from medseg.networks.checkpoints.swin import index_check, mask_check, microsoft_names, upward_renames
from medseg.settings import Settings

__all__ = ["config_from_release", "rename", "rename_imagenet", "told_by"]

RELEASED_IN_CHANNELS: Final = 3
"""The released encoder reads colour; no setting says so."""

SWIN_TINY_DEPTHS: Final = (2, 2, 6, 2)

BLOCK_RENAMES: Final = ((r"\.mlp\.fc([12])\.", r".mlp.linear\1."),)
"""Names inside a Swin block, in the authors' files and in Microsoft's."""


class CrossSettings(Settings):
    """``crossvit``: the exchange of class tokens."""

    depth: int = 2
    heads: int = 8
    dim_head: int = 64


class ReleasedSettings(Settings):
    """The released code's own settings."""

    image_size: int = Field(default=224, ge=1)
    embed_dim: int = 96
    depths: tuple[int, ...] = SWIN_TINY_DEPTHS
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = Field(default=7, ge=1)
    num_classes: int = 9
    patch_size: int = Field(default=4, ge=1)
    mlp_ratio: float = 4.0
    mode: Literal["cross_contextual_attention", "swin"] = "cross_contextual_attention"
    skip_num: str | int = "3"
    spatial_attention: Literal["0", "1"] = "1"
    operationaddatten: Literal["+", "mul"] = "+"
    """How the two attention maps meet; the result is dropped, so that either word gives the same network."""
    crossvit: CrossSettings = CrossSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        deepest = self.patch_size * 2 ** (len(self.depths) - 1)
        if self.image_size % deepest:
            raise ValueError(f"image_size {self.image_size} is no multiple of {deepest}, the side of its last token")
        return self

    @property
    def attn_windows(self) -> tuple[int, ...]:
        """Side of the window in each stage: a map no larger than the window is one window."""
        sides = [self.image_size // (self.patch_size * 2**stage) for stage in range(len(self.depths))]
        return tuple(min(self.window_size, side) for side in sides)

    @property
    def cross_skips(self) -> int:
        """Skips that exchange class tokens; the code compares ``skip_num`` with words, so the number 3 means none."""
        return {"1": 1, "2": 2, "3": 3}.get(str(self.skip_num), 0) if self._crosses else 0

    @property
    def _crosses(self) -> bool:
        return self.mode == "cross_contextual_attention" and isinstance(self.skip_num, str)

    @property
    def skip_fusions(self) -> Literal[1, 2]:
        """Mode ``swin`` with spatial attention joins each skip a second time."""
        return 2 if self.mode == "swin" and self.spatial_attention == "1" else 1


def config_from_release(config: Mapping[str, Any]) -> AttSwinUNetConfig:
    """Our settings from the released code's; what is not given is as in the authors' configuration.

    Raises:
        SettingsError: a setting is unknown or out of range.
    """
    known = read_settings(config, ReleasedSettings.model_fields, network="att_swin_unet")
    theirs = ReleasedSettings.from_mapping(known, source="att_swin_unet settings")
    ours = {
        "in_channels": RELEASED_IN_CHANNELS,
        "out_channels": theirs.num_classes,
        "patch_size": theirs.patch_size,
        "embed_dim": theirs.embed_dim,
        "depths": theirs.depths,
        "num_heads": theirs.num_heads,
        "attn_windows": theirs.attn_windows,
        "mlp_ratio": theirs.mlp_ratio,
        "cross_skips": theirs.cross_skips,
        "cross_depth": theirs.crossvit.depth,
        "cross_heads": theirs.crossvit.heads,
        "cross_head_dim": theirs.crossvit.dim_head,
        "skip_fusions": theirs.skip_fusions,
        "variant": "released",
    }
    return AttSwinUNetConfig.from_mapping(ours, source="att_swin_unet settings")


def told_by(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The number of classes; everything else is as published unless the settings say so."""
    head = state.get("decoder.output.weight")
    return {} if head is None else {"num_classes": head.shape[0]}


def rename(state: Mapping[str, Tensor], config: AttSwinUNetConfig) -> RenamedState:
    """The authors' tensors under our names; parts that their forward pass never reads are left out."""
    stages = len(config.depths)
    plain_skips = range(stages - 1 - config.cross_skips)
    crossing = r"^decoder\.Crossvit_layer\.(\d+)\.layers\.(\d+)\."
    return rename_keys(
        state,
        [
            (r"^encoder\.patch_embed\.", "embedding."),
            (r"^encoder\.norm\.", "norm."),
            (r"^encoder\.layers\.(\d+)\.downsample\.", r"merging.\1."),
            (r"^encoder\.layers\.", "encoder."),
            *upward_renames(r"decoder\.", stages=stages),
            (r"^joining\.(\d+)\.", r"joining.\1.linear."),
            (rf"{crossing}0\.fn\.", r"joining.\1.crossing.decoder_reads.\2."),
            (rf"{crossing}1\.fn\.", r"joining.\1.crossing.skip_reads.\2."),
            (r"\.fn\.to_(q|kv)\.", r".\1."),
            (r"\.fn\.to_out\.0\.", ".proj."),
            (r"^decoder\.norm_up\.", "norm_up."),
            (r"^decoder\.up\.", "up."),
            (r"^decoder\.output\.", "logits."),
            *BLOCK_RENAMES,
        ],
        unused={
            r"^patch_embed\.": "a second patch embedding that no image passes through",
            r"^decoder\.norm\.": "no map passes through it",
            **{rf"^decoder\.Crossvit_layer\.{s}\.": "at these settings the skip is only joined" for s in plain_skips},
        },
        derived=_tables(config.attn_windows, encoder=r"^encoder\.layers", decoder=r"^decoder\.layers_up"),
    )


def rename_imagenet(state: Mapping[str, Tensor], config: AttSwinUNetConfig) -> RenamedState:
    """Encoder and the decoder's blocks from Microsoft's Swin-T (``swin_tiny_patch4_window7_224.pth``).

    A stage of the encoder also starts the decoder's stage of its level, as far as both are deep (Swin-Unet's rule;
    in the released code the names no longer meet, and nothing of it is loaded). A network for other than three
    channels, with another patch or window, gets kernel and tables adapted, which is logged.
    """
    patch, windows = (config.patch_size, config.patch_size), config.attn_windows
    state = microsoft_names(state)
    adapted = dict(state)
    for stage, window in enumerate(windows):
        for key in [key for key in state if key.startswith(f"layers.{stage}.") and key.endswith("bias_table")]:
            adapted[key] = table_for_window(state[key], window)
    kernel = "patch_embed.proj.weight"
    if kernel in state:
        adapted[kernel] = patch_kernel_for_size(kernel_for_channels(state[kernel], config.in_channels), patch)

    unused = {r"^head\.": "the classifier"}
    for stage, (depth, published) in enumerate(zip(config.depths, SWIN_TINY_DEPTHS, strict=False)):
        unused |= {rf"^layers\.{stage}\.blocks\.{block}\.": "ours is less deep" for block in range(depth, published)}
    tables = [tensor for key, tensor in state.items() if key.endswith("bias_table")]
    derived = _tables([table_window(table) for table in tables[:1]] * len(windows), encoder=r"^layers")

    encoder = rename_keys(
        adapted,
        [
            (r"^patch_embed\.", "embedding."),
            (r"^layers\.(\d+)\.downsample\.", r"merging.\1."),
            (r"^layers\.", "encoder."),
            *BLOCK_RENAMES,
        ],
        unused=unused,
        derived=derived,
    )
    mirrored = tuple(f"layers.{stage}.blocks." for stage in range(len(windows) - 1))
    decoder = rename_keys(
        {key: tensor for key, tensor in adapted.items() if key.startswith(mirrored)},
        [(r"^layers\.", "decoder."), *BLOCK_RENAMES],
        unused=unused,
        derived=derived,
    )
    return RenamedState(
        tensors={**decoder.tensors, **encoder.tensors},
        sources={**decoder.sources, **encoder.sources},
        derived=encoder.derived,
        unused=encoder.unused,
        scope=_started(config),
        interpolated=adapted_keys(state, adapted),
    )


def _started(config: AttSwinUNetConfig) -> tuple[str, ...]:
    """What Swin-T must fill: the encoder, and the blocks of the decoder, as far as Swin-T is deep."""
    blocks = [
        f"{part}.{stage}.blocks.{block}."
        for stage, (ours, published) in enumerate(zip(config.depths, SWIN_TINY_DEPTHS, strict=False))
        for block in range(min(ours, published))
        for part in ("encoder", "decoder")
    ]
    return ("embedding.", "merging.", "norm.", *blocks)


def _tables(
    windows: tuple[int, ...] | list[int], *, encoder: str, decoder: str | None = None
) -> dict[str, Callable[[str, Tensor], None]]:
    """Checks of the derived tables of each stage; the decoder's stages are counted from the deepest."""
    checks: dict[str, Callable[[str, Tensor], None]] = {}
    for stage, window in enumerate(windows):
        places = [rf"{encoder}\.{stage}\."]
        if decoder is not None:
            places.append(rf"{decoder}\.{len(windows) - 1 - stage}\.")
        for place in places:
            checks[rf"{place}.*\.relative_position_index$"] = index_check(window)
            checks[rf"{place}.*\.attn_mask$"] = mask_check(window)
    return checks
