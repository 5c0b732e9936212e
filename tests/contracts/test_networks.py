"""What every network in ``medseg/networks`` promises, whoever wrote it; networks are found on disk."""

import copy
import math
from importlib import import_module
from itertools import chain

import pytest
import torch
from torch import nn

import medseg.networks
from medseg.errors import ImageError, MedsegError, SettingsError
from medseg.networks import network_names
from medseg.settings import Settings

MODULES = [import_module(f"medseg.networks.{name}") for name in network_names()]
NETWORKS = [pytest.param(module, id=module.__name__.rpartition(".")[2]) for module in MODULES]
AWKWARD = {2: (72, 104), 3: (20, 36, 44)}  # no multiple of anything a network divides by
SMALL = {2: (64, 64), 3: (16, 32, 32)}

pytestmark = pytest.mark.parametrize("module", NETWORKS)


def build(module, config=None) -> nn.Module:
    """The network with the same random weights at every call; nothing in it is left at zero."""
    torch.manual_seed(0)
    network = module.NETWORK(config or module.CONFIG.tiny())
    for name, parameter in network.named_parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2 if "bias" in name else 0.05)
    return network


def image_for(network, sizes, *, batch=1) -> torch.Tensor:
    config = network.config
    shape = (batch, config.in_channels, *sizes[config.spatial_dims])
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_a_network_ends_with_its_two_constants(module):
    assert issubclass(module.NETWORK, nn.Module)
    assert issubclass(module.CONFIG, Settings)
    assert {"CONFIG", "NETWORK", module.NETWORK.__name__, module.CONFIG.__name__} <= set(module.__all__)
    assert getattr(medseg.networks, module.NETWORK.__name__) is module.NETWORK
    assert module.CONFIG.tiny().spatial_dims in (2, 3)


def test_a_mapping_builds_the_same_network_as_the_settings_object(module):
    config = module.CONFIG.tiny()
    from_mapping = build(module, config.model_dump())
    assert from_mapping.config == config
    assert from_mapping.state_dict().keys() == build(module, config).state_dict().keys()


def test_an_unknown_setting_is_refused_by_name(module):
    with pytest.raises(SettingsError, match="wheels"):
        module.NETWORK({**module.CONFIG.tiny().model_dump(), "wheels": 4})


def test_tables_that_can_be_computed_are_not_stored(module):
    derived = [name for name in build(module).state_dict() if name.endswith(("position_index", "attn_mask"))]
    assert not derived


