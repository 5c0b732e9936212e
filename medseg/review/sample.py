"""Sample data of the viewer: a head made of ellipsoids, which is no person's, and the MNI152 template.

In: nothing. Out: napari layers. The made head lies on an oblique grid of flat voxels, so that it shows what a real
scan would: it is drawn upright in millimetres (x to the right, y to the front, z up) and cut by the turned grid. A
capsule that shines, as radiographers tape to a temple, marks the patient's right; a lesion lies in the left half.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
from numpy.typing import NDArray
from scipy import ndimage

from medseg.bundle.demo import template_scan
from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable
from medseg.review.layers import LayerData, LayerSource, image_layers, labels_layer

__all__ = ["HEAD_TABLE", "head_labels", "head_sample", "mni152_sample"]

SHAPE: Final = (132, 150, 48)
SPACING_MM: Final = (1.5, 1.5, 4.0)
TILT: Final = (0.20, 0.0, 0.08)
"""Turns of the grid around x, y and z in radians: about 11 and 5 degrees."""

NOISE: Final = 12.0
BLUR_VOXELS: Final = (0.6, 0.6, 0.3)
CASE_ID: Final = "made head"


@dataclass(frozen=True)
class Ellipsoid:
    """A body of one intensity, centre and half axes in millimetres; ``label`` is 0 where it is no structure."""

    center_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    intensity: float
    label: int = 0


HEAD: Final = (
    Ellipsoid((0, 98, -28), (11, 16, 16), 620),  # nose
    Ellipsoid((0, 0, 0), (76, 98, 92), 620),  # scalp
    Ellipsoid((0, 0, 2), (71, 92, 87), 90),  # skull
    Ellipsoid((-31, 84, -22), (12, 12, 12), 160),  # eyes
    Ellipsoid((31, 84, -22), (12, 12, 12), 160),
    Ellipsoid((0, -2, 4), (65, 84, 79), 430, label=1),  # brain: its bark, then its marrow
    Ellipsoid((0, -2, 6), (54, 71, 64), 690, label=1),
    Ellipsoid((13, -4, 12), (7, 32, 12), 150, label=2),
    Ellipsoid((-13, -4, 12), (7, 32, 12), 150, label=3),
    Ellipsoid((-36, 34, 26), (13, 15, 12), 900, label=4),
    Ellipsoid((84, 18, 6), (6, 6, 8), 1200),  # capsule
)
"""Later bodies lie over earlier ones."""

HEAD_TABLE: Final = LabelTable(
    labels=(
        Label(index=1, name="brain", color=(0, 114, 178)),
        Label(index=2, name="right_ventricle", color=(230, 159, 0), laterality="right"),
        Label(index=3, name="left_ventricle", color=(0, 158, 115), laterality="left"),
        Label(index=4, name="lesion", color=(213, 94, 0)),
    )
)

TISSUE_TABLE: Final = LabelTable(
    labels=(
        Label(index=1, name="grey_matter", color=(230, 159, 0)),
        Label(index=2, name="white_matter", color=(86, 180, 233)),
    )
)


def head_sample() -> list[LayerData]:
    """The made head and its labels."""
    intensities, labels, geometry = _drawn()
    image = MetaTensor(torch.from_numpy(intensities)[None], affine=torch.from_numpy(geometry.affine.copy()))
    source = LayerSource(CASE_ID, geometry, HEAD_TABLE)
    return [*image_layers(image, case_id=CASE_ID), labels_layer(labels, source)]


def head_labels() -> tuple[NDArray[np.uint8], Geometry]:
    """The labels of the made head (I, J, K) and their grid."""
    _, labels, geometry = _drawn()
    return labels, geometry


def mni152_sample() -> list[LayerData]:
    """The MNI152 T1 template, and where its grey or white matter is likelier than not."""
    scan = template_scan()
    grey, white = (
        np.asarray(load(resolution=1).dataobj) for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    labels = np.where(white > grey, 2, 1).astype(np.uint8)
    labels[np.maximum(grey, white) < 0.5] = 0
    source = LayerSource("MNI152", scan.geometry, TISSUE_TABLE)
    return [*image_layers(scan.image, case_id="MNI152"), labels_layer(labels, source)]


def _drawn() -> tuple[NDArray[np.float32], NDArray[np.uint8], Geometry]:
    geometry = _grid()
    index = np.indices(SHAPE, dtype=np.float32).reshape(3, -1)
    points = (geometry.affine[:3, :3] @ index + geometry.affine[:3, 3:]).astype(np.float32).reshape(3, *SHAPE)
    intensities = np.zeros(SHAPE, np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    for body in HEAD:
        distance = sum(
            ((axis - center) / radius) ** 2
            for axis, center, radius in zip(points, body.center_mm, body.radii_mm, strict=True)
        )
        inside = distance <= 1
        intensities[inside] = body.intensity
        labels[inside] = body.label
    blurred = ndimage.gaussian_filter(intensities, BLUR_VOXELS)
    noise = np.random.default_rng(0).normal(0, NOISE, SHAPE)
    return np.maximum(blurred + noise, 0).astype(np.float32), labels, geometry


def _grid() -> Geometry:
    """A grid around the origin whose axes run to the left, the back and the head, turned by ``TILT``."""
    affine = np.eye(4)
    affine[:3, :3] = _turn() @ np.diag([-1.0, -1.0, 1.0]) @ np.diag(SPACING_MM)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return Geometry(SHAPE, affine)


def _turn() -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(TILT):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[[one, one, other, other], [one, other, one, other]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        turn = step @ turn
    return turn
