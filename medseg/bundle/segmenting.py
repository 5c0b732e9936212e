"""One scan from Python: a file, a folder or an image in memory → its labels, nothing written."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from monai.data import MetaTensor

from medseg.bundle.build import build_segmenter, choose_device
from medseg.bundle.load import Bundle, load_bundle
from medseg.errors import CaseError
from medseg.inference import ManyPasses
from medseg.io import FailedCase, read_case, resolve_cases
from medseg.segmentation import Segmentation

__all__ = ["segment"]

ScanInput: TypeAlias = str | Path | Sequence[str | Path] | MetaTensor


def segment(
    image: ScanInput,
    *,
    bundle: str | Path | Sequence[str | Path],
    device: str = "auto",
    mirror: bool = False,
    uncertainty: bool = False,
    trust: str | None = None,
) -> Segmentation:
    """The labels of one scan, on the scan's own grid.

    ::

        segmentation = medseg.segment("scan.nii.gz", bundle="swin_unetr_hippocampus")
        segmentation.labels, segmentation.volume_ml("anterior_hippocampus")

    Args:
        image: a file, a DICOM folder, a folder or list of files with one channel each (``CHANNEL=PATH`` names
            them), or an image tensor (C, I, J, K) with its affine.
        bundle: the name of a bundle that medseg brings along, or the folder of one; several are averaged.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        mirror: average the scan and its mirror images along the axes that the bundle names.
        uncertainty: say in ``segmentation.uncertainty`` how certain every voxel and volume is.
        trust: the digest of a bundle of others that runs code of its own, by which you vouch for it.
    Raises:
        MedsegError: the scan cannot be read, does not fit the bundle, or is more than one case.
    """
    names = [bundle] if isinstance(bundle, str | Path) else bundle
    loaded = [load_bundle(name, trust=trust) for name in names]
    if not isinstance(image, MetaTensor):
        image = _read_one(image, loaded[0])
    segmenters = [build_segmenter(one, device=choose_device(device), mirror=mirror) for one in loaded]
    if len(segmenters) == 1 and not uncertainty:
        return segmenters[0](image)
    return ManyPasses(tuple(segmenters), measures_uncertainty=uncertainty)(image)


def _read_one(image: str | Path | Sequence[str | Path], bundle: Bundle) -> MetaTensor:
    inputs = [image] if isinstance(image, str | Path) else image
    cases = resolve_cases(inputs, channels=bundle.channel_specs)
    if len(cases) != 1:
        raise CaseError(
            f"{len(cases)} cases found: medseg.segment takes one. Call it for each, or use the command line."
        )
    case = cases[0]
    if isinstance(case, FailedCase):
        raise CaseError(case.message)
    return read_case(case).image
