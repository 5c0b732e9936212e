"""Ranges of intensity to show a scan in.

In: the modality (``CT``, ``MR``, ...) and the image. Out: named ranges, the best to begin with first.

CT windows are given by readers as width W and level L in Hounsfield units; the range shown is L ± W/2 (DICOM PS3.3
C.11.2.1.3.2, function ``LINEAR_EXACT``). The numbers are common ones of the reading room, as Radiopaedia's article
"Windowing (CT)" lists them, with W 400 L 40 for soft tissue; hospitals differ by some tens of units. MR and everything
else has no scale of its own: ranges are percentiles of the voxels that are not the image's lowest value, so that the
air around a head or what a skull-stripping set to 0 does not count.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ReviewError

__all__ = ["IntensityWindow", "first_window", "likely_modality", "presets"]

CT_WIDTHS_AND_LEVELS_HU: Final = (
    ("soft tissue", 400.0, 40.0),
    ("lung", 1500.0, -600.0),
    ("bone", 1800.0, 400.0),
    ("mediastinum", 350.0, 50.0),
    ("liver", 150.0, 30.0),
    ("brain", 80.0, 40.0),
    ("subdural", 200.0, 75.0),
    ("stroke", 40.0, 40.0),
)

PERCENTILES: Final = (("standard", 1.0, 99.0), ("strong contrast", 5.0, 95.0), ("whole range", 0.0, 100.0))

HU_OF_AIR: Final = -500.0
"""An image that goes below this is a CT: no MR scanner gives such values."""

SAMPLED_VOXELS: Final = 1_000_000
"""Percentiles are taken of about as many voxels, evenly strewn: to sort a whole CT takes seconds."""


@dataclass(frozen=True)
class IntensityWindow:
    """What is shown black and what white.

    Raises:
        ReviewError: the range is empty or not finite.
    """

    name: str
    lowest: float
    highest: float

    def __post_init__(self) -> None:
        if not -np.inf < self.lowest < self.highest < np.inf:
            raise ReviewError(
                f"window {self.name!r} goes from {self.lowest:g} to {self.highest:g}: "
                "two different numbers were expected, the lowest first."
            )

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest, as napari takes them."""
        return self.lowest, self.highest


def presets(modality: str, image: NDArray[np.number[Any]]) -> tuple[IntensityWindow, ...]:
    """The windows for an image, the one to begin with first.

    Args:
        modality: as a channel or DICOM names it; ``CT`` in any case has its own table.
        image: (I, J, K) in HU for CT; looked at for the other modalities only.
    """
    if modality.upper() == "CT":
        return tuple(
            IntensityWindow(name, level - width / 2, level + width / 2)
            for name, width, level in CT_WIDTHS_AND_LEVELS_HU
        )
    values = _sample(image)
    windows = []
    for name, low, high in PERCENTILES:
        lowest, highest = (float(value) for value in np.percentile(values, (low, high)))
        windows.append(IntensityWindow(name, lowest, highest if highest > lowest else lowest + 1.0))
    return tuple(windows)


def first_window(image: NDArray[np.number[Any]], *, modality: str = "") -> IntensityWindow:
    """The window to begin with, for an image (I, J, K) of a modality, or of the likely one where none is given."""
    return presets(modality or likely_modality(image), image)[0]


def likely_modality(image: NDArray[np.number[Any]]) -> str:
    """``CT`` or ``MR``, by what the intensities look like."""
    return "CT" if float(image.min()) < HU_OF_AIR else "MR"


def _sample(image: NDArray[np.number[Any]]) -> NDArray[np.float64]:
    """Values above the image's lowest, or all of them where it has but one; 0 where it has none."""
    flat = image.reshape(-1)[:: max(1, image.size // SAMPLED_VOXELS)].astype(np.float64)
    finite = flat[np.isfinite(flat)]
    if not len(finite):
        return np.zeros(1)
    above = finite[finite > finite.min()]
    return above if len(above) else finite
