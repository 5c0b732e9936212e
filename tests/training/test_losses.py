"""The loss of DS-TransUNet against its formula, written out pixel by pixel."""

import math

import pytest
import torch

from medseg.networks import DSTransUNet
from medseg.networks.ds_transunet import DSTransUNetConfig
from medseg.training.losses import BoundaryWeightedLoss


@pytest.fixture
def sample():
    """Logits and a mask of one image of 5×7 pixels; the window of the mean reaches beyond all its borders."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 5, 7, generator=generator)
    return logits, (torch.rand(1, 1, 5, 7, generator=generator) > 0.6).float()


def written_out(logits, mask, *, is_weighted):
    """Pixel by pixel; beyond the image the mask is 0, and the mean is over all 961 places."""
    around = mask.sum() / 31**2
    entropies, weights, both, either = [], [], 0.0, 0.0
    for logit, m in zip(logits.flatten().tolist(), mask.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        w = 1 + 5 * abs(float(around) - m)
        entropies.append(-(m * math.log(p) + (1 - m) * math.log(1 - p)))
        weights.append(w)
        both += w * p * m
        either += w * (p + m)
    weighted = sum(w * e for w, e in zip(weights, entropies, strict=True)) / sum(weights)
    plain = sum(entropies) / len(entropies)
    return (weighted if is_weighted else plain) + 1 - (both + 1) / (either - both + 1)


@pytest.mark.parametrize(("variant", "is_weighted"), [("paper", True), ("released", False)])
def test_the_loss_is_its_formula(sample, variant, is_weighted):
    found = BoundaryWeightedLoss(variant)(*sample)
    assert float(found) == pytest.approx(written_out(*sample, is_weighted=is_weighted), rel=1e-5)


def test_heads_count_by_their_weights(sample):
    logits, mask = sample
    loss = BoundaryWeightedLoss()
    expected = 0.6 * loss(logits, mask) + 0.2 * loss(-logits, mask) + 0.2 * loss(2 * logits, mask)
    torch.testing.assert_close(loss([logits, -logits, 2 * logits], mask), expected)


def test_a_perfect_answer_costs_next_to_nothing(sample):
    _, mask = sample
    assert float(BoundaryWeightedLoss()((mask - 0.5) * 100, mask)) < 1e-4


def test_a_missing_weight_or_another_shape_is_refused(sample):
    logits, mask = sample
    with pytest.raises(ValueError, match="2 heads found, 1 weights"):
        BoundaryWeightedLoss(head_weights=[1.0])([logits, logits], mask)
    with pytest.raises(ValueError, match="one logit a pixel"):
        BoundaryWeightedLoss()(logits.expand(1, 2, 5, 7), mask)


def test_it_trains_every_head_of_the_network():
    torch.manual_seed(0)
    network = DSTransUNet(DSTransUNetConfig.tiny().model_copy(update={"out_channels": 1}))
    heads = network.heads(torch.randn(1, 3, 64, 64))
    BoundaryWeightedLoss()(heads, (torch.rand(1, 1, 64, 64) > 0.5).float()).backward()
    assert all(head.weight.grad.any() for head in (network.head, network.deep_head, network.middle_head))
