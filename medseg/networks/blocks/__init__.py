"""Mathematics shared by the networks: windows, attention, Swin blocks, patches, padding."""

from medseg.networks.blocks.attention import WindowAttention, attend
from medseg.networks.blocks.memo import memoised
from medseg.networks.blocks.padding import crop_end, crop_image, next_multiple, pad_end, pad_image
from medseg.networks.blocks.patches import PatchEmbedding, PatchExpanding, PatchMerging, channels_first, channels_last
from medseg.networks.blocks.swin import MLP, StochasticDepth, SwinBlock, SwinSettings, drop_path_rates, swin_stage
from medseg.networks.blocks.windows import plan_windows, relative_position_index

__all__ = [
    "MLP",
    "PatchEmbedding",
    "PatchExpanding",
    "PatchMerging",
    "StochasticDepth",
    "SwinBlock",
    "SwinSettings",
    "WindowAttention",
    "attend",
    "channels_first",
    "channels_last",
    "crop_end",
    "crop_image",
    "drop_path_rates",
    "memoised",
    "next_multiple",
    "pad_end",
    "pad_image",
    "plan_windows",
    "relative_position_index",
    "swin_stage",
]
