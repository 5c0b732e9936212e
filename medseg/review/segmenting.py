"""Segmenting a case from within a review: planned first, watched while it runs, stopped at any window.

In: a bundle and the files of a case. Out: the same result files that ``medseg segment`` writes, in the review's own
folder; a run that was stopped leaves nothing behind.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.bundle import Bundle, Forecast, OutputPaths, Runner, forecast
from medseg.errors import CaseError, OutputError
from medseg.inference import Stages, keep_memory_of_windows
from medseg.io import CaseFiles
from medseg.io.naming import ChannelVocabulary
from medseg.record import UsedBundle
from medseg.review.background import StoppedError
from medseg.review.edits import NestedRegions, nested_regions
from medseg.segmentation import Segmentation

__all__ = ["Proposal", "SegmentationJob", "Watcher", "files_for"]


@dataclass(frozen=True, eq=False)
class Proposal:
    """A model's labels for an open case.

    Attributes:
        segmentation: on the scan's grid.
        model: what the model is called.
        bundle: the same for the records; None where a server does not tell.
        regions: nested regions of its labels.
        seconds: how long it took.
    """

    segmentation: Segmentation
    model: str
    bundle: UsedBundle | None = None
    regions: NestedRegions | None = None
    seconds: float = 0.0


def files_for(bundle: Bundle, files: CaseFiles) -> CaseFiles:
    """The files of an open case as the channels of a bundle; a single channel goes by any name.

    Raises:
        CaseError: the bundle wants channels that the case does not have.
    """
    if len(files.channels) == len(bundle.channels) == 1:
        return replace(files, channels=(replace(files.channels[0], channel=bundle.channels[0].name),))
    wanted = [specification.name for specification in bundle.channel_specs]
    vocabulary = ChannelVocabulary(bundle.channel_specs)
    found = {vocabulary.channel(entry.channel): entry for entry in files.channels}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise CaseError(
            f"{bundle.name} takes {', '.join(wanted)}; this case has "
            f"{', '.join(entry.channel for entry in files.channels)}: choose a model for these channels."
        )
    return replace(files, channels=tuple(replace(found[name], channel=name) for name in wanted))


@dataclass(frozen=True)
class Watcher:
    """Who hears of a run, from the thread that it runs in.

    ``windows`` hears of windows done and how many there are; ``preview`` of planes of the scan whose labels are
    found: the scan's axis, the first plane, and the labels (I, J, K) of the planes.
    """

    windows: Callable[[int, int], None] = lambda done, total: None
    preview: Callable[[int, int, NDArray[np.uint8]], None] = lambda axis, first, planes: None


class SegmentationJob:
    """One bundle on one case. ``run`` blocks and is for a worker thread; ``stop`` may be called from any other.

    Args:
        bundle: the model.
        case: the scan, its channels those of the bundle.
        labels: the label file to write; its folder is made.
        device: where to compute.
        runtime: what computes the windows, as ``medseg segment --runtime``.
    """

    def __init__(
        self, bundle: Bundle, case: CaseFiles, *, labels: Path, device: torch.device, runtime: str = "auto"
    ) -> None:
        self.bundle, self.case = bundle, case
        self.files = OutputPaths.beside(labels)
        self._device, self._runtime = device, runtime
        self._runner: Runner | None = None
        self._stopped = threading.Event()

    def plan(self) -> Forecast:
        """Windows, time and memory that the run will take, from one window computed for real.

        Raises:
            MedsegError: the bundle or the case cannot be used.
        """
        return forecast(self._ready(), self.case)

    def run(self, watcher: Watcher | None = None) -> Proposal:
        """The labels, the files of ``medseg segment`` written.

        Raises:
            StoppedError: ``stop`` was called; nothing was written.
            MedsegError: the bundle or the case cannot be used, or the result cannot be written.
        """
        watcher = watcher or Watcher()
        runner = self._ready()
        self._check()

        def windows(done: int, total: int) -> None:
            self._check()
            watcher.windows(done, total)

        def restored(axis: int, first: int, planes: torch.Tensor) -> None:
            self._check()
            if planes.shape[0] == 1:  # regions are made into labels at the end only
                watcher.preview(axis, first, planes[0].cpu().numpy().astype(np.uint8))

        try:
            self.files.labels.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.files.labels.parent} cannot be made ({error.strerror}): choose another place."
            ) from error
        result = runner.run(self.case, self.files, overwrite=True, stages=Stages(windows=windows, restored=restored))
        return Proposal(
            result.segmentation,
            model=self.bundle.name,
            bundle=runner.used,
            regions=nested_regions(self.bundle.label_schema),
            seconds=result.seconds,
        )

    def stop(self) -> None:
        """End the run at its next window."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopped.is_set()

    def _ready(self) -> Runner:
        if self._runner is None:
            keep_memory_of_windows()
            self._runner = Runner(self.bundle, device=self._device, runtime=self._runtime)
        return self._runner

    def _check(self) -> None:
        if self._stopped.is_set():
            raise StoppedError("the segmentation was stopped")
