"""D-Former: which tokens meet, the sizes of the paper, and volumes at which the released code stops."""

from itertools import product
from math import prod

import pytest
import torch
from torch import nn

from medseg.errors import ImageError, SettingsError
from medseg.networks.blocks import pad_image
from medseg.networks.dformer import Block, DFormer, DFormerConfig, join_groups, plan_groups, split_groups

BASE = DFormerConfig.base()
FINAL_2 = 4_724_736  # parameters of the released third head, which the released code never trains


def tiny(**changes) -> DFormerConfig:
    return DFormerConfig.from_mapping({**DFormerConfig.tiny().model_dump(), **changes}, source="test")


def network(seed: int = 0, **changes) -> DFormer:
    torch.manual_seed(seed)
    return DFormer(tiny(**changes)).eval()


def parameters(config: DFormerConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in DFormer(config).parameters())


def tokens_at_stage(voxels: tuple[int, ...], stage: int) -> tuple[int, ...]:
    return tuple(n // (p * 2**stage) for n, p in zip(voxels, BASE.patch_size, strict=True))


def pairs(size, share) -> torch.Tensor:
    """(N, N): whether two tokens of a map have the same ``share`` (a function of the token's coordinates)."""
    shares = [share(position) for position in product(*map(range, size))]
    return torch.tensor([[a == b for b in shares] for a in shares])


def test_base_model_has_the_published_parameters_without_the_untrained_head():
    assert parameters(BASE) == 50_557_248 - FINAL_2


def test_base_model_with_every_head_has_the_published_parameters():
    assert parameters(BASE.model_copy(update={"auxiliary_heads": 2})) == 50_557_248


def test_base_model_without_auxiliary_heads_has_the_published_parameters():
    assert parameters(BASE.model_copy(update={"auxiliary_heads": 0})) == 44_649_792


def test_heads_have_the_sizes_of_the_drawing():
    with torch.device("meta"):
        model = DFormer(BASE.model_copy(update={"auxiliary_heads": 2}))
        heads = model.heads(torch.zeros(1, 1, 64, 128, 128))
    assert [tuple(head.shape) for head in heads] == [
        (1, 14, 64, 128, 128),
        (1, 14, 32, 64, 64),
        (1, 14, 16, 32, 32),
    ]


def test_groups_are_those_of_the_drawing():
    line = torch.arange(12.0).reshape(1, 1, 1, 12, 1)
    near = plan_groups((1, 1, 12), (1, 1, 4), interval=None, is_released=False)
    far = plan_groups((1, 1, 12), (1, 1, 4), interval=1, is_released=False)
    assert split_groups(line, near).squeeze(-1).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert split_groups(line, far).squeeze(-1).tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


@pytest.mark.parametrize(("stage", "steps"), [(0, (16, 4, 4)), (1, (8, 2, 2)), (2, (4, 1, 1))])
def test_global_groups_of_the_base_model_take_the_published_steps(stage, steps):
    size = tokens_at_stage((64, 128, 128), stage)
    plan = plan_groups(size, BASE.group_size, interval=BASE.intervals[stage], is_released=True)
    assert (plan.grid, plan.group, plan.is_masked) == (steps, (2, 8, 8), False)


@pytest.mark.parametrize("voxels", [(64, 128, 128), (32, 128, 128), (128, 128, 128), (64, 160, 160), (48, 192, 192)])
def test_both_variants_share_out_maps_alike_at_usual_sizes(voxels):
    for stage, interval in enumerate(BASE.intervals):
        size = tokens_at_stage(voxels, stage)
        for used in (None, interval):
            ours = plan_groups(size, BASE.group_size, interval=used, is_released=False)
            assert ours == plan_groups(size, BASE.group_size, interval=used, is_released=True)


def test_a_plane_of_224_is_filled_up_where_the_released_code_stops():
    size = tokens_at_stage((64, 224, 224), 1)
    plan = plan_groups(size, BASE.group_size, interval=4, is_released=True)
    assert (size, plan.group, plan.padded) == ((16, 28, 28), (2, 10, 10), (16, 30, 30))


@pytest.mark.parametrize("size", [(3, 5, 6), (4, 8, 8), (1, 9, 4), (5, 2, 11)])
@pytest.mark.parametrize("interval", [None, 1, 3, 4])
def test_a_group_joined_is_the_map_again(size, interval):
    plan = plan_groups(size, (2, 4, 4), interval=interval, is_released=False)
    padded = torch.rand(2, *plan.padded, 3)
    assert torch.equal(join_groups(split_groups(padded, plan), plan), padded)


@pytest.mark.parametrize("size", [(3, 5, 6), (4, 8, 8), (1, 9, 4), (5, 2, 11)])
@pytest.mark.parametrize("interval", [None, 1, 3, 4])
def test_a_token_attends_to_the_tokens_of_its_group_and_to_no_padding(size, interval):
    torch.manual_seed(1)
    block = Block(tiny(), 1, interval=interval)
    x = torch.randn(2, *size, 16)
    plan = plan_groups(size, (2, 4, 4), interval=interval, is_released=False)
    if plan.is_dilated:
        meet = pairs(size, lambda position: [n % step for n, step in zip(position, plan.grid, strict=True)])
    else:
        meet = pairs(size, lambda position: [n // extent for n, extent in zip(position, plan.group, strict=True)])

    bias = torch.zeros(meet.shape).masked_fill(~meet, float("-inf"))
    tokens = block.attention_norm(x).reshape(2, prod(size), 16)
    expected = x + block.attention(tokens, bias[None, None]).reshape(x.shape)
    expected = expected + block.mlp(block.mlp_norm(expected))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_padding_of_the_first_axis_alone_takes_part_in_the_released_code():
    torch.manual_seed(2)
    paper = Block(tiny(), 1, interval=4)
    released = Block(tiny(variant="released"), 1, interval=4)
    released.load_state_dict(paper.state_dict())
    whole, short = torch.randn(1, 4, 8, 8, 16), torch.randn(1, 3, 8, 8, 16)
    torch.testing.assert_close(released(whole), paper(whole))
    assert (released(short) - paper(short)).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "of_the_paper", "of_the_release"), [
    ((2, 3, 3), True, True),
    ((8, 3, 8), False, True),
    ((1, 8, 4), True, False),
])  # fmt: skip
def test_a_small_map_is_one_group(size, of_the_paper, of_the_release):
    paper = plan_groups(size, (2, 4, 4), interval=4, is_released=False)
    release = plan_groups(size, (2, 4, 4), interval=4, is_released=True)
    assert (paper.group == size, release.group == size) == (of_the_paper, of_the_release)


@pytest.mark.parametrize("size", [(7, 18, 33), (8, 8, 40), (1, 1, 1)])
def test_any_size_is_filled_with_zeros_and_cropped_again(size):
    model, volume = network(), torch.randn(1, 1, *size)
    padded = pad_image(volume, [-(-n // d) * d for n, d in zip(size, model.config.divisor, strict=True)])
    with torch.no_grad():
        main, half = model.heads(volume)
        expected = model(padded)[:, :, : size[0], : size[1], : size[2]]
    assert main.shape == (1, 3, *size)
    assert half.shape == (1, 3, *[(n + 1) // 2 for n in size])
    torch.testing.assert_close(main, expected)


def test_checkpointing_computes_every_block_twice_and_changes_no_gradient():
    volume = torch.randn(1, 1, 8, 16, 16)
    gradients, calls = [], []
    for checkpointing in (False, True):
        model = network(checkpointing=checkpointing).train()
        count = [0]
        blocks = [module for module in model.modules() if isinstance(module, Block)]
        for block in blocks:
            block.mlp.register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        sum(head.square().sum() for head in model.heads(volume)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        calls.append(count[0] / len(blocks))
    assert calls == [1, 2]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_mapping_builds_the_same_network_as_the_settings():
    assert DFormer(DFormerConfig.tiny().model_dump()).config == DFormerConfig.tiny()


@pytest.mark.parametrize("shape", [(1, 2, 8, 8, 8), (1, 8, 8, 8)])
def test_a_volume_of_another_kind_is_refused(shape):
    with pytest.raises(ImageError, match=r"\(B, 1, I, J, K\) was expected"):
        network()(torch.zeros(shape))


@pytest.mark.parametrize(("changes", "message"), [
    ({"depths": (2,)}, "two stages or more"),
    ({"intervals": (4, 2)}, "one entry a stage"),
    ({"group_size": (0, 4, 4)}, "at least 1 everywhere"),
    ({"num_heads": (3, 2, 4)}, "8 cannot be shared evenly by 3 heads"),
    ({"auxiliary_heads": 2}, "room for 1 auxiliary heads"),
    ({"window": 7}, "window"),
])  # fmt: skip
def test_settings_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        DFormer({**DFormerConfig.tiny().model_dump(), **changes})


def test_released_and_paper_variants_have_the_same_weights():
    assert isinstance(network(), nn.Module)
    assert network().state_dict().keys() == network(variant="released").state_dict().keys()