@pytest.mark.parametrize("sizes", [AWKWARD, SMALL], ids=["awkward", "small"])
@torch.no_grad()
def test_logits_have_the_images_size_and_type(module, sizes):
    network = build(module).eval()
    image = image_for(network, sizes, batch=2)
    logits = network(image)
    assert logits.shape == (2, network.config.out_channels, *image.shape[2:])
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@torch.no_grad()
def test_an_image_with_one_channel_too_many_is_refused_with_a_message(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    with pytest.raises(ImageError, match="channel"):
        network(torch.cat((image, image[:, :1]), dim=1))


@torch.no_grad()
def test_the_first_head_is_what_the_network_returns(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    heads = network.heads(image)
    assert isinstance(heads, tuple)
    torch.testing.assert_close(heads[0], network(image))


@torch.no_grad()
def test_the_network_changes_neither_its_input_nor_itself(module):
    network = build(module).eval()
    image = image_for(network, AWKWARD)
    image_before, state_before = image.clone(), copy.deepcopy(network.state_dict())
    attributes_before = [dict(vars(part)) for part in network.modules()]
    first = network(image)
    second = network(image)
    assert torch.equal(first, second)
    assert torch.equal(image, image_before)
    assert all(torch.equal(value, state_before[name]) for name, value in network.state_dict().items())
    assert [dict(vars(part)) for part in network.modules()] == attributes_before


@torch.no_grad()
def test_an_image_of_another_size_leaves_no_trace(module):
    network = build(module).eval()
    images = [image_for(network, sizes) for sizes in (AWKWARD, SMALL, AWKWARD)]
    in_turn = [network(image) for image in images]
    alone = [build(module).eval()(image) for image in images]
    assert all(torch.equal(one, other) for one, other in zip(in_turn, alone, strict=True))


@torch.no_grad()
def test_samples_of_a_batch_do_not_see_each_other(module):
    network = build(module).eval()
    batch = image_for(network, SMALL, batch=2)
    torch.testing.assert_close(network(batch)[1:], network(batch[1:]), atol=1e-4, rtol=1e-4)


def test_the_result_is_the_same_whether_gradients_are_wanted_or_not(module):
    network = build(module).eval()
    image = image_for(network, AWKWARD)
    with_gradients = network(image).detach()
    with torch.inference_mode():
        torch.testing.assert_close(network(image).clone(), with_gradients, atol=1e-4, rtol=1e-4)


def test_training_still_works_after_inference(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    with torch.inference_mode():
        network(image)
    network.train()(image_for(network, SMALL, batch=2)).sum().backward()


def test_every_parameter_is_moved_by_training(module):
    network = build(module).train()
    outputs = network.heads(image_for(network, AWKWARD, batch=2))
    generator = torch.Generator().manual_seed(2)
    sum((output * torch.randn(output.shape, generator=generator)).sum() for output in outputs).backward()
    still = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert not still


@torch.no_grad()
def test_bfloat16_is_close_to_float32(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    exact = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = network(image).float()
    assert (coarse - exact).abs().mean() < 0.05 * exact.std()


@torch.no_grad()
def test_double_precision_is_double_throughout(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    single, double = network(image), network.double()(image.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_an_exported_graph_gives_the_same_logits(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    program = torch.export.export(network, (image,))
    torch.testing.assert_close(program.module()(image), network(image), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_network_can_be_compiled_as_one_graph(module):
    network = build(module).eval()
    image = image_for(network, SMALL)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), network(image), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_an_onnx_file_gives_the_same_logits(module, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = build(module).eval()
    image = image_for(network, SMALL)
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (image,), path, dynamo=True, opset_version=18)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), network(image), atol=1e-3, rtol=1e-3)


def test_every_setting_changes_something(module):
    config = module.CONFIG.tiny()
    reference = Behaviour(module, config)
    without_effect = [
        name
        for name in type(config).model_fields
        if not any(reference.differs_from(Behaviour(module, other)) for other in neighbours(config, name))
    ]
    assert not without_effect


class Behaviour:
    """What can be seen of a configuration, the cheapest first: its parameters, its logits, its training."""

    def __init__(self, module, config):
        self.module, self.config = module, config
        self.network = build(module, config)
        self.shapes = {name: value.shape for name, value in self.network.state_dict().items()}

    def differs_from(self, other) -> bool:
        if self.shapes != other.shapes or not same(self.logits(), other.logits()):
            return True
        return not same(self.training(), other.training())

    @torch.no_grad()
    def logits(self) -> tuple[torch.Tensor, ...]:
        return self.network.eval().heads(image_for(self.network, AWKWARD))

    def training(self) -> tuple[torch.Tensor, ...]:
        """Logits where chance plays its part, and how often leaves were called until the gradients were there."""
        network = copy.deepcopy(self.network).train()
        calls = torch.zeros(1)
        for part in network.modules():
            if not list(part.children()):
                part.register_forward_pre_hook(lambda *_: calls.add_(1) and None)
        torch.manual_seed(3)
        outputs = network.heads(image_for(network, AWKWARD, batch=2))
        sum(output.square().sum() for output in outputs).backward()
        return (*(output.detach() for output in outputs), calls)


def same(some, others) -> bool:
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def neighbours(config, name):
    """Valid configurations that differ from ``config`` in one field alone."""
    values = config.model_dump()
    for value in candidates(type(config).model_fields[name].annotation, getattr(config, name)):
        try:
            yield type(config).from_mapping({**values, name: value}, source="test")
        except MedsegError:
            continue


def candidates(annotation, value):
    """Other values of one field, likely to be valid."""
    choices = getattr(annotation, "__args__", ()) if "Literal" in repr(annotation) else ()
    yield from (choice for choice in choices if choice != value and not isinstance(choice, type))
    if isinstance(value, Settings):
        for name, field in type(value).model_fields.items():
            for other in candidates(field.annotation, getattr(value, name)):
                yield {**value.model_dump(), name: other}
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (other for other in (value + 1, value * 2, value * 3, value - 1, value // 2) if other != value)
    elif isinstance(value, float):
        yield from (value + 0.5, value * 2)
    elif isinstance(value, tuple):
        for place, entry in enumerate(value):
            yield from ((*value[:place], other, *value[place + 1 :]) for other in candidates(type(entry), entry))
        yield from chain((tuple(2 * entry for entry in value),), (tuple(math.ceil(entry / 2) for entry in value),))
    elif value is None:
        yield from (1, 2, 4)
