"""From a bundle to a ``Segmenter``: its parts built on one device, its weights loaded, its road checked."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer
from monai.transforms import Compose
from torch import nn
from torch.overrides import TorchFunctionMode

from medseg import __version__
from medseg.bundle.cost import inference_mb
from medseg.bundle.download import large_files
from medseg.bundle.foreign import without_files
from medseg.bundle.load import Bundle, load_weights, sha256_of
from medseg.errors import BundleError, SettingsError
from medseg.inference import (
    MirrorInferer,
    Segmenter,
    WindowRuntime,
    batch_shape,
    check_runtime,
    is_out_of_memory,
    label_postprocessing,
    more_memory,
    region_threshold,
)

__all__ = ["build_network", "build_segmenter", "build_steps", "choose_device"]


CONVOLUTIONS_TAKE = 1.5
"""What a window takes, as a multiple of its maps: convolution libraries need room of their own."""


def choose_device(name: str) -> torch.device:
    """The device called ``auto`` (a GPU when there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SettingsError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise SettingsError(f"device {name!r} is unknown: expected auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count()
    if not torch.cuda.is_available() or int(number or 0) >= count:
        raise SettingsError(
            f"device {name!r} is not on this machine ({count} CUDA devices found): use --device auto or cpu."
        )
    return torch.device(name)


def build_network(bundle: Bundle, *, device: torch.device) -> nn.Module:
    """The bundle's trained network in evaluation mode.

    Raises:
        BundleError: the network cannot be built, or the weights are missing or do not fit it.
        SettingsError: the device has no room for them.
    """
    if not bundle.weights_path.is_file():
        raise BundleError(_how_to_get_weights(bundle))
    try:
        with _Uninitialised() if bundle.is_trusted else nullcontext():
            network: nn.Module = bundle.build("network", bundle.parser(device=device))
        return load_weights(network, bundle.weights_path).to(device).eval()
    except (BundleError, RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SettingsError(
            f"{device} has too little memory for the weights of {bundle.name}: {more_memory(device)}."
        ) from error


class _Uninitialised(TorchFunctionMode):
    """While this lasts, torch's initialisers leave parameters as memory was found: weights are loaded next.

    Random numbers for 62 million parameters take half a second. Parameters that weights lack are refused afterwards.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = kwargs["tensor"] if "tensor" in kwargs else next(iter(args), None)
        if getattr(func, "__module__", None) == nn.init.__name__ and isinstance(first, nn.Parameter):
            return first
        return func(*args, **kwargs)


def _how_to_get_weights(bundle: Bundle) -> str:
    if bundle.weights is not None:
        return f"no weights at {bundle.weights.name}: give a .safetensors, .pt or .pth file with --weights."
    ways = [f"medseg bundle download {bundle.name}"] if large_files(bundle.folder) else []
    ways += [f"medseg train {bundle.name}", "other weights that fit with --weights FILE"]
    return f"bundle {bundle.name} has no weights here; to get them: {', or '.join(ways)}."


def build_steps(bundle: Bundle, part: str, parser: ConfigParser) -> Compose:
    """The transforms of ``preprocessing`` or ``postprocessing``.

    Raises:
        BundleError: they cannot be built, or are no ``Compose``.
    """
    steps = bundle.build(part, parser)
    if not isinstance(steps, Compose):
        raise BundleError(f"bundle {bundle.name}: {part!r} is a {type(steps).__name__}: MONAI's Compose was expected.")
    return steps


def build_segmenter(bundle: Bundle, *, device: torch.device, runtime: str = "torch", mirror: bool = False) -> Segmenter:
    """The bundle, ready to segment on one device.

    Args:
        runtime: what computes the windows, see ``medseg.inference.RUNTIMES``.
        mirror: average each scan and its mirror images along the axes that the bundle names in ``mirror_axes``.
    Raises:
        SettingsError: the runtime is unknown, not installed, or does not compute on this device; the bundle names no
            axes to mirror.
        BundleError: a part is missing or cannot be built, or the weights are missing or do not fit.
    """
    check_runtime(runtime, device=device)
    parser = replace(bundle, config=without_files(bundle.config)).parser(device=device)
    postprocessing = build_steps(bundle, "postprocessing", parser) if "postprocessing" in bundle.config else Compose([])
    network = build_network(bundle, device=device)
    inferer: Inferer = bundle.build("inferer", parser)
    return Segmenter(
        name=bundle.name,
        preprocessing=build_steps(bundle, "preprocessing", parser),
        network=network,
        inferer=_mirrored(bundle, inferer) if mirror else inferer,
        postprocessing=label_postprocessing(postprocessing),
        label_table=bundle.label_table,
        channel_names=tuple(channel.name for channel in bundle.channels),
        device=device,
        region_threshold=region_threshold(postprocessing),
        window_mb=_window_mb(bundle, inferer),
        runtime=WindowRuntime(
            network, name=runtime, key=_key_of(bundle), device=device, fetch=_fetching(bundle, network)
        ),
    )


def _window_mb(bundle: Bundle, inferer: Inferer) -> Callable[[int], float] | None:
    """What so many of the bundle's windows take together; None where that cannot be reckoned."""
    shape = batch_shape(inferer, len(bundle.channels))
    if shape is None or "network_def" not in bundle.config:
        return None

    @cache
    def reckoned(count: int) -> float:
        network = bundle.build("network_def", bundle.parser(device=torch.device("cpu")))
        return CONVOLUTIONS_TAKE * inference_mb(network, (count, *shape[1:]))

    return reckoned


def _mirrored(bundle: Bundle, inferer: Inferer) -> Inferer:
    if isinstance(inferer, MirrorInferer):
        return inferer
    axes = bundle.config.get("mirror_axes")
    if not axes:
        raise SettingsError(
            f"bundle {bundle.name} names no mirror_axes: its labels may be left and right, or it was not trained on "
            "mirror images. Run it without mirrors."
        )
    return MirrorInferer(inferer, axes)


def _fetching(bundle: Bundle, network: nn.Module) -> Callable[[], nn.Module]:
    """Loads the same weights into the network once more."""
    digest = sha256_of(bundle.weights_path)

    def fetch() -> nn.Module:
        """The network with its weights.

        Raises:
            BundleError: the file is gone, or holds others by now.
        """
        if not bundle.weights_path.is_file() or sha256_of(bundle.weights_path) != digest:
            raise BundleError(f"bundle {bundle.name} got other weights while it was at work: start the run again.")
        return load_weights(network, bundle.weights_path)

    return fetch


def _key_of(bundle: Bundle) -> str:
    """A name for the network with its weights, the same wherever both are the same."""
    parts = [bundle.config.get("network_def"), sha256_of(bundle.weights_path), __version__, str(torch.__version__)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]
