"""Several passes over one scan at once: mirror images, planes, weights, models with one label table.

Every pass gives its logits in blocks that are brought to the scan's grid as they come; a few of the scan's planes at
a time all passes meet, are averaged, and forgotten. Memory grows with the number of passes by a block each, and not
with the scan. The mirror images of a model are one pass, unless they are to say how far they contradict one another.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from medseg.errors import SettingsError
from medseg.geometry import Geometry, geometry_of, plane_positions
from medseg.inference.average import Average, ProbabilitySink
from medseg.inference.blocks import Blocks, NotBlockwiseError, logits_in_blocks
from medseg.inference.constant import ConstantWindowsOnce
from medseg.inference.counting import windows_of
from medseg.inference.ladder import Rung, is_out_of_memory, too_little_memory
from medseg.inference.mirror import MirrorInferer
from medseg.inference.on_scan import logits_on_scan
from medseg.inference.predict import predict_logits
from medseg.inference.prepared import Prepared
from medseg.inference.segmenter import Segmenter, Stages, WindowCount, timed_parts
from medseg.inference.three_planes import ThreePlaneInferer
from medseg.segmentation import Segmentation

__all__ = ["ManyPasses"]

PLANES_AT_ONCE = 4
"""Planes of the scan at which all passes meet: each holds the probabilities of so many."""


@dataclass(frozen=True, eq=False)
class ManyPasses:
    """Models that segment a scan together, each on its own grid.

    A label is the one that is likeliest on average: over the mirror images of a model the logits are averaged, over
    models the probabilities. One model gives the labels that its ``Segmenter`` gives.

    Args:
        segmenters: one a model, of the same channels and the same label table.
        measures_uncertainty: whether the result says how certain it is; for that, mirror images are a pass each.
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
        prepared = [one.prepared(image, stages=stages) for one in self.segmenters]
        networks = [
            one.network_for(volume.image, stages=stages) for one, volume in zip(self.segmenters, prepared, strict=True)
        ]
        ladders = [one.rungs_for(one.inferer, stages=stages) for one in self.segmenters]
        longest = max(ladders, key=len)
        for step, named in enumerate(longest):
            missing = len(longest) - step
            steps = [ladder[max(len(ladder) - missing, 0)] for ladder in ladders]  # half precision last for all
            prepared = [rung.scan(volume) for rung, volume in zip(steps, prepared, strict=True)]
            passes = self._passes(prepared, networks, steps)
            try:
                found = Average(scan, first, measures=self.measures_uncertainty, sink=probabilities)
                self._run(passes, found, scan, stages)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                stages.told(f"{first.device} ran out of memory with {named.name}: trying with less.")
                if first.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            for one in passes:
                stages.counted(WindowCount(one.network.n_windows, one.network.n_reused))
            for segmenter in self.segmenters:
                segmenter.rest()
            assert found.labels is not None, "a scan has planes"
            segmentation = first.cleaned(found.labels, scan, stages=stages)
            return replace(segmentation, uncertainty=found.uncertainty(segmentation))
        raise too_little_memory(first.device)

    def _passes(
        self, prepared: Sequence[Prepared], networks: Sequence[nn.Module], steps: Sequence[Rung]
    ) -> list["_Pass"]:
        return [
            _Pass(number, volume, ConstantWindowsOnce(segmenter.computing(network, rung)), inferer)
            for number, (segmenter, volume, network, rung) in enumerate(
                zip(self.segmenters, prepared, networks, steps, strict=True)
            )
            for inferer in _apart(rung.inferer, in_mirrors=self.measures_uncertainty)
        ]

    def _run(self, passes: Sequence["_Pass"], found: Average, scan: Geometry, stages: Stages) -> None:
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
        counts = [windows_of(one.inferer, one.volume.image.shape[1:]) for one in passes]
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
    """One model on its own grid, over all mirror images together or over one of them."""

    model: int
    volume: Prepared
    network: ConstantWindowsOnce
    inferer: Inferer

    def on_scan(
        self, scan: Geometry, *, along: int | None, is_regions: bool, stages: Stages
    ) -> tuple[int, Iterator[_Group]]:
        """Groups of the scan's planes, along the scan's axis ``along`` if given, and that axis."""
        grid = self.volume.geometry
        blocks = self._blocks(self._axis(grid, scan, along), stages)
        places = plane_positions(grid, scan, axis=blocks.axis)
        if along is None:
            along = 0 if places is None else places[0]
        own = self._axis(grid, scan, along)
        if own != blocks.axis:  # slices of another axis: all of them, then across the wanted
            whole = torch.cat(list(blocks.parts), blocks.axis + 1)
            blocks = Blocks(blocks.axis if own is None else own, iter([whole]))
        groups = logits_on_scan(
            blocks,
            grid,
            scan,
            n_planes=PLANES_AT_ONCE if own is not None else max(scan.shape),
            is_regions=is_regions,
            timed=lambda: stages.timed("restore"),
        )
        return along, groups if own is not None else _regrouped(groups, along)

    def _axis(self, grid: Geometry, scan: Geometry, along: int | None) -> int | None:
        """The axis of the network's grid that runs along one of the scan's."""
        if along is None:
            return None
        places = [plane_positions(grid, scan, axis=axis) for axis in range(3)]
        return next((axis for axis, place in enumerate(places) if place is not None and place[0] == along), None)

    def _blocks(self, axis: int | None, stages: Stages) -> Blocks:
        volume, network = self.volume.image.as_tensor(), self.volume.seen_by(self.network)
        blocks = logits_in_blocks(volume, network, self.inferer, axis=axis)
        if blocks is not None:
            parts = timed_parts(blocks.parts, stages)
            with suppress(NotBlockwiseError):
                return Blocks(blocks.axis, chain([next(parts)], parts))
        with stages.timed("infer"):
            logits = predict_logits(self.volume.finished(), self.network, self.inferer)
        return Blocks(axis or 0, iter([logits.as_tensor()]))


def _regrouped(groups: Iterator[_Group], axis: int) -> Iterator[_Group]:
    """A scan that comes in one piece, in groups as every pass has them."""
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


def _apart(inferer: Inferer, *, in_mirrors: bool) -> Sequence[Inferer]:
    """Inferers whose mean is that of one: one a plane, and one a mirror image where those are to be told apart."""
    if isinstance(inferer, MirrorInferer):
        planes = [MirrorInferer(plane, inferer.axes) for plane in _apart(inferer.inferer, in_mirrors=in_mirrors)]
        return [one for plane in planes for one in (plane.passes if in_mirrors else (plane,))]
    return inferer.planes if isinstance(inferer, ThreePlaneInferer) else (inferer,)
