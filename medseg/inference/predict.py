"""A preprocessed image on its way to logits: windows through the network, blended."""

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from medseg.errors import RunError

__all__ = ["predict_logits"]


@torch.inference_mode()
def predict_logits(image: MetaTensor, network: nn.Module, inferer: Inferer) -> MetaTensor:
    """The blended logits (L, I, J, K) float32 of a preprocessed image (C, I, J, K), on the image's grid.

    The network must be in evaluation mode; ``inferer`` cuts windows and blends them.

    Raises:
        RunError: the network gave values that are no numbers, which no label can be chosen from.
    """
    logits = inferer(image.as_tensor()[None], network)[0].float()
    if any(bool(channel.isnan().any()) for channel in logits):
        raise RunError(
            "the network gave values that are not numbers (NaN): the weights are damaged, or overflow on this device. "
            "Verify the bundle, or try --device cpu."
        )
    return MetaTensor(logits, affine=image.affine)
