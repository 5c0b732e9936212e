"""Padding at the end of axes, and back."""

import torch

from medseg.networks.blocks.padding import crop_end, crop_image, next_multiple, pad_end, pad_image


def test_next_multiple_is_never_smaller_and_never_too_large():
    assert next_multiple((1, 32, 33), 32) == (32, 32, 64)
    assert next_multiple((5, 5), (2, 4)) == (6, 8)


def test_padding_puts_zeros_behind_and_cropping_takes_them_away():
    tokens = torch.ones(1, 2, 3, 4)
    padded = pad_end(tokens, (4, 3))
    assert padded.shape == (1, 4, 3, 4)
    assert padded[:, 2:].abs().sum() == 0
    assert torch.equal(crop_end(padded, (2, 3)), tokens)

    image = torch.ones(1, 4, 2, 3)
    padded = pad_image(image, (2, 5))
    assert padded.shape == (1, 4, 2, 5)
    assert padded[..., 3:].abs().sum() == 0
    assert torch.equal(crop_image(padded, (2, 3)), image)


def test_nothing_is_copied_where_nothing_is_missing():
    tokens = torch.ones(1, 2, 3, 4)
    assert pad_end(tokens, (2, 3)) is tokens
    assert crop_end(tokens, (2, 3)) is tokens
