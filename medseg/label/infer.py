"""One inference task a model: MONAI Label asks, medseg's own engine answers, as ``medseg segment`` would.

In: a request with the path of a scan. Out: a label file with the voxel values of the model's label table, and what
there is to say of it.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import SimpleITK
import torch
from monai.data import MetaTensor
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from medseg.bundle import Bundle, OutputPaths, Runner, sha256_of
from medseg.errors import CaseError
from medseg.io import CaseFiles, FailedCase, resolve_cases, write_image, write_labels
from medseg.label.request import InferRequest, device_called
from medseg.label.versions import WeightsVersions
from medseg.segmentation import Segmentation

__all__ = ["SegmentTask", "only_case"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Loaded:
    key: tuple[str, str, bool]
    runner: Runner


class SegmentTask(InferTask):
    """A model as the server runs it; loaded when it is first asked for, and again when other weights are promoted.

    Args:
        folder: where results are written before they are sent.
    """

    def __init__(self, bundle: Bundle, versions: WeightsVersions, *, runtime: str, folder: Path) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={label.name: label.index for label in bundle.label_table},
            dimension=3,
            description=str(bundle.metadata.get("description") or bundle.metadata.get("task") or bundle.name),
            config={"result_extension": [".nii.gz", ".nrrd", ".seg.nrrd", ".mha"], "device": _devices()},
        )
        self.bundle = bundle
        self.versions = versions
        self._runtime = runtime
        self._folder = folder
        self._loaded: _Loaded | None = None
        self._lock = Lock()

    def is_valid(self) -> bool:
        """Whether the weights are there."""
        return self.versions.current_weights.is_file()

    def get_path(self, validate: bool = True) -> str:  # noqa: ARG002  MONAI Label's signature
        """The weights in use."""
        return str(self.versions.current_weights)

    def info(self) -> dict[str, Any]:
        """What ``/info/`` says of the model."""
        return {
            **super().info(),
            "version": self.versions.current,
            "channels": [one.name for one in self.bundle.channels],
        }

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The label file and what there is to say of it.

        Raises:
            MedsegError: the scan does not fit the model, or the request asks for what is not written.
        """
        asked = InferRequest.of(request)
        case = only_case(Path(str(request["image"])), self.bundle)
        with tempfile.NamedTemporaryFile(suffix=asked.result_extension, dir=self._folder, delete=False) as reserved:
            path = Path(reserved.name)
        try:
            with self._lock:  # one scan at a time: memory for a second may not be there
                runner = self._runner(asked)
                read = runner.read(case)
                inferred = runner.infer(read, OutputPaths.beside(path), overwrite=True)
            _write(inferred.segmentation, path, asked)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return str(path), {
            "label_names": {label.name: label.index for label in inferred.segmentation.label_table},
            "model": self.bundle.name,
            "version": self.versions.current,
            "weights_sha256": sha256_of(runner.bundle.weights_path),
            "input_sha256": inferred.read.scan.sha256,
            "warnings": list(inferred.read.scan.warnings),
            "latencies": {stage: round(s, 3) for stage, s in read.measures.watch.stage_s.items()},
            **inferred.segmentation.summary(),
        }

    def _runner(self, asked: InferRequest) -> Runner:
        weights = self.versions.current_weights
        device = device_called(asked.device)
        key = (sha256_of(weights), str(device), asked.mirror)
        if self._loaded is None or self._loaded.key != key:
            self._loaded = None  # before the next is there: two may be too much for a device
            bundle = replace(self.bundle, weights=weights if self.versions.current else None)
            self._loaded = _Loaded(key, Runner(bundle, device=device, runtime=self._runtime, mirror=asked.mirror))
        return self._loaded.runner


def only_case(path: Path, bundle: Bundle, *, case_id: str | None = None) -> CaseFiles:
    """The one case at a path, with a file for each of the model's channels.

    Args:
        case_id: what the case is to be called, by default after its files.

    Raises:
        CaseError: there is none, or several, or a channel is missing.
    """
    cases = resolve_cases([path], channels=bundle.channel_specs)
    if len(cases) != 1 or isinstance(cases[0], FailedCase):
        reason = cases[0].message if isinstance(cases[0], FailedCase) else f"{len(cases)} cases found"
        raise CaseError(f"{reason}: {bundle.name} takes one case of {', '.join(one.name for one in bundle.channels)}.")
    return replace(cases[0], case_id=case_id or cases[0].case_id)


def _devices() -> list[str]:
    return ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def _write(segmentation: Segmentation, path: Path, asked: InferRequest) -> None:
    if asked.result_dtype == "uint8":
        write_labels(segmentation, path, overwrite=True)
    else:
        values = torch.from_numpy(segmentation.labels.astype(asked.result_dtype))[None]
        write_image(MetaTensor(values, affine=segmentation.geometry.affine), path, overwrite=True)
    if asked.result_extension == ".nrrd" and not asked.result_compress:
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=False)
