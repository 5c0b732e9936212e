"""What several passes say of a scan together: labels, probabilities, and how certain they are.

In: the logits of every pass on some of the scan's planes. Out: the labels of the whole scan, its uncertainty.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from medseg.geometry import Geometry
from medseg.inference.restore import border_logit, check_classes
from medseg.inference.segmenter import Segmenter
from medseg.segmentation import Segmentation, Uncertainty

__all__ = ["Average", "ProbabilitySink"]

SURE, POSSIBLE = 0.75, 0.25
"""Where there is one pass, a label's volume lies between that of the voxels with these probabilities of it."""

ProbabilitySink = Callable[[int, int, torch.Tensor], None]
"""Takes the probabilities (L, I, J, K) of the scan's planes from the second number on, along the axis of the first."""


@dataclass(eq=False)
class Average:
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
        """(1, …) labels, or (L, …) regions, uint8; from the logits where one model decides, as alone."""
        alone = of_models[0] if len(of_models) == 1 else None
        threshold = self.segmenter.region_threshold
        if threshold is None:
            check_classes(len(mean))
            return (mean if alone is None else alone).argmax(0, keepdim=True).to(torch.uint8)
        is_in = mean > threshold if alone is None else alone > border_logit(threshold)
        return is_in.to(torch.uint8)

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
