"""The networks: one file each, found on disk by the two constants with which it ends.

``NETWORK`` is the module class, ``CONFIG`` its settings; both can be imported from here by their own names, so a
bundle writes ``_target_: medseg.networks.SwinUNETR``. Networks know tensors only.
"""

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any

from medseg.networks.checkpoints import LoadReport, load_released, load_start

__all__ = ["LoadReport", "load_released", "load_start", "network_names"]


def network_names() -> tuple[str, ...]:
    """Names of the networks' files, sorted."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg))


def __getattr__(name: str) -> Any:
    """A network or its settings by name; the files are imported one after the other until one offers it."""
    if not name.startswith("_"):
        for module in map(_module, network_names()):
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'medseg.networks' has no attribute {name!r}")


def _module(network: str) -> ModuleType:
    return import_module(f"{__name__}.{network}")
