"""The cost of a window, against what can be counted by hand and what is published."""

import pytest
import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import nn

from medseg.bundle.cost import network_cost
from medseg.networks import TransUNet
from medseg.networks.transunet import TransUNetConfig

MIB = 2**20


def test_a_convolution_costs_two_operations_for_each_product():
    cost = network_cost(nn.Conv3d(2, 4, 3, padding=1, bias=False), (1, 2, 8, 8, 8))
    assert cost.gflop == pytest.approx(2 * 27 * 2 * 4 * 8**3 / 1e9)
    assert cost.weights_mb == pytest.approx(27 * 2 * 4 * 4 / 1e6)
    assert cost.inference_mb == pytest.approx(4 * 8**3 * 4 / 1e6)


def test_training_keeps_every_map_and_inference_only_two():
    layers = nn.Sequential(*[nn.Conv3d(4, 4, 1, bias=False) for _ in range(8)])
    cost = network_cost(layers, (1, 4, 16, 16, 16))
    one_map = 4 * 16**3 * 4 / 1e6
    assert cost.inference_mb == pytest.approx(2 * one_map)
    assert cost.training_mb > 8 * one_map


def test_a_published_swin_unetr_costs_what_its_convolutions_and_products_sum_to():
    network = MonaiSwinUNETR(in_channels=4, out_channels=3, feature_size=48)
    assert network_cost(network, (1, 4, 128, 128, 128)).gflop == pytest.approx(1543.3, abs=0.05)


def test_the_network_is_left_as_it_was():
    network = TransUNet(TransUNetConfig.tiny()).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network_cost(network, (1, network.config.in_channels, 64, 64))
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
