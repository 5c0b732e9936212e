"""Validation while training: Dice of each label on the network's grid, with the same inference as everywhere."""

import math
from collections.abc import Callable, Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from medseg.data import LabelSchema
from medseg.inference import OnDevice, is_out_of_memory, predict_logits
from medseg.training.example import Example

__all__ = ["mean_of", "validation_dice"]

CPU = torch.device("cpu")
IN_REGION = 0.5
"""Probability from which a voxel lies in a region."""


def validation_dice(  # noqa: PLR0913  what is scored, by which network, how, where, and who watches
    examples: Sequence[Example],
    network: nn.Module,
    inferer: Inferer,
    *,
    schema: LabelSchema,
    regions: Sequence[str] = (),
    device: torch.device = CPU,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, float]:
    """Mean Dice of each label, or region, over the cases where the reference or the prediction has it.

    Args:
        regions: the regions that the network's channels are, where it predicts regions and not labels.
        device: where the network computes.
    """
    scores: dict[str, list[float]] = {name: [] for name in regions or schema.label_table.names}
    for number, example in enumerate(examples, start=1):
        logits = _logits_of(example.image, network, inferer, device=device)
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


def _logits_of(image: MetaTensor, network: nn.Module, inferer: Inferer, *, device: torch.device) -> torch.Tensor:
    """Logits (L, I, J, K) on the CPU of an image (C, I, J, K) on the CPU, from a network on a device.

    Where a GPU has no room for a whole scan and its logits it is given window by window.
    """
    try:
        return _on_cpu(predict_logits(image.to(device), network, inferer))
    except (RuntimeError, MemoryError) as error:
        if device == image.device or not is_out_of_memory(error):
            raise
    return _on_cpu(predict_logits(image, OnDevice(network, device), inferer))


def _on_cpu(logits: MetaTensor) -> torch.Tensor:
    plain: torch.Tensor = logits.as_tensor().cpu()
    return plain


def mean_of(dice: dict[str, float]) -> float:
    """The mean over the labels that were there; 0 where none was, so that such a model is never chosen."""
    known = torch.tensor([value for value in dice.values() if not math.isnan(value)])
    return float(known.mean()) if len(known) else 0.0
