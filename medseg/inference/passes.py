"""Several passes over one scan at once: mirror images, planes, weights, models with one label table.

Every pass gives its logits in blocks that are brought to the scan's grid as they come; a few of the scan's planes at
a time all passes meet, are averaged, and forgotten. Memory grows with the number of passes by a block each, and not
with the scan.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, combinations, product

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from medseg.errors import SettingsError
from medseg.geometry import Geometry, geometry_of, plane_positions
from medseg.inference.blocks import Blocks, NotBlockwiseError, logits_in_blocks
from medseg.inference.constant import ConstantWindowsOnce
from medseg.inference.counting import windows_of
from medseg.inference.ladder import Rung, is_out_of_memory, too_little_memory
from medseg.inference.mirror import MirrorInferer
from medseg.inference.on_scan import logits_on_scan
from medseg.inference.predict import predict_logits
from medseg.inference.preprocessing import preprocess
from medseg.inference.restore import border_logit, check_classes
from medseg.inference.segmenter import Segmenter, Stages, WindowCount, timed_parts
from medseg.inference.three_planes import ThreePlaneInferer
from medseg.segmentation import Segmentation, Uncertainty

__all__ = ["ManyPasses", "ProbabilitySink"]

PLANES_AT_ONCE = 4
"""Planes of the scan at which all passes meet: each holds the probabilities of so many."""

SURE, POSSIBLE = 0.75, 0.25
"""Where there is one pass, a label's volume lies between that of the voxels with these probabilities of it."""

ProbabilitySink = Callable[[int, int, torch.Tensor], None]
"""Takes the probabilities (L, I, J, K) of the scan's planes from the second number on, along the axis of the first."""


