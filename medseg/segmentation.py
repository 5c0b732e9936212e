"""The result value: labels on the scan's own grid, with the table that says what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError
from medseg.geometry import Geometry
from medseg.label_map import count_values
from medseg.labels import LabelTable

__all__ = ["Segmentation", "Uncertainty"]


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How certain a segmentation is, on its own grid.

    Attributes:
        entropy: (I, J, K) float32 of the labels' probabilities, from 0, certain, to 1, where all are as likely.
        mutual_information: (I, J, K) float32, how far several passes contradict one another: the entropy of their
            mean less the mean of their entropies (Houlsby et al. 2011, arXiv:1112.5745); None after one pass.
        volume_interval_ml: least and largest volume of each label: of the passes where there were several, else of
            the voxels with a probability of at least 0.75 and 0.25. None where labels overlap.
    """

    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32] | None = None
    volume_interval_ml: Mapping[str, tuple[float, float]] | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels (I, J, K) uint8 on the grid of the scan they were made from.

    Raises:
        GeometryError: the labels do not have the shape of the grid.
    """

    labels: NDArray[np.uint8]
    geometry: Geometry
    label_table: LabelTable
    uncertainty: Uncertainty | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape:
            raise GeometryError(
                f"labels of shape {self.labels.shape} found on a grid of {self.geometry.shape}: both must agree."
            )

    def volume_ml(self, name: str) -> float:
        """The volume of the structure called ``name``.

        Raises:
            KeyError: the label table has no such structure.
        """
        for label in self.label_table:
            if label.name == name:
                return float((self.labels == label.index).sum()) * self.geometry.voxel_volume_mm3 / 1000
        raise KeyError(f"no label {name!r}; the table has {', '.join(self.label_table.names)}")

    def summary(self) -> dict[str, Any]:
        """The grid and the size of every structure, in plain numbers, as the command line prints it."""
        counts = count_values(self.labels)
        return {
            "shape": list(self.geometry.shape),
            "affine": self.geometry.affine.tolist(),
            "spacing_mm": list(self.geometry.spacing_mm),
            "axcodes": self.geometry.axcodes,
            "labels": [
                {
                    "index": label.index,
                    "name": label.name,
                    "voxels": int(counts[label.index]),
                    "volume_ml": round(int(counts[label.index]) * self.geometry.voxel_volume_mm3 / 1000, 6),
                    **self._interval_of(label.name),
                }
                for label in self.label_table
            ],
        }

    def _interval_of(self, name: str) -> dict[str, list[float]]:
        intervals = (self.uncertainty.volume_interval_ml if self.uncertainty else None) or {}
        return {"volume_interval_ml": [round(one, 6) for one in intervals[name]]} if name in intervals else {}
