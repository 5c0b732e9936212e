"""Embedding, merging and expanding of patches: who ends up where."""

import pytest
import torch
from torch import nn

from medseg.networks.blocks.patches import (
    CURRENT_3D,
    LEGACY_3D,
    LEXICOGRAPHIC_3D,
    MICROSOFT_2D,
    PatchEmbedding,
    PatchExpanding,
    PatchMerging,
)


def stacked(order, *size: int) -> list[float]:
    """The voxels of one cell in the order in which they are stacked; a voxel's value is its offset, read as digits."""
    merging = PatchMerging(1, order)
    merging.norm = merging.reduction = nn.Identity()
    digits = torch.zeros(size)
    for axis, n in enumerate(size):
        place = 10 ** (len(size) - 1 - axis)
        digits += torch.arange(n).reshape([n if a == axis else 1 for a in range(len(size))]) * place
    return merging(digits[None, ..., None]).flatten(0, -2)[0].tolist()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (CURRENT_3D, [0, 100, 10, 1, 110, 101, 11, 111]),
        (LEGACY_3D, [0, 100, 10, 1, 101, 10, 1, 111]),
        (LEXICOGRAPHIC_3D, [0, 1, 10, 11, 100, 101, 110, 111]),
    ],
    ids=["current", "legacy", "lexicographic"],
)
def test_eight_neighbours_are_stacked_in_the_published_order(order, expected):
    assert stacked(order, 2, 2, 2) == expected


def test_four_neighbours_are_stacked_column_by_column():
    assert stacked(MICROSOFT_2D, 2, 2) == [0, 10, 1, 11]


def test_an_odd_side_is_filled_with_zeros_before_merging():
    x = torch.randn(1, 3, 5, 2)
    filled = torch.zeros(1, 4, 6, 2)
    filled[:, :3, :5] = x
    merging = PatchMerging(2, MICROSOFT_2D)
    assert torch.equal(merging(x), merging(filled))


def test_embedding_fills_the_last_patch_with_zeros():
    embedding = PatchEmbedding(1, 4, (2, 3), norm=True)
    image = torch.randn(1, 1, 5, 4)
    filled = torch.zeros(1, 1, 6, 6)
    filled[:, :, :5, :4] = image
    assert embedding(image).shape == (1, 3, 2, 4)
    assert torch.equal(embedding(image), embedding(filled))


@pytest.mark.parametrize("factor", [(2, 3), (2, 1, 3)])
def test_children_lie_in_row_major_order_inside_their_cell(factor):
    expanding = PatchExpanding(1, factor, out_dim=1)
    expanding.norm = nn.Identity()
    children = expanding.expand.weight.numel()
    nn.init.zeros_(expanding.expand.weight)
    expanding.expand.weight.data[:, 0] = torch.arange(children)
    x = torch.ones((1,) + (1,) * len(factor) + (1,))
    assert expanding(x)[0, ..., 0].flatten().tolist() == list(range(children))
    assert expanding(x).shape == (1, *factor, 1)
