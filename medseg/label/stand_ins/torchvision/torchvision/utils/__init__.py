"""The two functions that MONAI Label imports; they are called by apps other than medseg's only."""

from typing import Any, NoReturn

__all__ = ["make_grid", "save_image"]


def make_grid(*arguments: Any, **named: Any) -> NoReturn:  # noqa: ARG001  torchvision's signature is its own
    """Refuse: drawing needs the real package."""
    raise ImportError("torchvision is not installed: pip install torchvision")


def save_image(*arguments: Any, **named: Any) -> NoReturn:  # noqa: ARG001  torchvision's signature is its own
    """Refuse: drawing needs the real package."""
    raise ImportError("torchvision is not installed: pip install torchvision")
