"""The authors' released weights, read and put into our networks.

In: a file in any of the published formats (or a state dict), and the settings under the released code's own names.
Out: our network with those weights, and the report of where every key went.

Each network has a file of its name beside this one, with ``config_from_release`` and ``rename``; it is found on disk.
"""

import codecs
import io
import pkgutil
import zipfile
from argparse import Namespace
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medseg.errors import SettingsError
from medseg.networks.checkpoints.report import LoadReport, RenamedState, WeightsError, fill
from medseg.settings import Settings

__all__ = [
    "Importer",
    "known_importers",
    "load_released",
    "load_start",
    "open_weights",
    "read_settings",
    "released_settings",
    "settings_told_by",
]

CONTAINERS: Final = ("state_dict", "model_state_dict", "model", "model_weights", "net", "network", "network_weights")
PREFIXES: Final = ("module.", "backbone.", "_orig_mod.")
TORCH_SUFFIXES: Final = (".pt", ".pth", ".ckpt", ".tar", ".bin")


class Importer(Protocol):
    """What the file of a network in this folder offers."""

    def config_from_release(self, config: Mapping[str, Any]) -> Settings:
        """Our settings from those of the released code, under its names."""

    def rename(self, state: Mapping[str, Tensor], config: Any) -> RenamedState:
        """Released tensors under our names."""


def load_released(
    network: str, weights: Path | str | Mapping[str, Tensor], config: Mapping[str, Any] | Settings
) -> tuple[nn.Module, LoadReport]:
    """Our network with the authors' weights, in evaluation mode on the CPU, and what became of every key.

    Args:
        network: name of the network's file, for example ``"swin_unetr"``.
        weights: a file (.pt, .pth, .zip, .safetensors, .npz) or a state dict under the authors' key names.
        config: settings of the released code under its own names, or our own settings.
    Raises:
        SettingsError: the network or a setting is unknown.
        WeightsError: the file is unreadable, or a key is missing, superfluous or of another shape.
    """
    importer = _importer(network)
    state = open_weights(weights)
    settings = config if isinstance(config, Settings) else released_settings(network, state, config)
    renamed = importer.rename(state, settings)
    module: nn.Module = import_module(f"medseg.networks.{network}").NETWORK(settings)
    report = fill(module, renamed, name=network)
    return module.eval(), report


def released_settings(network: str, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Settings:
    """Our settings from the released code's, and what no setting of it names and only the weights tell.

    Raises:
        SettingsError: the network or a setting is unknown, or a value out of range.
    """
    importer = _importer(network)
    settings: Settings = importer.config_from_release(config)
    if hasattr(importer, "settle"):
        settings = importer.settle(settings, state)
    return settings


def settings_told_by(network: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes of the weights alone tell of the released code's settings; the rest is as published."""
    importer = _importer(network)
    told: dict[str, Any] = importer.told_by(state) if hasattr(importer, "told_by") else {}
    return told


def load_start(
    network: str, module: nn.Module, weights: Path | str | Mapping[str, Tensor], *, start: str
) -> LoadReport:
    """Fill part of ``module`` with published start weights, and report what was filled.

    Args:
        network: name of the network's file.
        start: which published start: the importer's function ``rename_<start>`` reads it.
    """
    importer = _importer(network)
    starts = sorted(
        name.removeprefix("rename_") for name in getattr(importer, "__all__", ()) if name.startswith("rename_")
    )
    if start not in starts:
        raise SettingsError(
            f"{network} has no start weights named {start!r}: choose one of {', '.join(starts) or '(none)'}."
        )
    renamed: RenamedState = getattr(importer, f"rename_{start}")(open_weights(weights), module.config)
    return fill(module, renamed, name=network)


def known_importers() -> tuple[str, ...]:
    """Networks whose released weights can be read: the files of this folder that have a network of the same name."""
    here = Path(__file__).parent
    names = [info.name for info in pkgutil.iter_modules([str(here)])]
    return tuple(sorted(name for name in names if (here.parent / f"{name}.py").is_file()))


def read_settings(config: Mapping[str, Any], known: Iterable[str], *, network: str) -> dict[str, Any]:
    """A copy of ``config`` in which every key is one of ``known``.

    Raises:
        SettingsError: names the settings nobody knows.
    """
    allowed = sorted(known)
    unknown = sorted(set(config) - set(allowed))
    if unknown:
        raise SettingsError(
            f"{network}: unknown settings {', '.join(unknown)}. The released code's settings are: {', '.join(allowed)}."
        )
    return dict(config)


def open_weights(weights: Path | str | Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors of a published file by name, taken out of the container and without a wrapper's prefix.

    Nothing in the file is executed: pickled objects other than tensors and plain numbers are refused.
    Names that begin with two underscores are notes beside the weights, not weights, and are left out.

    Raises:
        WeightsError: the file is missing, of an unknown format, holds objects, or no tensors.
    """
    content = weights if isinstance(weights, Mapping) else _read(Path(weights))
    content = _unwrapped(content)
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    state = {key: value for key, value in state.items() if not key.startswith("__")}
    if not state:
        raise WeightsError(
            f"No tensors found (top-level names: {', '.join(map(str, list(content)[:5]))}): expected weights."
        )
    return _without_prefix(state)


def _importer(network: str) -> Any:
    known = known_importers()
    if network not in known:
        raise SettingsError(f"No importer for the network {network!r}: choose one of {', '.join(known)}.")
    module: ModuleType = import_module(f"medseg.networks.checkpoints.{network}")
    return module


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise WeightsError(f"{path} is not a file: expected weights (.pt, .pth, .zip, .safetensors or .npz).")
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    if path.suffix == ".zip":
        return _read_zip(path)
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path, name=path.name)
    raise WeightsError(f"{path.name}: unknown kind of weights; expected .pt, .pth, .zip, .safetensors or .npz.")


def _read_zip(path: Path) -> Mapping[str, Any]:
    """The one checkpoint inside an archive as the authors publish them."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):  # torch's own format is a zip archive too
            return _read_torch(path, name=path.name)
        inside = [name for name in names if name.endswith(TORCH_SUFFIXES)]
        if len(inside) != 1:
            raise WeightsError(
                f"{path.name} holds {len(inside)} files of weights: expected one; unpack it and name one."
            )
        return _read_torch(io.BytesIO(archive.read(inside[0])), name=f"{path.name}: {inside[0]}")


def _read_torch(source: Path | io.BytesIO, *, name: str) -> Mapping[str, Any]:
    # Checkpoints keep the best score as a NumPy number, and the options of the program that trained them in a
    # Namespace, which torch's safe reader does not know by itself.
    number = np.float64(0).__reduce__()[0]
    harmless: list[Any] = [(number, "numpy.core.multiarray.scalar"), (number, "numpy._core.multiarray.scalar")]
    harmless += [
        Namespace,
        np.dtype,
        codecs.encode,
        *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
    ]
    try:
        with torch.serialization.safe_globals(harmless):
            loaded = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle raises depends on where it is damaged
        raise WeightsError(
            f"{name} cannot be read as plain weights ({type(error).__name__}): it is damaged, or holds Python objects, "
            "which are never built. Fetch it again, or save its weights alone as safetensors."
        ) from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{name} holds a {type(loaded).__name__}: expected a mapping of names to tensors.")
    return loaded


def _unwrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The innermost mapping under one of the names that training scripts give it."""
    for name in CONTAINERS:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            return _unwrapped(inner)
    return content


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` without a prefix that all names share because the network was wrapped when it was saved."""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            return _without_prefix({key.removeprefix(prefix): value for key, value in state.items()})
    return state
