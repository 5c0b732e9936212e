"""A preprocessed image on its way to logits: windows through the network, blended."""

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from medseg.errors import RunError
from medseg.inference.finite import finite

__all__ = ["predict_logits"]


@torch.inference_mode()
def predict_logits(image: MetaTensor, network: nn.Module, inferer: Inferer) -> MetaTensor:
    """The blended logits (L, I, J, K) float32 of a preprocessed image (C, I, J, K), on the image's grid.

    The network must be in evaluation mode; ``inferer`` cuts windows and blends them.

    Raises:
        RunError: the network gave values that are no numbers, which no label can be chosen from, or logits of another
            size than the image's, whose place in space nobody knows.
    """
    given = image.as_tensor()[None].clone()  # some inferers give a network the volume itself, which it may write into
    logits = inferer(given, network)[0].float()
    if logits.shape[1:] != image.shape[1:]:
        found, expected = ("×".join(map(str, sizes)) for sizes in (logits.shape[1:], image.shape[1:]))
        raise RunError(
            f"the network gives logits of {found} voxels for an image of {expected}: as many were expected. "
            "Let it resample its logits to the size of its input."
        )
    return MetaTensor(finite(logits), affine=image.affine)
