"""The one engine: an image as read → a ``Segmentation`` on its own grid.

The command line, the viewer and the label server all call a ``Segmenter``; none has inference code of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose
from torch import nn

from medseg.errors import ImageError
from medseg.free_memory import free_memory_bytes
from medseg.geometry import Geometry, geometry_of
from medseg.inference.blocks import Blocks, NotBlockwiseError, Slab, Slabs, logits_in_blocks, logits_in_slabs
from medseg.inference.constant import ConstantWindowsOnce
from medseg.inference.counting import watched_windows, windows_of
from medseg.inference.elsewhere import OnDevice, prepare_where_it_fits
from medseg.inference.finite import FiniteLogits
from medseg.inference.ladder import (
    HalfPrecision,
    Rung,
    is_out_of_memory,
    more_memory,
    rungs,
    too_little_memory,
    within,
)
from medseg.inference.memory import keep_only_for_torch
from medseg.inference.on_scan import restore_blocks
from medseg.inference.predict import predict_logits
from medseg.inference.prepared import Prepared
from medseg.inference.restore import restore_labels, restore_regions
from medseg.inference.runtime import WindowRuntime
from medseg.labels import LabelTable
from medseg.segmentation import Segmentation

__all__ = [
    "Segmenter",
    "Stages",
    "WindowCount",
    "timed_parts",
]

PLENTY_MB = 4_000
"""Free memory in which every network here computes as its bundle says; with less it is reckoned: that takes seconds."""


@dataclass(frozen=True)
class WindowCount:
    """Windows of one volume; ``n_reused`` of them showed one value throughout and took the answer to an earlier one."""

    n_windows: int
    n_reused: int


@dataclass(frozen=True)
class Stages:
    """Who watches a run: ``timed`` measures a stage, ``windows`` hears of windows done and their number.

    ``counted`` hears at the end how many there were, ``told`` what a person should know of the run. ``restored`` hears
    of planes of the scan as their labels are found, before they are cleaned: axis, first plane, and the planes, (1, I,
    J, K) of labels or (L, I, J, K) of regions. What one of them raises ends the run.
    """

    timed: Callable[[str], AbstractContextManager[object]] = lambda stage: nullcontext()
    windows: Callable[[int, int], None] = lambda done, total: None
    counted: Callable[[WindowCount], None] = lambda count: None
    told: Callable[[str], None] = lambda message: None
    restored: Callable[[int, int, torch.Tensor], None] = lambda axis, first, planes: None


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A bundle's road from an image to labels, built once and called for each scan.

    ``postprocessing`` holds transforms of label maps (key ``pred``, (1, I, J, K) on the scan's grid) only. With
    ``region_threshold`` the network's channels are regions that may overlap: each voxel is in those whose
    probability exceeds it, and the first steps of ``postprocessing`` make labels of the regions (L, I, J, K).
    """

    preprocessing: Compose
    network: nn.Module
    inferer: Inferer
    postprocessing: Compose
    label_table: LabelTable
    channel_names: tuple[str, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    region_threshold: float | None = None
    runtime: WindowRuntime | None = None
    """What computes the windows; without it the network itself."""
    window_mb: Callable[[int], float] | None = None
    """What so many windows take together within the network, in 10⁶ bytes, where that is known."""
    reuses_constant_windows: bool = True
    """Whether windows that show nothing are computed once; the labels are the same."""
    name: str = "the model"
    """What a message calls it."""

    def __call__(self, image: MetaTensor, *, stages: Stages | None = None) -> Segmentation:
        """The labels of an image (C, I, J, K) float32 as read, on the image's own grid.

        Raises:
            ImageError: the image has another number of channels than the bundle takes, or no usable contrast.
            RunError: the network gave values that are no numbers.
        """
        stages = stages or Stages()
        self.check(image)
        scan = geometry_of(image)
        return self.cleaned(self._restored(image, scan, stages), scan, stages=stages)

    def _restored(self, image: MetaTensor, scan: Geometry, stages: Stages) -> torch.Tensor:
        """Labels (1, I, J, K), or regions (L, I, J, K), on the scan's grid, on the first rung that fits.

        Raises:
            RunError: not even the last rung fits into the device's memory.
        """
        prepared = self.prepared(image, stages=stages)
        network = self.network_for(prepared.image, stages=stages)
        for rung in self.rungs_for(self.inferer, stages=stages):
            prepared = rung.scan(prepared)
            computing = self.computing(network, rung)
            sparing = ConstantWindowsOnce(computing) if self.reuses_constant_windows else None
            try:
                restored = self._inferred(
                    prepared, scan, network=sparing or computing, inferer=rung.inferer, stages=stages
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                stages.told(f"{self.device} ran out of memory with {rung.name}: trying with less.")
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            if sparing is not None:
                stages.counted(WindowCount(sparing.n_windows, sparing.n_reused))
            self.rest()
            return restored
        raise too_little_memory(self.device)

    def prepared(self, image: MetaTensor, *, stages: Stages) -> Prepared:
        """An image (C, I, J, K) as read, as windows are cut from it."""
        with stages.timed("preprocess"):
            return prepare_where_it_fits(image, self.preprocessing, self.inferer, device=self.device, told=stages.told)

    def rest(self) -> None:
        """Give back what only windows need; the picture and the statistics of a long scan need room, too."""
        if self.runtime is not None:
            self.runtime.rest()
        keep_only_for_torch(computes=False)

    def cleaned(self, restored: torch.Tensor, scan: Geometry, *, stages: Stages) -> Segmentation:
        """Labels (1, I, J, K), or regions (L, I, J, K), on the scan's grid, through the bundle's postprocessing.

        Raises:
            ImageError: several regions are left after it.
        """
        with stages.timed("postprocess"):
            values = restored if self.region_threshold is None else restored.float()  # as MONAI's AsDiscrete gives them
            placed = MetaTensor(values, affine=torch.from_numpy(scan.affine.copy()))
            cleaned = self.postprocessing({"pred": placed})["pred"]
        if cleaned.shape[0] != 1:
            raise ImageError(
                f"{cleaned.shape[0]} overlapping regions are left after the bundle's postprocessing: one label map was "
                "expected. Its last step must say which label each region becomes."
            )
        array = cleaned[0].cpu().numpy().astype(np.uint8, copy=False)
        return Segmentation(labels=array, geometry=scan, label_table=self.label_table)

    def network_for(self, image: MetaTensor, *, stages: Stages | None = None) -> nn.Module:
        """The network in the runtime that suits a preprocessed image (C, I, J, K)."""
        stages = stages or Stages()
        if self.runtime is None:
            return self.network
        n_windows = self.count_windows(image.shape[1:])
        with stages.timed("compile"):
            return self.runtime.network_for(self.inferer, image.shape, n_windows=n_windows)

    def count_windows(self, sizes: Sequence[int]) -> int | None:
        """How many windows a preprocessed volume of these sizes takes; None where the inferer has none."""
        return windows_of(self.inferer, sizes)

    def computing(self, network: nn.Module, rung: Rung) -> nn.Module:
        """The network as it computes on a rung; logits that are no numbers end the run with a word on what to do."""
        runtime = self.runtime.choice.name if self.runtime else "torch"
        precision = " in half precision" if rung.is_half or isinstance(network, HalfPrecision) else ""
        if rung.is_half:
            advice = f"memory is too little for more precision: {more_memory(self.device)}"
        elif precision or runtime != "torch":
            advice = "use --runtime torch, which computes in float32"
        else:
            elsewhere = "" if self.device.type == "cpu" else ", or try --device cpu"
            advice = f"its weights are damaged, or overflow: download or copy them again{elsewhere}"
        named = f"{self.name}, computed by {runtime} on {self.device}{precision},"
        return OnDevice(FiniteLogits(rung.network(network), named=named, advice=advice), self.device)

    def rungs_for(self, inferer: Inferer, *, stages: Stages) -> list[Rung]:
        """The ways to take the inferer's windows, the first one that fits into the memory that is free first."""
        steps = list(rungs(inferer, device=self.device))
        is_compiled = self.runtime is not None and self.runtime.choice.name != "torch"
        free_mb = free_memory_bytes() / 1e6
        if self.device.type != "cpu" or self.window_mb is None or is_compiled or free_mb >= PLENTY_MB:
            return steps
        chosen = within(steps, free_mb=free_mb, window_mb=self.window_mb)
        if len(chosen) < len(steps):
            stages.told(f"{free_mb / 1000:.1f} GB of memory are free: computing with {chosen[0].name}.")
        return chosen

    def _inferred(
        self, prepared: Prepared, scan: Geometry, *, network: nn.Module, inferer: Inferer, stages: Stages
    ) -> torch.Tensor:
        with watched_windows(network, inferer, prepared.image.shape[1:], stages.windows):
            with suppress(NotBlockwiseError):
                restored = self._in_parts(prepared, scan, network=network, inferer=inferer, stages=stages)
                if restored is not None:
                    return restored
            with stages.timed("infer"):
                logits = predict_logits(prepared.finished(), network, inferer)
        with stages.timed("restore"):
            if self.region_threshold is None:
                return restore_labels(logits, scan)[None]
            return restore_regions(logits, scan, threshold=self.region_threshold)

    def _in_parts(
        self, prepared: Prepared, scan: Geometry, *, network: nn.Module, inferer: Inferer, stages: Stages
    ) -> torch.Tensor | None:
        """What is restored while windows are still to come; None where the inferer's windows are not known.

        Raises:
            NotBlockwiseError: before anything is restored: the network gives no logits of its input's size.
        """
        volume, seeing = prepared.image.as_tensor(), prepared.seen_by(network)
        slabs = logits_in_slabs(volume, seeing, inferer)
        blocks = None if slabs is not None else logits_in_blocks(volume, seeing, inferer)
        if slabs is not None:
            logits: Blocks | Slabs = Slabs(slabs.axis, (_timed_slab(slab, stages) for slab in slabs.slabs))
        elif blocks is not None:
            logits = _timed(blocks, stages)
        else:
            return None
        return restore_blocks(
            logits,
            prepared.geometry,
            scan,
            threshold=self.region_threshold,
            timed=partial(stages.timed, "restore"),
            restored=stages.restored,
        )

    def check(self, image: MetaTensor) -> None:
        """Nothing, if the image (C, I, J, K) can be segmented.

        Raises:
            ImageError: another number of channels, values that are no numbers, or no contrast.
        """
        wanted = ", ".join(self.channel_names)
        if image.ndim != 4 or image.shape[0] != len(self.channel_names):
            raise ImageError(
                f"the image has {image.shape[0] if image.ndim == 4 else 'no'} channels and shape {tuple(image.shape)}: "
                f"this bundle takes {len(self.channel_names)} ({wanted}). Give one file or frame for each."
            )
        for name, channel in zip(self.channel_names, image.as_tensor(), strict=True):
            least, most = channel.aminmax()  # in one pass and without a copy; NaN comes through
            if not bool(least.isfinite() & most.isfinite()):
                raise ImageError(
                    f"channel {name} holds {int((~channel.isfinite()).sum())} values that are no finite numbers: "
                    "real intensities were expected. Replace them, for example by the background value."
                )
            if bool(least == most):
                raise ImageError(
                    f"channel {name} has the value {least.item():g} in every voxel: there is nothing to segment. "
                    "Check the file."
                )


def timed_parts(parts: Iterator[torch.Tensor], stages: Stages) -> Iterator[torch.Tensor]:
    """The same parts, the time until each is there counted as inference."""
    while True:
        with stages.timed("infer"):
            part = next(parts, None)
        if part is None:
            return
        yield part
        del part  # a view of a whole block: not to be held while the next one is computed


def _timed_slab(slab: Slab, stages: Stages) -> Slab:
    return replace(slab, blocks=_timed(slab.blocks, stages))


def _timed(blocks: Blocks, stages: Stages) -> Blocks:
    return Blocks(blocks.axis, timed_parts(blocks.parts, stages))
