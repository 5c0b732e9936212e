"""Whether the MONAI Label server can run here, and what stands in for packages that it imports and cannot have.

MONAI Label 0.8.5 asks for packages that exclude numpy 2 and pydicom 3, so it is installed without what it asks for;
the extra ``label`` holds everything that it really imports, but for two packages. Of these it uses a function or two:
``stand_ins/`` holds a folder for each, to be put on ``PYTHONPATH`` where the real package cannot be imported. On the
path, and not in this process, because training, scoring and inference of many images run in processes of their own.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from medseg.errors import SettingsError

__all__ = ["INSTALL_LINES", "SERVER_VERSION", "check_installation", "missing_modules", "stand_in_folders"]

SERVER_VERSION = "0.8.5"
"""The version of MONAI Label that medseg is tested with."""

INSTALL_LINES = ("pip install 'medseg[label]'", f"pip install --no-deps monailabel=={SERVER_VERSION}")
"""What makes the server run, in this order."""

IMPORTED_MODULES = (
    "monailabel",
    "fastapi",
    "uvicorn",
    "multipart",
    "pydantic_settings",
    "requests",
    "requests_toolbelt",
    "schedule",
    "timeloop",
    "expiring_dict",
    "cachetools",
    "watchdog",
    "filelock",
    "passlib",
    "jwt",
    "bcrypt",
    "shapely",
    "nrrd",
    "itk",
    "dicomweb_client",
    "google.auth",
    "girder_client",
    "distutils",  # of setuptools, where Python no longer brings it along
)
"""What the server imports when it starts."""

STAND_INS = ("pydicom_seg", "torchvision")


def check_installation() -> None:
    """Nothing, if the server can be started.

    Raises:
        SettingsError: packages are missing, or MONAI Label has another version; the message has the lines to type.
    """
    missing = missing_modules()
    if missing:
        raise SettingsError(
            f"the MONAI Label server needs packages that are not installed ({', '.join(missing)}): run "
            f"{' and then '.join(INSTALL_LINES)}"
        )
    try:
        found = version("monailabel")
    except PackageNotFoundError:  # a checkout on the path: its own affair
        return
    if found != SERVER_VERSION:
        raise SettingsError(f"monailabel {found} is installed, medseg knows {SERVER_VERSION}: run {INSTALL_LINES[1]}")


def missing_modules() -> tuple[str, ...]:
    """The modules that the server imports and that are not installed."""
    return tuple(name for name in IMPORTED_MODULES if not _is_installed(name))


def stand_in_folders() -> tuple[Path, ...]:
    """The folders to put on ``PYTHONPATH``: one for each package that cannot be imported here."""
    root = Path(__file__).parent / "stand_ins"
    return tuple(root / name for name in STAND_INS if not _can_be_imported(name))


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def _can_be_imported(name: str) -> bool:
    """Whether it really works: torchvision for CUDA refuses torch for CPUs, pydicom-seg refuses pydicom 3."""
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):
        return False
    return True
