"""The three planes of a picture: a scan turned for display, the slices that show its labels best, the grey window.

In: an image and its labels in any storage order. Out: a ``Display`` that cuts planes as a radiologist expects
them: the patient's right on the left of axial and coronal planes, anterior on the left of sagittal ones.
"""

from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from einops import rearrange
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.label_map import Box, areas_along, label_boxes
from medseg.segmentation import Segmentation

__all__ = ["VIEWS", "Display", "View", "best_slices", "display_of", "grey_window"]

DISPLAY_AXCODES = "LPI"
"""Indices that grow towards left, posterior and inferior: columns go right and rows go down without a flip."""

AIR_HU = -300.0
"""Below this a CT shows air and lung, above it body; their share would flatten the contrast of soft tissue."""

SOFT_TISSUE_HU = (-160.0, 240.0)
"""The window in which radiologists read abdomen and neck: level 40, width 400."""

CT_MINIMUM = -500.0
"""Values this low occur in Hounsfield units only: MR and PET begin near zero, normalised images near -5."""

DARK_SHARE = 0.1
"""Share of the way from the 2nd to the 98th percentile below which an image without units shows background."""

SAMPLES = 500_000
"""Voxels that the grey window is estimated from; enough for a percentile, few enough to sort at once."""


@dataclass(frozen=True)
class View:
    """One anatomical plane: the display axes across it, along its columns and rows, and what lies at its edges."""

    name: str
    normal: int
    columns: int
    rows: int
    left: str
    right: str
    top: str
    bottom: str


VIEWS = (
    View(name="axial", normal=2, columns=0, rows=1, left="R", right="L", top="A", bottom="P"),
    View(name="coronal", normal=1, columns=0, rows=2, left="R", right="L", top="S", bottom="I"),
    View(name="sagittal", normal=0, columns=1, rows=2, left="A", right="P", top="S", bottom="I"),
)


@dataclass(frozen=True, eq=False)
class Display:
    """One channel and its labels with the axes turned (not resampled) to left, posterior, inferior.

    ``stored_axes`` says which axis of the stored array each display axis is, ``is_flipped`` whether it runs
    the other way there.
    """

    image: NDArray[np.float32 | np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    stored_axes: tuple[int, int, int]
    is_flipped: tuple[bool, bool, bool]

    @property
    def whole(self) -> Box:
        """The box of all voxels."""
        return tuple(slice(0, size) for size in self.image.shape)

    @cached_property
    def label_boxes(self) -> dict[int, Box]:
        """The box of every label that occurs."""
        return label_boxes(self.labels)

    def views(self) -> tuple[View, ...]:
        """The planes worth showing: a single slice has one, since the two across it would be lines."""
        shape = self.image.shape
        thick = tuple(view for view in VIEWS if shape[view.columns] > 1 and shape[view.rows] > 1)
        return thick or VIEWS

    def grey_plane(self, view: View, index: int, box: Box) -> NDArray[np.float32]:
        """The image (rows, columns) at one index across ``view``, within ``box``."""
        plane: NDArray[np.float32] = self.image[_cut(view, index, box)].astype(np.float32, copy=False)
        return rearrange(plane, "columns rows -> rows columns")

    def label_plane(self, view: View, index: int, box: Box) -> NDArray[np.uint8]:
        """The labels (rows, columns) at one index across ``view``, within ``box``."""
        plane: NDArray[np.uint8] = self.labels[_cut(view, index, box)]
        return rearrange(plane, "columns rows -> rows columns")

    def stored_slice(self, view: View, index: int) -> str:
        """Where a plane lies in the stored array, for example ``"k 63"``."""
        size = self.image.shape[view.normal]
        stored = size - 1 - index if self.is_flipped[view.normal] else index
        return f"{'ijk'[self.stored_axes[view.normal]]} {stored}"

    def label_box(self, *, margin_share: float, margin_voxels: int) -> Box | None:
        """The voxels around all labels with a margin on every side, or None where nothing is labelled."""
        boxes = self.label_boxes.values()
        if not boxes:
            return None
        sides = []
        for axis, size in enumerate(self.labels.shape):
            first, end = min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)
            margin = max(round((end - first) * margin_share), margin_voxels)
            sides.append(slice(max(first - margin, 0), min(end + margin, size)))
        return tuple(sides)


def display_of(image: MetaTensor, segmentation: Segmentation) -> Display:
    """The first channel of an image (C, I, J, K) and its labels, turned for display; no voxel is copied."""
    affine = segmentation.geometry.affine
    turned = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(DISPLAY_AXCODES)
    )
    stored = [int(axis) for axis in np.argsort(turned[:, 0])]
    spacing_mm = segmentation.geometry.spacing_mm
    return Display(
        image=nib.orientations.apply_orientation(image[0].detach().cpu().numpy(), turned),
        labels=nib.orientations.apply_orientation(segmentation.labels, turned),
        spacing_mm=(spacing_mm[stored[0]], spacing_mm[stored[1]], spacing_mm[stored[2]]),
        stored_axes=(stored[0], stored[1], stored[2]),
        is_flipped=(bool(turned[stored[0], 1] < 0), bool(turned[stored[1], 1] < 0), bool(turned[stored[2], 1] < 0)),
    )


def best_slices(display: Display) -> tuple[int, int, int]:
    """For each axis the slice that shows the labels best; the middle of the scan where there are none.

    A label counts by its area in a slice as a share of its largest area, weighted by the cube root of its volume:
    small structures next to large ones are shown too, but one stray voxel does not draw a plane to itself. For
    one label this is the slice of its largest area.
    """
    scores = [np.zeros(size) for size in display.labels.shape]
    for value, box in display.label_boxes.items():
        mask = display.labels[box] == value
        weight = float(np.cbrt(np.count_nonzero(mask)))
        for axis, side in enumerate(box):
            areas = areas_along(mask, axis)
            scores[axis][side] += weight * areas / areas.max()
    i, j, k = (_middle_of_best(score) for score in scores)
    return i, j, k


def grey_window(image: NDArray[np.float32 | np.int16]) -> tuple[float, float]:
    """The values shown black and white.

    A CT is shown in the soft-tissue window, or between the 1st and 99th percentile of what is denser than lung where
    its body does not lie in that window. Other images have no units: black is their 2nd percentile, white the 99th
    percentile of what is brighter than the background by a tenth of the robust range.
    """
    stride = max(round((image.size / SAMPLES) ** (1 / 3)), 1)
    values = image[::stride, ::stride, ::stride].ravel().astype(np.float32, copy=False)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    if values.min() <= CT_MINIMUM:
        body = values[values > AIR_HU]
        if len(body) and SOFT_TISSUE_HU[0] < np.median(body) < SOFT_TISSUE_HU[1]:
            return SOFT_TISSUE_HU
        low = float(np.percentile(body if len(body) else values, 1))
    else:
        low, high = (float(value) for value in np.percentile(values, (2, 98)))
        body = values[values > low + DARK_SHARE * (high - low)]
    white = float(np.percentile(body if len(body) else values, 99))
    return (low, white) if white > low else (low - 0.5, low + 0.5)


def _cut(view: View, index: int, box: Box) -> tuple[slice | int, ...]:
    return tuple(index if axis == view.normal else side for axis, side in enumerate(box))


def _middle_of_best(score: NDArray[np.float64]) -> int:
    """Among equally good slices the one in the middle of them; a cuboid is cut through its centre."""
    best = np.flatnonzero(score >= score.max())
    return int(best[len(best) // 2])
