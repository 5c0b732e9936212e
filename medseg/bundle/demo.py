"""The demonstration: both hippocampi of the MNI152 brain template, which needs no file of the user's.

The template comes with the ``nilearn`` package. The bundle was trained on regions around one hippocampus, so the
two regions are cut out by their place in MNI space, segmented, and put back on the template's grid.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template

from medseg.bundle.measures import Measures
from medseg.bundle.outputs import OutputPaths
from medseg.bundle.runner import Runner
from medseg.errors import RunError
from medseg.geometry import Geometry, Interpolation, resample_onto, resample_volume
from medseg.inference import Stages
from medseg.io import Scan, write_image
from medseg.report import LabelStatistics, label_statistics
from medseg.segmentation import Segmentation

__all__ = ["DemoResult", "Side", "run_demo", "template_scan"]

REGION_MM = (36, 52, 36)
"""Size of the region around each hippocampus, as wide as the scans of the training data."""

CENTERS_MM = {"left": (-27.0, -22.0, -14.0), "right": (27.0, -22.0, -14.0)}
"""Middle of each hippocampus in MNI152 space (RAS+, x grows to the right)."""

CASE_ID = "mni152_hippocampus"


@dataclass(frozen=True)
class Side:
    """One hippocampus: its parts, in the order of the label table."""

    name: str
    parts: tuple[LabelStatistics, ...]

    @property
    def volume_ml(self) -> float:
        """Both parts together."""
        return sum(part.volume_ml for part in self.parts)

    @property
    def is_plausible(self) -> bool:
        """Whether an adult's hippocampus may look like this: 2 to 6 mL, the anterior part in front of the posterior."""
        centroids = [part.centroid_mm for part in self.parts]
        if any(centroid is None for centroid in centroids) or not 2 <= self.volume_ml <= 6:
            return False
        (_, anterior_y, _), (_, posterior_y, _) = (centroid for centroid in centroids if centroid is not None)
        return anterior_y > posterior_y


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demonstration found and where it lies; ``scan`` is the template, to lay the labels over."""

    sides: tuple[Side, ...]
    segmentation: Segmentation
    files: OutputPaths
    scan: Path


def run_demo(runner: Runner, folder: Path, *, overwrite: bool, stages: Stages | None = None) -> DemoResult:
    """Segment both hippocampi of the template and write labels, record, picture and statistics to ``folder``.

    Raises:
        RunError: a side has no label at all.
        OutputError: a result exists, or cannot be written.
    """
    measures = Measures()
    stages = measures.listening_with(stages or Stages())
    files = OutputPaths.beside(folder / f"{CASE_ID}.nii.gz")
    scan_path = folder / "mni152_t1.nii.gz"
    scan = template_scan()
    labels = torch.zeros(scan.geometry.shape, dtype=torch.uint8)
    sides = []
    for name, center_mm in CENTERS_MM.items():
        region = resample_onto(scan.image, _region(scan.geometry, center_mm), interpolation=Interpolation.NEAREST)
        found = runner.segmenter(region, stages=stages)
        if not found.labels.any():
            raise RunError(f"nothing was found in the {name} region: the weights are not those of this bundle.")
        sides.append(Side(name, label_statistics(found, region, channel_names=runner.segmenter.channel_names)))
        home = resample_volume(
            torch.from_numpy(found.labels),
            found.geometry,
            scan.geometry,
            interpolation=Interpolation.NEAREST,
            outside=0,
        )
        labels = torch.maximum(labels, home)
    segmentation = Segmentation(labels.numpy(), scan.geometry, runner.segmenter.label_table)
    write_image(scan.image, scan_path, overwrite=overwrite)
    measures.choice = runner.segmenter.runtime.choice if runner.segmenter.runtime else None
    runner.write(scan, segmentation, files, input_paths=[], overwrite=overwrite, measures=measures)
    return DemoResult(tuple(sides), segmentation, files, scan_path)


def template_scan() -> Scan:
    """The MNI152 template at 1 mm, as a scan like any other."""
    template = load_mni152_template(resolution=1)
    array = np.asarray(template.dataobj, dtype=np.float32)
    affine = np.asarray(template.affine, dtype=np.float64)
    image = MetaTensor(
        torch.from_numpy(array)[None],
        affine=torch.from_numpy(affine),
        meta={"original_affine": affine, "spatial_shape": np.array(array.shape)},
    )
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return Scan(CASE_ID, image, Geometry(array.shape, affine), digest)


def _region(geometry: Geometry, center_mm: tuple[float, float, float]) -> Geometry:
    """A box of ``REGION_MM`` around a point, on whole voxels of the grid."""
    sizes = np.round(np.array(REGION_MM) / np.array(geometry.spacing_mm)).astype(int)
    center = np.linalg.inv(geometry.affine) @ np.array([*center_mm, 1.0])
    corner = np.round(center[:3] - sizes / 2)
    affine = geometry.affine.copy()
    affine[:3, 3] = (geometry.affine @ np.array([*corner, 1.0]))[:3]
    return Geometry((int(sizes[0]), int(sizes[1]), int(sizes[2])), affine)
