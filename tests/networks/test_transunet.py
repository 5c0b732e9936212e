"""TransUNet: the numbers of its drawing, what its parts promise, and what it refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medseg.errors import ImageError, SettingsError
from medseg.networks.transunet import StandardisedConv2d, TokenEmbedding, TransUNet, TransUNetConfig


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return _lively(TransUNet(TransUNetConfig.tiny())).eval()


def _lively(network):
    """Positions start at zero, where nothing could be seen of them."""
    nn.init.normal_(network.embedding.positions)
    return network


@pytest.mark.parametrize(
    ("setting", "parameters"),
    [("r50_vit_b16", 105_277_081), ("r50_vit_l16", 324_024_729), ("vit_b16", 91_674_201), ("vit_l16", 310_356_313)],
)
def test_published_settings_have_the_authors_number_of_parameters(setting, parameters):
    with torch.device("meta"):
        network = TransUNet(getattr(TransUNetConfig, setting)())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_maps_have_the_sizes_of_the_drawing():
    with torch.device("meta"):
        network = TransUNet(TransUNetConfig.r50_vit_b16())
        deepest, skips = network.resnet(torch.empty(1, 3, 224, 224))
        assert network.embedding(deepest).shape == (1, 196, 768)
        assert network(torch.empty(1, 1, 224, 224)).shape == (1, 9, 224, 224)
    assert deepest.shape == (1, 1024, 14, 14)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(512, 28, 28), (256, 56, 56), (64, 112, 112)]


@torch.no_grad()
def test_second_skip_ends_in_a_row_and_a_column_of_zeros(network):
    _, (_, skip, _) = network.resnet(torch.randn(1, 3, 48, 32))
    assert skip.shape[2:] == (12, 8)
    assert not skip[..., -1, :].any()
    assert not skip[..., -1].any()
    assert skip[..., -2, :-1].any()


@torch.no_grad()
def test_a_grey_slice_is_read_as_three_equal_channels(network):
    grey = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))


@torch.no_grad()
def test_a_slice_of_any_size_is_that_slice_filled_up_with_zeros(network):
    x = torch.randn(1, 1, 37, 50)
    filled = F.pad(x, (0, 14, 0, 11))
    torch.testing.assert_close(network(x), network(filled)[..., :37, :50])


@torch.no_grad()
def test_forward_is_the_only_head(network):
    x = torch.randn(1, 1, 32, 32)
    (logits,) = network.heads(x)
    assert torch.equal(network(x), logits)


def test_positions_of_another_grid_lie_between_those_learned():
    embedding = TokenEmbedding(TransUNetConfig.tiny())  # 2×2 positions
    values = torch.tensor([0.0, 2.0, 4.0, 6.0])  # rows differ by 4, columns by 2
    embedding.positions.data = values.reshape(1, 4, 1).repeat(1, 1, 24)
    found = embedding._positions_on(3, 2)[0, :, 0]
    assert found.tolist() == [0, 2, 2, 4, 4, 6]


def test_a_standardised_filter_forgets_its_mean_and_its_scale():
    torch.manual_seed(0)
    convolution = StandardisedConv2d(3, 4, 3, bias=False).double()
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    nn.init.normal_(convolution.weight, std=100)  # far above the epsilon under the root
    before = convolution(x)
    convolution.weight.data = 7 * convolution.weight.data + 3
    torch.testing.assert_close(convolution(x), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("skips", "inputs"),
    [(0, [512, 16, 8, 8]), (1, [768, 16, 8, 8]), (2, [768, 144, 8, 8]), (3, [768, 144, 40, 8])],
)
@torch.no_grad()
def test_as_many_maps_reach_the_decoder_as_there_are_skips(skips, inputs):
    torch.manual_seed(0)
    config = TransUNetConfig.tiny().model_copy(update={"skips": skips})
    network = TransUNet(config).eval()
    assert [block[0][0].in_channels for block in network.decoder.blocks] == inputs
    assert network(torch.randn(1, 1, 32, 32)).shape == (1, 3, 32, 32)


@torch.no_grad()
def test_without_a_resnet_the_transformer_reads_patches_of_pixels():
    torch.manual_seed(0)
    config = TransUNetConfig.tiny().model_copy(update={"resnet_units": None, "skips": 0})
    network = TransUNet(config).eval()
    assert network.resnet is None
    assert network.embedding.project.kernel_size == (16, 16)
    assert network(torch.randn(1, 1, 20, 32)).shape == (1, 3, 20, 32)


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    network = TransUNet(TransUNetConfig.tiny().model_copy(update={"dropout": 0.5}))
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))


def test_checkpointing_runs_layers_twice_and_leaves_gradients_alone():
    gradients, runs = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = TransUNetConfig.tiny().model_copy(update={"checkpointing": checkpointing, "dropout": 0.0})
        network = TransUNet(config)
        count = []
        for layer in (network.transformer[0].mlp, network.resnet.stages[1]):
            layer.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        network(torch.ones(2, 1, 32, 32)).square().mean().backward()
        gradients.append(network.resnet.root[0].weight.grad)
        runs.append(len(count))
    assert runs == [2, 4]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("shape", [(1, 2, 32, 32), (1, 32, 32)])
def test_an_image_of_the_wrong_shape_is_refused(network, shape):
    with pytest.raises(ImageError, match=r"was given an image of shape .*\(B, 1, H, W\) was expected"):
        network(torch.zeros(shape))


def test_the_mapping_of_a_bundle_builds_the_network():
    network = TransUNet({**TransUNetConfig.tiny().model_dump(), "in_channels": 4})
    assert network.resnet.root[0].in_channels == 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"heads": 5}, "cannot be shared evenly by 5 heads"),
        ({"resnet_units": None}, "set skips to 0"),
        ({"resnet_units": (1, 0, 1)}, "at least 1 each"),
        ({"image_size": 40}, "image_size.*multiple of 16"),
        ({"resnet_width": 48}, "resnet_width.*multiple of 32"),
        ({"skips": 4}, "skips.*less than or equal to 3"),
        ({"patch": 16}, "patch.*Known settings: in_channels"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(change, complaint):
    with pytest.raises(SettingsError, match=complaint):
        TransUNet({**TransUNetConfig.tiny().model_dump(), **change})
