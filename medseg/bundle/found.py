"""The bundles that medseg brings along, and what each says of itself, without loading any of them.

In: the folder ``bundles``. Out: names, folders and metadata; nothing here imports torch or MONAI, so that a list of
the models is there at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import BundleError
from medseg.shared_folder import shared_folder

__all__ = ["FoundBundle", "find_bundles", "found_bundle", "weights_in"]

WEIGHTS_FILES = ("models/model.safetensors", "models/model.pt")
"""Where trained weights lie in a bundle: ours, and the name that MONAI's model zoo uses."""

NEEDED_FILES = ("configs/inference.yaml", "configs/metadata.json")
"""Without these a bundle of medseg's own is not complete."""


@dataclass(frozen=True)
class FoundBundle:
    """One model folder and its metadata; ``Bundle`` adds what runs."""

    folder: Path
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the folder, by which ``--bundle`` finds it."""
        return self.folder.name

    @property
    def version(self) -> str:
        """The version that the bundle's metadata states."""
        return str(self.metadata.get("version", "unknown"))

    @property
    def task(self) -> str:
        """What it finds, in words."""
        return str(self.metadata.get("task", ""))

    @property
    def weights_path(self) -> Path:
        """Where the trained weights lie, or should."""
        return weights_in(self.folder)


def find_bundles() -> dict[str, Path]:
    """The bundles that medseg brings along, by name."""
    folders = sorted(shared_folder("bundles").glob("*/configs"))
    return {folder.parent.name: folder.parent for folder in folders}


def found_bundle(folder: Path) -> FoundBundle:
    """One of them with its metadata.

    Raises:
        BundleError: a file of it is missing or damaged.
    """
    absent = next((name for name in NEEDED_FILES if not (folder / name).is_file()), None)
    if absent is not None:
        raise BundleError(f"{folder.name} has no {absent}: it is not a complete MONAI bundle.")
    path = folder / "configs" / "metadata.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"{path.name} holds a {type(metadata).__name__}: a mapping of names to values was expected.")
    return FoundBundle(folder, metadata)


def weights_in(folder: Path) -> Path:
    """Where the trained weights of a model folder lie, or should."""
    places = [folder / name for name in WEIGHTS_FILES]
    return next((path for path in places if path.is_file()), places[0])
