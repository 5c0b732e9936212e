"""A preprocessed image on its way to logits: windows through the network, blended."""

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from medseg.inference.finite import finite

__all__ = ["predict_logits"]


@torch.inference_mode()
def predict_logits(image: MetaTensor, network: nn.Module, inferer: Inferer) -> MetaTensor:
    """The blended logits (L, I, J, K) float32 of a preprocessed image (C, I, J, K), on the image's grid.

    The network must be in evaluation mode; ``inferer`` cuts windows and blends them.

    Raises:
        RunError: the network gave values that are no numbers, which no label can be chosen from.
    """
    logits = inferer(image.as_tensor()[None], network)[0].float()
    return MetaTensor(finite(logits), affine=image.affine)
