"""DS-TransUNet: the numbers of its drawing, what its parts promise, and what it refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medseg.errors import ImageError, SettingsError
from medseg.networks.blocks import StochasticDepth
from medseg.networks.ds_transunet import DSTransUNet, DSTransUNetConfig, FusionLayer, InteractiveFusion


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DSTransUNet(DSTransUNetConfig.tiny()).eval()


def test_the_base_model_has_the_authors_number_of_parameters():
    with torch.device("meta"):
        network = DSTransUNet(DSTransUNetConfig.base())
    assert _parameters(network) == 171_441_329
    assert [_parameters(fusion) for fusion in network.interactions] == [186_720, 422_208, 1_040_640, 2_867_328]


def test_maps_have_the_sizes_of_the_drawing():
    with torch.device("meta"):
        network = DSTransUNet(DSTransUNetConfig.base())
        image = torch.empty(1, 3, 512, 512)
        fine = [tuple(m.shape[1:]) for m in network.fine_encoder(image)]
        coarse = [tuple(m.shape[1:]) for m in network.coarse_encoder(image)]
        main, deepest, middle = network._decode(image)
    assert fine == [(128, 128, 128), (64, 64, 256), (32, 32, 512), (16, 16, 1024)]
    assert coarse == [(64, 64, 96), (32, 32, 192), (16, 16, 384), (8, 8, 768)]
    assert deepest.shape == (1, 1024, 16, 16)
    assert middle.shape == (1, 128, 128, 128)
    assert main.shape == (1, 1, 512, 512)


@torch.no_grad()
def test_an_image_of_any_size_is_that_image_filled_up_with_zeros(network):
    x = torch.randn(1, 3, 50, 70)
    filled = F.pad(x, (0, 58, 0, 14))
    for logits, of_filled in zip(network.heads(x), network.heads(filled), strict=True):
        assert logits.shape == (1, 2, 50, 70)
        torch.testing.assert_close(logits, of_filled[..., :50, :70])


@torch.no_grad()
def test_forward_is_the_first_of_three_heads(network):
    x = torch.randn(1, 3, 64, 64)
    heads = network.heads(x)
    assert len(heads) == 3
    torch.testing.assert_close(network(x), heads[0])


@torch.no_grad()
def test_only_the_released_variant_forbids_negative_auxiliary_logits():
    torch.manual_seed(0)
    paper = DSTransUNet(DSTransUNetConfig.tiny()).eval()
    released = DSTransUNet(DSTransUNetConfig.tiny().model_copy(update={"variant": "released"})).eval()
    released.load_state_dict(paper.state_dict())
    x = torch.randn(1, 3, 64, 64)
    main, *auxiliary = paper.heads(x)
    assert min(logits.min() for logits in auxiliary) < 0
    for found, expected in zip(released.heads(x), (main, *(F.relu(logits) for logits in auxiliary)), strict=True):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_auxiliary_logits_are_constant_over_the_pixels_of_a_token(network):
    _, deep, middle = network.heads(torch.randn(1, 3, 64, 64))
    for logits, side in ((deep, 32), (middle, 4)):
        corners = logits[..., ::side, ::side].repeat_interleave(side, -1).repeat_interleave(side, -2)
        assert torch.equal(logits, corners)


@torch.no_grad()
def test_every_token_of_a_branch_hears_of_the_other_branch():
    torch.manual_seed(0)
    fusion = InteractiveFusion(DSTransUNetConfig.tiny(), 0)
    fine, coarse = torch.randn(1, 4, 4, 8), torch.randn(1, 2, 2, 6)
    fine_before, coarse_before = fusion(fine, coarse)
    fine_after, _ = fusion(fine, coarse + torch.randn(6))
    _, coarse_after = fusion(fine + torch.randn(8), coarse)
    assert (fine_after != fine_before).any(dim=-1).all()
    assert (coarse_after != coarse_before).any(dim=-1).all()


@torch.no_grad()
def test_fusion_knows_no_places():
    torch.manual_seed(0)
    fusion = InteractiveFusion(DSTransUNetConfig.tiny(), 0).double()
    fine, coarse = torch.randn(1, 4, 4, 8).double(), torch.randn(1, 2, 2, 6).double()
    turned, _ = fusion(fine.flip(1, 2), coarse.flip(2))
    torch.testing.assert_close(turned.flip(1, 2), fusion(fine, coarse)[0])


def test_a_single_head_as_wide_as_its_tokens_has_no_projection():
    assert isinstance(FusionLayer(64, heads=1, head_dim=64, hidden=8).attention.proj, nn.Identity)
    assert isinstance(FusionLayer(32, heads=1, head_dim=64, hidden=8).attention.proj, nn.Linear)
    assert isinstance(FusionLayer(96, heads=3, head_dim=32, hidden=8).attention.proj, nn.Linear)


def test_stochastic_depth_rises_to_the_rates_of_the_settings():
    with torch.device("meta"):
        network = DSTransUNet(DSTransUNetConfig.base())
    assert _rates(network.fine_encoder) == pytest.approx([0.5 * block / 23 for block in range(24)])
    assert _rates(network.coarse_encoder) == pytest.approx([0.2 * block / 11 for block in range(12)])
    assert _rates(network.swin_levels) == [0.0, 0.2] * 3


def test_checkpointing_runs_layers_twice_and_leaves_gradients_alone():
    gradients, runs = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = DSTransUNet(DSTransUNetConfig.tiny().model_copy(update={"checkpointing": checkpointing}))
        count = []
        for layer in (network.fine_encoder.stages[0][1].mlp, network.interactions[0].coarse_layer):
            layer.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        network(torch.ones(1, 3, 64, 64)).square().mean().backward()
        gradients.append(network.fine_encoder.embedding.proj.weight.grad)
        runs.append(len(count))
    assert runs == [2, 4]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 64, 64)])
def test_an_image_of_the_wrong_shape_is_refused(network, shape):
    with pytest.raises(ImageError, match=r"was given an image of shape .*\(B, 3, H, W\) was expected"):
        network(torch.zeros(shape))


@torch.no_grad()
def test_the_mapping_of_a_bundle_builds_the_network():
    network = DSTransUNet({**DSTransUNetConfig.tiny().model_dump(), "in_channels": 1}).eval()
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"fine_heads": (1, 3, 4, 8)}, "fine_dim 8.*not shared evenly"),
        ({"coarse_depths": (2, 0, 2, 2)}, "coarse_depths.*at least 1"),
        ({"norm_groups": 8}, "norm_groups 8 does not divide"),
        ({"variant": "draft"}, "variant.*'paper' or 'released'"),
        ({"window": 7}, "window.*Known settings: in_channels"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(change, complaint):
    with pytest.raises(SettingsError, match=complaint):
        DSTransUNet({**DSTransUNetConfig.tiny().model_dump(), **change})


def _parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def _rates(module):
    return [layer.rate for layer in module.modules() if isinstance(layer, StochasticDepth)]
