"""Where the folders that travel with medseg lie: beside the package in a checkout, inside it when installed."""

from pathlib import Path

import medseg
from medseg.errors import DataError

__all__ = ["shared_folder"]


def shared_folder(name: str) -> Path:
    """The folder ``bundles``, ``data_manifests`` or ``app``, in a checkout or in an installed wheel.

    Raises:
        DataError: the installation lacks it.
    """
    package = Path(medseg.__file__).parent
    for folder in (package / "_share" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise DataError(f"this installation of medseg has no folder {name}: install it again with pip.")
