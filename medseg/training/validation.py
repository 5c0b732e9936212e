"""Validation while training: Dice of each label on the network's grid, with the same inference as everywhere."""

import math
from collections.abc import Callable, Sequence

import torch
from monai.inferers import Inferer
from torch import nn

from medseg.data import LabelSchema
from medseg.inference import predict_logits
from medseg.training.example import Example

__all__ = ["mean_of", "validation_dice"]

IN_REGION = 0.5
"""Probability from which a voxel lies in a region."""


def validation_dice(
    examples: Sequence[Example],
    network: nn.Module,
    inferer: Inferer,
    *,
    schema: LabelSchema,
    regions: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, float]:
    """Mean Dice of each label, or region, over the cases where the reference or the prediction has it.

    Args:
        regions: the regions that the network's channels are, where it predicts regions and not labels.
    """
    scores: dict[str, list[float]] = {name: [] for name in regions or schema.label_table.names}
    for number, example in enumerate(examples, start=1):
        logits = predict_logits(example.image, network, inferer).as_tensor().cpu()
        reference = example.label.as_tensor()[0].cpu()
        if regions:
            predicted = dict(zip(regions, logits.sigmoid() > IN_REGION, strict=True))
            expected = {name: torch.isin(reference.long(), torch.tensor(schema.values_of(name))) for name in regions}
        else:
            chosen = logits.argmax(dim=0)
            predicted = {label.name: chosen == label.index for label in schema.labels}
            expected = {label.name: reference == label.index for label in schema.labels}
        for name, mask in predicted.items():
            total = int(mask.sum()) + int(expected[name].sum())
            if total:
                scores[name].append(2 * int((mask & expected[name]).sum()) / total)
        progress("validate", number, len(examples))
    return {name: round(sum(values) / len(values), 5) if values else math.nan for name, values in scores.items()}


def mean_of(dice: dict[str, float]) -> float:
    """The mean over the labels that were there; 0 where none was, so that such a model is never chosen."""
    known = torch.tensor([value for value in dice.values() if not math.isnan(value)])
    return float(known.mean()) if len(known) else 0.0
