"""Validation while training: Dice of each label on the network's grid, with the same inference as everywhere."""

import math
from collections.abc import Callable, Sequence

import torch
from monai.inferers import Inferer
from torch import nn

from medseg.inference import predict_logits
from medseg.labels import LabelTable
from medseg.training.dataset import Example

__all__ = ["mean_of", "validation_dice"]


def validation_dice(
    examples: Sequence[Example],
    network: nn.Module,
    inferer: Inferer,
    *,
    label_table: LabelTable,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, float]:
    """Mean Dice of each label over the cases where the reference or the prediction has it."""
    scores: dict[str, list[float]] = {name: [] for name in label_table.names}
    for number, example in enumerate(examples, start=1):
        predicted = predict_logits(example.image, network, inferer).as_tensor().argmax(dim=0).cpu()
        reference = example.label.as_tensor()[0].cpu()
        for label in label_table:
            both = (predicted == label.index) & (reference == label.index)
            total = int((predicted == label.index).sum()) + int((reference == label.index).sum())
            if total:
                scores[label.name].append(2 * int(both.sum()) / total)
        progress("validate", number, len(examples))
    return {name: round(sum(values) / len(values), 5) if values else math.nan for name, values in scores.items()}


def mean_of(dice: dict[str, float]) -> float:
    """The mean over the labels that were there; 0 where none was, so that such a model is never chosen."""
    known = torch.tensor([value for value in dice.values() if not math.isnan(value)])
    return float(known.mean()) if len(known) else 0.0
