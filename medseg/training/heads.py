"""The heads of a network: its outputs, and the parameters whose shape follows from the number of their channels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from medseg.atomic import atomic_write
from medseg.bundle import Bundle
from medseg.errors import BundleError

__all__ = ["AllHeads", "head_names", "left_out_of", "with_output_channels", "write_without_heads"]

LEFT_OUT: Final = "medseg_left_out"
"""Entry of a weights file's header: a JSON list of the parameters that are not in it."""


def with_output_channels(bundle: Bundle, count: int) -> dict[str, Any]:
    """The bundle's ``network_def`` with that many output channels.

    Raises:
        BundleError: the network's definition does not name its output channels.
    """
    definition = dict(bundle.entry("network_def"))
    if isinstance(definition.get("config"), dict) and "out_channels" in definition["config"]:
        return {**definition, "config": {**definition["config"], "out_channels": count}}
    if "out_channels" in definition:
        return {**definition, "out_channels": count}
    raise BundleError(f"{bundle.name}: network_def names no out_channels: pretraining must be able to change them.")


def head_names(bundle: Bundle) -> list[str]:
    """The parameters that another number of output channels gives another shape."""
    shapes = []
    for count in (2, 3):
        changed = bundle.with_config(network_def=with_output_channels(bundle, count))
        network = changed.build("network_def", changed.parser(device=torch.device("cpu")))
        shapes.append({key: value.shape for key, value in network.state_dict().items()})
    return sorted(key for key in shapes[0] if shapes[0][key] != shapes[1].get(key))


def write_without_heads(source: Path, target: Path, *, heads: list[str]) -> None:
    """Copy a weights file without these parameters; its header says which are missing."""
    kept = {key: value for key, value in load_file(source).items() if key not in heads}
    with atomic_write(target, overwrite=True) as temporary:
        temporary.write_bytes(save(kept, metadata={LEFT_OUT: json.dumps(heads)}))


def left_out_of(path: Path) -> list[str]:
    """The parameters that a weights file says it does not hold; none for any other file."""
    if path.suffix != ".safetensors":
        return []
    try:
        with safe_open(path, framework="pt") as file:
            return list(json.loads((file.metadata() or {}).get(LEFT_OUT, "[]")))
    except (SafetensorError, OSError, ValueError):
        return []  # whoever reads the weights says what is wrong with the file


class AllHeads(nn.Module):
    """A network that gives the logits of all its heads, the main one first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits (B, L, *S) of each head, of images (B, C, *S)."""
        heads: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = self.network.heads  # type: ignore[assignment]
        return heads(images)
