"""SimpleITK, imported when the first file comes that needs it: NIfTI files are read without its 84 MB."""

import importlib
from typing import Any

__all__ = ["simple_itk"]


def simple_itk() -> Any:
    """The module ``SimpleITK``."""
    return importlib.import_module("SimpleITK")
