"""MONAI loaded in half the time, for commands that segment with models that medseg brings along.

MONAI imports every optional package that is installed, whether it will be used or not: its training engine's, its
plotting, its tables. A command that only segments waits for them as long as for a small scan's segmentation.
"""

import gc
import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.shared_folder import shared_folder

__all__ = ["are_brought_along", "import_monai_alone", "without_garbage_collection"]

UNUSED = (
    "ignite",
    "IPython",
    "itk",
    "lmdb",
    "matplotlib",
    "mlflow",
    "pandas",
    "scipy.signal",
    "sklearn",
    "transformers",
)
"""Optional packages of MONAI that none of the bundles' inference uses. What uses one later, imports it as ever."""


def import_monai_alone() -> None:
    """Import MONAI as if the packages it could do without were not installed; nothing when it is imported already.

    MONAI's own parts that need one of them say for the rest of the process that it is missing.
    """
    hidden = [name for name in UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own mark of a module that cannot be imported
    try:
        importlib.import_module("monai")
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Within, nobody searches for cycles: importing makes a million objects, and all of them stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def are_brought_along(bundles: Iterable[str]) -> bool:
    """Whether all bundles, given by name or folder, are medseg's own: what others run is not known beforehand."""
    own = shared_folder("bundles").resolve()
    folders = [Path(name) if (Path(name) / "configs").is_dir() else own / name for name in bundles]
    return all(folder.resolve().parent == own for folder in folders)
