"""Swin UNETR: the published sizes, any input size, and MONAI's own network as a witness."""

import pytest
import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

from medseg.errors import ImageError, SettingsError
from medseg.networks.swin_unetr import SwinUNETR, SwinUNETRConfig


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SwinUNETR(SwinUNETRConfig.tiny()).eval()


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (SwinUNETRConfig.brats21(), 62_191_941),
        (SwinUNETRConfig.btcv(), 62_187_296),
        (SwinUNETRConfig(in_channels=4, out_channels=3, stage_convolutions=True), 72_767_301),
        *(
            (SwinUNETRConfig(in_channels=4, out_channels=3, feature_size=size), parameters)
            for size, parameters in ((12, 4_079_373), (24, 15_705_621), (36, 35_076_477), (60, 97_052_013))
        ),
    ],
)
def test_published_settings_have_the_published_number_of_parameters(config, parameters):
    with torch.device("meta"):
        network = SwinUNETR(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_maps_have_the_sizes_of_the_drawing():
    with torch.device("meta"):
        network = SwinUNETR(SwinUNETRConfig.brats21())
        maps = network.swinViT(torch.empty(1, 4, 128, 128, 128))
    assert [tuple(x.shape) for x in maps] == [
        (1, 48, 64, 64, 64), (1, 96, 32, 32, 32), (1, 192, 16, 16, 16), (1, 384, 8, 8, 8), (1, 768, 4, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("extra", [{}, {"use_v2": True, "spatial_dims": 2, "norm_name": ("group", {"num_groups": 4})}])
def test_parameters_have_the_names_that_monai_gives_them(extra):
    monai = MonaiSwinUNETR(in_channels=1, out_channels=2, feature_size=12, **extra)
    names = {name for name in monai.state_dict() if not name.endswith("relative_position_index")}
    ours = {"stage_convolutions": True, "spatial_dims": 2, "norm": {"kind": "group", "groups": 4, "affine": True}}
    network = SwinUNETR({"in_channels": 1, "out_channels": 2, "feature_size": 12, **(ours if extra else {})})
    assert set(network.state_dict()) == names


@torch.no_grad()
def test_an_image_of_any_size_is_that_image_filled_up_with_zeros(network):
    image = torch.randn(1, 1, 40, 20, 33)
    filled = torch.zeros(1, 1, 64, 32, 64)
    filled[..., :40, :20, :33] = image
    torch.testing.assert_close(network(image), network(filled)[..., :40, :20, :33])


@torch.no_grad()
def test_the_smallest_image_leaves_the_coarsest_map_something_to_normalise(network):
    assert network(torch.randn(1, 1, 32, 32, 32)).isfinite().all()
    assert network(torch.randn(1, 1, 1, 1, 1)).shape == (1, 2, 1, 1, 1)


def test_an_image_with_other_axes_is_refused_with_what_was_expected(network):
    with pytest.raises(ImageError, match=r"\(1, 1, 32, 32\): expected .* 1 channels and 3 axes"):
        network(torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"feature_size": 9}, "cannot be shared evenly by 2 heads"),
        ({"attn_window": (7, 7)}, "attn_window must be"),
        ({"depths": (2, 2, 0, 2)}, "at least 1 in every stage"),
        ({"merging": "v0.9"}, "legacy"),
        ({"img_size": 96}, "img_size"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, message):
    config = {"in_channels": 1, "out_channels": 2, "feature_size": 12, "num_heads": (2, 4, 8, 8), **values}
    with pytest.raises(SettingsError, match=message):
        SwinUNETR(config)


def test_gradients_are_the_same_with_and_without_checkpointing():
    gradients = []
    image = torch.randn(1, 1, 32, 32, 32)
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = SwinUNETR(SwinUNETRConfig.tiny().model_copy(update={"checkpointing": checkpointing}))
        network(image).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(*gradients)
