"""What importers of networks with Swin stages share: names of a mirrored decoder, and tables that are not loaded.

In: how many stages there are, and their windows. Out: renames and checks for ``rename_keys``.
"""

import re
from collections.abc import Callable, Mapping
from math import isqrt
from typing import Final

import torch
from torch import Tensor

from medseg.networks.blocks.windows import mask_groups, relative_position_index, shift_mask, window_places
from medseg.networks.checkpoints.report import check_derived

__all__ = ["index_check", "mask_check", "microsoft_names", "upward_renames"]

CPU: Final = torch.device("cpu")


def microsoft_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Swin classifier under the names of its authors, whoever saved it.

    timm (since 0.8) hangs a merging on the stage it leads to, and the classifier one level deeper::

        layers.{s + 1}.downsample, head.fc   →   layers.{s}.downsample, head
    """
    is_timms = any(key.startswith("layers.1.downsample.") for key in state) and not any(
        key.startswith("layers.0.downsample.") for key in state
    )
    if not is_timms:
        return dict(state)
    return {
        re.sub(r"^layers\.(\d+)\.downsample\.", _one_stage_up, key).replace("head.fc.", "head."): tensor
        for key, tensor in state.items()
    }


def _one_stage_up(found: re.Match[str]) -> str:
    return f"layers.{int(found[1]) - 1}.downsample."


def upward_renames(prefix: str, *, stages: int) -> list[tuple[str, str]]:
    """Renames of a decoder as Swin-Unet's authors and their followers wrote it, ``prefix`` before every name.

    They count levels from the deepest stage and hang each expansion on the level that ends with it; we count from
    the finest and name an expansion after the level it leads to. With four stages:

        layers_up.0, concat_back_dim.1, layers_up.1.blocks, layers_up.1.upsample, …, layers_up.3.blocks
        expanding.2, joining.2,         decoder.2.blocks,   expanding.1,          …, decoder.0.blocks
    """
    renames = []
    for level in range(stages - 1):
        theirs = stages - 1 - level
        expansion = r"layers_up\.0\." if theirs == 1 else rf"layers_up\.{theirs - 1}\.upsample\."
        renames += [
            (rf"^{prefix}{expansion}", f"expanding.{level}."),
            (rf"^{prefix}concat_back_dim\.{theirs}\.", f"joining.{level}."),
            (rf"^{prefix}layers_up\.{theirs}\.", f"decoder.{level}."),
        ]
    return renames


def index_check(window: int) -> Callable[[str, Tensor], None]:
    """A check of ``relative_position_index``, (N, N), for square windows of this side."""

    def check(key: str, found: Tensor) -> None:
        check_derived(key, found, relative_position_index((window, window), device=CPU))

    return check


def mask_check(window: int) -> Callable[[str, Tensor], None]:
    """A check of ``attn_mask``, (W, N, N), for shifted windows of this side on the square map it was made for."""

    def check(key: str, found: Tensor) -> None:
        grid, shift = (isqrt(found.shape[0]),) * 2, (window // 2,) * 2
        masks = [
            shift_mask((window, window), shift, is_last, device=CPU, dtype=found.dtype).expand(count, -1, -1)
            for is_last, count in mask_groups(grid, shift)
        ]
        check_derived(key, found, torch.cat(masks).index_select(0, window_places(grid, shift, device=CPU)))

    return check
