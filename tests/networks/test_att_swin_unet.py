"""Att-SwinU-Net: both ways of attending to the encoder, the sizes of the paper, and images of any size."""

import pytest
import torch
from einops import rearrange

from medseg.errors import ImageError, SettingsError
from medseg.networks.att_swin_unet import (
    AttSwinUNet,
    AttSwinUNetConfig,
    CrossContextualAttention,
    GuidedBlock,
    SkipJoining,
)
from medseg.networks.blocks import pad_image

PUBLISHED = AttSwinUNetConfig.tiny_7_224()
UNUSED = 7_968  # parameters of the release through which nothing passes: patch_embed.*, decoder.norm.*


def tiny(**changes) -> AttSwinUNetConfig:
    return AttSwinUNetConfig.from_mapping({**AttSwinUNetConfig.tiny().model_dump(), **changes}, source="test")


def network(seed: int = 0, **changes) -> AttSwinUNet:
    torch.manual_seed(seed)
    return AttSwinUNet(tiny(**changes)).eval()


def block(seed: int, *, is_shifted: bool) -> GuidedBlock:
    torch.manual_seed(seed)
    made = GuidedBlock(tiny(), 1, is_shifted=is_shifted, drop_path=0.0)
    torch.nn.init.normal_(made.attn.relative_position_bias_table)
    return made