@dataclass(frozen=True, eq=False)
class ManyPasses:
    """Models that segment a scan together, each on its own grid.

    A label is the one that is likeliest on average: over the mirror images of a model the logits are averaged, over
    models the probabilities. One model without mirrors gives the labels that its ``Segmenter`` gives.

    Args:
        segmenters: one a model, of the same channels and the same label table. Mirror images are a pass each.
        measures_uncertainty: whether the result says how certain it is.
    Raises:
        SettingsError: the models do not have the same channels and labels.
    """

    segmenters: tuple[Segmenter, ...]
    measures_uncertainty: bool = False

    def __post_init__(self) -> None:
        first = self.segmenters[0]
        for other in self.segmenters[1:]:
            if other.label_table != first.label_table or other.region_threshold != first.region_threshold:
                raise SettingsError("the models name different labels: only those with one label table go together.")
            if other.channel_names != first.channel_names:
                raise SettingsError(
                    f"the models take different channels ({', '.join(first.channel_names)}; "
                    f"{', '.join(other.channel_names)}): only those with the same go together."
                )

    def __call__(
        self, image: MetaTensor, *, stages: Stages | None = None, probabilities: ProbabilitySink | None = None
    ) -> Segmentation:
        """The labels of an image (C, I, J, K) float32 as read, on its own grid, with their uncertainty if measured.

        Raises:
            ImageError: the image has another number of channels than the models take, or no usable contrast.
            RunError: a network gave values that are no numbers, or memory is too little.
        """
        stages = stages or Stages()
        first = self.segmenters[0]
        first.check(image)
        scan = geometry_of(image)
        with stages.timed("preprocess"):
            prepared = [preprocess(image.to(one.device), one.preprocessing) for one in self.segmenters]
        networks = [
            one.network_for(volume, stages=stages) for one, volume in zip(self.segmenters, prepared, strict=True)
        ]
        ladders = [one.rungs_for(_inner(one.inferer), stages=stages) for one in self.segmenters]
        for step in range(max(map(len, ladders))):
            steps = [ladder[min(step, len(ladder) - 1)] for ladder in ladders]
            passes = self._passes(prepared, networks, steps)
            try:
                found = _Average(scan, first, measures=self.measures_uncertainty, sink=probabilities)
                self._run(passes, found, scan, stages)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                stages.told(f"{first.device} ran out of memory with {steps[0].name}: trying with less.")
                if first.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            for one in passes:
                stages.counted(WindowCount(one.network.n_windows, one.network.n_reused))
            assert found.labels is not None, "a scan has planes"
            segmentation = first.cleaned(found.labels, scan, stages=stages)
            return replace(segmentation, uncertainty=found.uncertainty(segmentation))
        raise too_little_memory(first.device)

    def _passes(
        self, prepared: Sequence[MetaTensor], networks: Sequence[nn.Module], steps: Sequence[Rung]
    ) -> list["_Pass"]:
        passes = []
        for number, (segmenter, volume, network, rung) in enumerate(
            zip(self.segmenters, prepared, networks, steps, strict=True)
        ):
            axes = segmenter.inferer.axes if isinstance(segmenter.inferer, MirrorInferer) else ()
            computing = rung.network(network)
            planes = rung.inferer.planes if isinstance(rung.inferer, ThreePlaneInferer) else (rung.inferer,)
            mirrors = chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1))
            passes += [
                _Pass(number, volume, ConstantWindowsOnce(computing), inferer, mirrored, axes)
                for inferer, mirrored in product(planes, mirrors)
            ]
        return passes

    def _run(self, passes: Sequence["_Pass"], found: "_Average", scan: Geometry, stages: Stages) -> None:
        with ExitStack() as watched:
            self._watch(passes, watched, stages)
            streams: list[Iterator[_Group]] = []
            along: int | None = None
            for one in passes:
                along, stream = one.on_scan(scan, along=along, is_regions=found.is_regions, stages=stages)
                streams.append(stream)
            for axis, first, logits in _met(streams):
                with stages.timed("restore"):
                    found.add(axis, first, logits, [one.model for one in passes])

    @staticmethod
    def _watch(passes: Sequence["_Pass"], watched: ExitStack, stages: Stages) -> None:
        counts = [windows_of(one.inferer, one.volume.shape[1:]) for one in passes]
        total = sum(count for count in counts if count is not None)
        done = 0

        def count(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:  # noqa: ARG001  a hook's signature
            nonlocal done
            done += arguments[0].shape[0]
            stages.windows(min(done, total), total)

        if None not in counts:
            for one in passes:
                watched.callback(one.network.register_forward_pre_hook(count).remove)


_Group = tuple[int, int, torch.Tensor]


@dataclass(frozen=True, eq=False)
class _Pass:
    """One model over one mirror image of the scan, on the model's own grid."""

    model: int
    volume: MetaTensor
    network: ConstantWindowsOnce
    inferer: Inferer
    mirrored: tuple[int, ...]
    avoided: tuple[int, ...]
    """Axes across which some pass of the model is mirrored: across them it would not meet the others early."""

    def on_scan(
        self, scan: Geometry, *, along: int | None, is_regions: bool, stages: Stages
    ) -> tuple[int, Iterator[_Group]]:
        """Groups of the scan's planes, along the scan's axis ``along`` if given, and that axis."""
        grid = geometry_of(self.volume)
        blocks = self._blocks(self._axis(grid, scan, along), stages)
        places = plane_positions(grid, scan, axis=blocks.axis)
        axis = 0 if places is None else places[0]
        if places is None or along not in (None, axis):  # slices of another axis: all of them, then across the wanted
            axis = along or 0
            whole = torch.cat(list(blocks.parts), blocks.axis + 1)
            source_axis = self._axis(grid, scan, axis)
            blocks = Blocks(blocks.axis if source_axis is None else source_axis, iter([whole]))
        groups = logits_on_scan(
            blocks,
            grid,
            scan,
            n_planes=PLANES_AT_ONCE,
            is_regions=is_regions,
            timed=lambda: stages.timed("restore"),
        )
        return axis, groups if places is not None else _regrouped(groups, axis)

    def _axis(self, grid: Geometry, scan: Geometry, along: int | None) -> int | None:
        """The axis of the network's grid that runs along one of the scan's."""
        if along is None:
            return None
        places = [plane_positions(grid, scan, axis=axis) for axis in range(3)]
        return next((axis for axis, place in enumerate(places) if place is not None and place[0] == along), None)

    def _blocks(self, axis: int | None, stages: Stages) -> Blocks:
        """The logits in blocks, turned back from the mirror."""
        dims = [one + 1 for one in self.mirrored]
        volume = self.volume.as_tensor().flip(dims) if dims else self.volume.as_tensor()
        blocks = logits_in_blocks(volume, self.network, self.inferer, axis=axis, avoided=self.avoided)
        if blocks is not None:
            parts = timed_parts(blocks.parts, stages)
            try:
                first = next(parts)
            except NotBlockwiseError:
                blocks = None
            else:
                turned = (part.flip(dims) if dims else part for part in chain([first], parts))
                if blocks.axis not in self.mirrored:
                    return Blocks(blocks.axis, turned)
                last_first = list(turned)[::-1]  # across a mirrored axis the last block is the scan's first
                return Blocks(blocks.axis, iter(last_first))
        with stages.timed("infer"):
            logits = predict_logits(MetaTensor(volume, affine=self.volume.affine), self.network, self.inferer)
        whole = logits.as_tensor().flip(dims) if dims else logits.as_tensor()
        return Blocks(axis or 0, iter([whole]))


@dataclass(eq=False)
class _Average:
    """What all passes say of the scan; mutable: filled plane by plane."""

    scan: Geometry
    segmenter: Segmenter
    measures: bool
    sink: ProbabilitySink | None
    labels: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    mutual_information: torch.Tensor | None = None
    counts: dict[int, torch.Tensor] = field(default_factory=dict)
    """Voxels of each label, by pass; where there is one pass, of what is sure and what is possible."""

    @property
    def is_regions(self) -> bool:
        """Whether channels are regions that may overlap."""
        return self.segmenter.region_threshold is not None

    @torch.no_grad()  # not inference mode: what the bundle does with the labels afterwards may write into them
    def add(self, axis: int, first: int, logits: Sequence[torch.Tensor], models: Sequence[int]) -> None:
        """The logits (L, I, J, K) of one group of planes from every pass, and the model of each pass."""
        of_models = [
            torch.stack([one for one, owner in zip(logits, models, strict=True) if owner == model]).mean(0)
            for model in sorted(set(models))
        ]
        mean = torch.stack([self._probabilities(one) for one in of_models]).mean(0)
        self._put("labels", axis, first, self._labels(of_models, mean))
        if self.sink is not None:
            self.sink(axis, first, mean)
        if not self.measures:
            return
        self._put("entropy", axis, first, self._entropy(mean))
        passes = [self._probabilities(one) for one in logits]
        if len(passes) > 1:
            expected = torch.stack([self._entropy(one) for one in passes]).mean(0)
            total = self._entropy(torch.stack(passes).mean(0))
            self._put("mutual_information", axis, first, (total - expected).clamp_(min=0))
        if not self.is_regions:
            self._count(passes)

    def uncertainty(self, segmentation: Segmentation) -> Uncertainty | None:
        """How certain the segmentation is; None where that was not measured."""
        if not self.measures:
            return None
        assert self.entropy is not None, "measured with the labels"
        shared = self.mutual_information
        return Uncertainty(
            entropy=self.entropy[0].cpu().numpy(),
            mutual_information=None if shared is None else shared[0].cpu().numpy(),
            volume_interval_ml=self._intervals(segmentation) if self.counts else None,
        )

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid() if self.is_regions else logits.softmax(0)

    def _labels(self, of_models: Sequence[torch.Tensor], mean: torch.Tensor) -> torch.Tensor:
        """(1, …) uint8 labels, or (L, …) float32 regions; from the logits where one model decides, as alone."""
        alone = of_models[0] if len(of_models) == 1 else None
        threshold = self.segmenter.region_threshold
        if threshold is None:
            check_classes(len(mean))
            return (mean if alone is None else alone).argmax(0, keepdim=True).to(torch.uint8)
        is_in = mean > threshold if alone is None else alone > border_logit(threshold)
        return is_in.float()

    def _entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """(1, …), from 0, certain, to 1, where all labels are as likely; of regions, that of the least certain."""
        if self.is_regions:
            either: torch.Tensor = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
            return either.amax(0, keepdim=True) / math.log(2)
        nats: torch.Tensor = torch.special.entr(probabilities).sum(0, keepdim=True)
        return nats / math.log(max(2, probabilities.shape[0]))

    def _count(self, passes: Sequence[torch.Tensor]) -> None:
        n_labels = passes[0].shape[0]
        if len(passes) > 1:
            found = [torch.bincount(one.argmax(0).flatten(), minlength=n_labels) for one in passes]
        else:
            found = [(passes[0] >= share).flatten(1).sum(1) for share in (SURE, POSSIBLE)]
        for number, count in enumerate(found):
            self.counts[number] = self.counts.get(number, 0) + count

    def _intervals(self, segmentation: Segmentation) -> dict[str, tuple[float, float]]:
        """Least and largest volume of each label in mL, with that of the segmentation itself among them."""
        counts = torch.stack([*self.counts.values()]).cpu().numpy()
        ml = self.scan.voxel_volume_mm3 / 1000
        result = {}
        for label in segmentation.label_table:
            own = int(np.count_nonzero(segmentation.labels == label.index))
            every = [own, *(int(count) for count in counts[:, label.index])] if label.index < counts.shape[1] else [own]
            result[label.name] = (min(every) * ml, max(every) * ml)
        return result

    def _put(self, name: str, axis: int, first: int, values: torch.Tensor) -> None:
        whole = getattr(self, name)
        if whole is None:
            whole = torch.zeros((values.shape[0], *self.scan.shape), dtype=values.dtype, device=values.device)
            setattr(self, name, whole)
        whole.narrow(axis + 1, first, values.shape[axis + 1]).copy_(values)


def _regrouped(groups: Iterator[_Group], axis: int) -> Iterator[_Group]:
    """The same planes in groups as every pass has them."""
    for _, _, values in groups:
        for number, part in enumerate(torch.split(values, PLANES_AT_ONCE, dim=axis + 1)):
            yield axis, number * PLANES_AT_ONCE, part


def _met(streams: Sequence[Iterator[_Group]]) -> Iterator[tuple[int, int, list[torch.Tensor]]]:
    """The groups at which all streams have arrived; who is ahead waits."""
    waiting: list[dict[int, torch.Tensor]] = [{} for _ in streams]
    for axis, first, values in streams[0]:
        row = [values]
        for early, stream in zip(waiting[1:], streams[1:], strict=True):
            while first not in early:
                _, number, other = next(stream)
                early[number] = other
            row.append(early.pop(first).to(values.device))
        yield axis, first, row


def _inner(inferer: Inferer) -> Inferer:
    """What runs on each mirror image."""
    inner: Inferer = inferer.inferer if isinstance(inferer, MirrorInferer) else inferer
    return inner
