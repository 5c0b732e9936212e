"""medseg: transformer networks for medical image segmentation, on the scan's own grid.

``medseg.segment(image, bundle=…)`` is the Python door; the command line is ``medseg``.
Heavy packages are imported when a name is first used, so that ``import medseg`` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.bundle import segment
    from medseg.geometry import Geometry
    from medseg.segmentation import Segmentation

__all__ = ["Geometry", "Segmentation", "__version__", "segment"]

__version__ = "0.1.0"

_HOMES = {
    "Geometry": "medseg.geometry",
    "Segmentation": "medseg.segmentation",
    "segment": "medseg.bundle",
}


def __getattr__(name: str) -> Any:
    """The public name, imported from its room at first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")