def attention_map(guided: GuidedBlock, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The map (windows, heads, N, N) of a block without shift, laid out in full, and its values."""
    windows = rearrange(guided.norm1(x), "1 (i wi) (j wj) d -> (i j) (wi wj) d", wi=4, wj=4)
    q, k, v = rearrange(guided.attn.qkv(windows), "w n (three h d) -> three w h n d", three=3, h=2).unbind(0)
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + guided.attn.bias(16)
    return logits.softmax(dim=-1), v


@pytest.mark.parametrize(("changes", "published"), [
    ({}, 46_901_892),
    ({"depths": (2, 2, 2, 2)}, 32_689_956),
    ({"cross_skips": 0}, 41_388_804),
    ({"cross_skips": 0, "depths": (2, 2, 2, 2)}, 27_176_868),
])  # fmt: skip
def test_parameters_are_the_published_ones_without_the_unused(changes, published):
    with torch.device("meta"):
        model = AttSwinUNet(PUBLISHED.model_copy(update=changes))
    assert sum(parameter.numel() for parameter in model.parameters()) == published - UNUSED


def test_maps_have_the_sizes_of_the_drawing():
    seen = []
    with torch.device("meta"):
        model = AttSwinUNet(PUBLISHED)
        for stage in [*model.encoder, *reversed(model.decoder)]:
            stage.register_forward_hook(lambda stage, _, out: seen.append((len(stage.blocks), *out[0].shape[1:])))
        logits = model(torch.zeros(1, 3, 224, 224))
    down = [(2, 56, 56, 96), (2, 28, 28, 192), (6, 14, 14, 384), (2, 7, 7, 768)]
    assert seen == [*down, *reversed(down[:-1])]
    assert logits.shape == (1, 9, 224, 224)


def test_spatial_attention_multiplies_the_sum_of_both_maps_with_the_values_of_the_decoder():
    encoder, decoder = block(1, is_shifted=False), block(2, is_shifted=False)
    skip, x = torch.randn(2, 1, 8, 12, 16).unbind(0)
    _, guide = encoder(skip)
    guided, _ = decoder(x, guide)

    map_of_encoder, _ = attention_map(encoder, skip)
    map_of_decoder, values = attention_map(decoder, x)
    mixture = rearrange((map_of_encoder + map_of_decoder) @ values, "w h n d -> w n (h d)")
    mixture = rearrange(decoder.attn.proj(mixture), "(i j) (wi wj) d -> 1 (i wi) (j wj) d", i=2, wi=4)
    expected = x + mixture
    expected = expected + decoder.mlp(decoder.norm2(expected))
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)


def test_a_shifted_block_is_guided_in_its_own_windows():
    shifted = block(3, is_shifted=True)
    x = torch.randn(1, 8, 12, 16)
    _, own = shifted(x)
    twice, _ = shifted(x, own)
    with torch.no_grad():
        shifted.attn.proj.weight.mul_(2)
    expected, _ = shifted(x)
    torch.testing.assert_close(twice, expected, atol=1e-5, rtol=1e-5)


def test_an_axis_of_one_window_is_not_shifted():
    shifted = block(3, is_shifted=True)
    x = torch.randn(1, 4, 12, 16)
    stacked = torch.cat([x, torch.zeros(1, 8, 12, 16)], dim=1)
    assert shifted._plan((4, 12)).shift == (0, 2)
    assert (shifted(stacked)[0][:, :4] - shifted(x)[0]).abs().max() > 1e-3


def test_class_tokens_replace_the_first_tokens_in_the_released_code():
    crossing = CrossContextualAttention(tiny(variant="released"), 8)
    x, skip = torch.randn(2, 1, 4, 6, 8).unbind(0)
    for before, after in zip((x, skip), crossing(x, skip), strict=True):
        changed = (before != after).any(dim=-1)
        assert changed[0, 0, 0]
        assert changed.sum() == 1


def test_class_tokens_are_added_to_every_token_by_default():
    crossing = CrossContextualAttention(tiny(), 8)
    x, skip = torch.randn(2, 1, 4, 6, 8).unbind(0)
    for before, after in zip((x, skip), crossing(x, skip), strict=True):
        added = after - before
        torch.testing.assert_close(added, added[:, :1, :1].expand_as(added), atol=1e-6, rtol=1e-6)
        assert (added[0, 0, 0] - before.mean(dim=(1, 2))[0]).abs().max() > 1e-4


def test_the_skip_reads_what_the_decoder_has_learned_before():
    torch.manual_seed(4)
    crossing = CrossContextualAttention(tiny(cross_depth=2), 8)
    x, skip = torch.randn(2, 1, 4, 6, 8).unbind(0)
    first, last = crossing.decoder_reads
    class_x, tokens = x.mean(dim=(1, 2))[:, None], rearrange(skip, "b i j d -> b (i j) d")
    class_x = class_x + first(class_x, tokens)
    class_x = class_x + last(class_x, tokens)
    torch.testing.assert_close(crossing(x, skip)[0], x + class_x[:, None], atol=1e-5, rtol=1e-5)


def test_a_skip_can_be_joined_twice_with_the_same_weights():
    torch.manual_seed(5)
    once, twice = SkipJoining(tiny(cross_skips=0), 0), SkipJoining(tiny(cross_skips=0, skip_fusions=2), 0)
    twice.load_state_dict(once.state_dict())
    x, skip = torch.randn(2, 1, 4, 6, 8).unbind(0)
    torch.testing.assert_close(twice(x, skip), once(once(x, skip), skip))


@pytest.mark.parametrize(("cross_skips", "crossing"), [(0, []), (1, [1]), (2, [0, 1])])
def test_the_deepest_skips_exchange_class_tokens(cross_skips, crossing):
    model = network(cross_skips=cross_skips)
    assert [level for level, joining in enumerate(model.joining) if joining.crossing is not None] == crossing


def test_the_decoder_is_guided_by_the_encoder_in_the_paper_alone():
    image = torch.randn(1, 1, 16, 16)
    outputs = {}
    for variant in ("paper", "released"):
        model = network(variant=variant, cross_skips=0, skip_fusions=1)
        outputs[variant] = model(image)
        guides = []
        model.decoder[0].register_forward_pre_hook(lambda _, inputs, guides=guides: guides.extend(inputs[1]))
        model(image)
        assert len(guides) == (2 if variant == "paper" else 0)
    assert (outputs["paper"] - outputs["released"]).abs().max() > 1e-5


@pytest.mark.parametrize("size", [(37, 50), (8, 8), (1, 1), (64, 9)])
def test_any_size_is_filled_with_zeros_and_cropped_again(size):
    model, image = network(), torch.randn(2, 1, *size)
    with torch.no_grad():
        logits = model(image)
        expected = model(pad_image(image, [-(-n // 8) * 8 for n in size]))[:, :, : size[0], : size[1]]
    assert logits.shape == (2, 3, *size)
    torch.testing.assert_close(logits, expected)


def test_stochastic_depth_rises_along_the_encoder_and_is_mirrored_in_the_decoder():
    model = network(drop_path=0.5)
    encoder = [[block.drop_path.rate for block in stage.blocks] for stage in model.encoder]
    decoder = [[block.drop_path.rate for block in stage.blocks] for stage in model.decoder]
    assert [rate for stage in encoder for rate in stage] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert decoder == encoder[:-1]


def test_checkpointing_computes_every_block_twice_and_changes_no_gradient():
    image = torch.randn(1, 1, 16, 16)
    gradients, calls = [], []
    for checkpointing in (False, True):
        model = network(checkpointing=checkpointing).train()
        count = [0]
        blocks = [module for module in model.modules() if isinstance(module, GuidedBlock)]
        for guided in blocks:
            guided.mlp.register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        model(image).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        calls.append(count[0] / len(blocks))
    assert calls == [1, 2]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_mapping_builds_the_same_network_as_the_settings():
    assert AttSwinUNet(AttSwinUNetConfig.tiny().model_dump()).config == AttSwinUNetConfig.tiny()


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 8, 8, 8)])
def test_an_image_of_another_kind_is_refused(shape):
    with pytest.raises(ImageError, match=r"\(B, 1, H, W\) was expected"):
        network()(torch.zeros(shape))


@pytest.mark.parametrize(("changes", "message"), [
    ({"depths": (2,)}, "two stages or more"),
    ({"attn_windows": (4, 4)}, "one entry a stage"),
    ({"attn_windows": (4, 0, 4)}, "at least 1 everywhere"),
    ({"num_heads": (3, 2, 4)}, "8 cannot be shared evenly by 3 heads"),
    ({"cross_skips": 3}, "3 stages have 2 skips"),
    ({"skip_fusions": 3}, "skip_fusions"),
    ({"window": 7}, "window"),
])  # fmt: skip
def test_settings_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        AttSwinUNet({**AttSwinUNetConfig.tiny().model_dump(), **changes})
