"""One image on its way to logits: preprocessing, then windows through the network, blended."""

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose, LoadImage, LoadImaged
from torch import nn

__all__ = ["predict_logits", "preprocess"]

READERS = (LoadImage, LoadImaged)
"""A bundle names a reader so that MONAI can run it alone; here the scan has been read already."""


def preprocess(image: MetaTensor, preprocessing: Compose) -> MetaTensor:
    """An image (C, I, J, K) as read, on the network's grid: through a bundle's transforms, less its reader."""
    data = {"image": image}
    for transform in preprocessing.transforms:
        if not isinstance(transform, READERS):
            data = transform(data)
    return data["image"]


@torch.inference_mode()
def predict_logits(image: MetaTensor, network: nn.Module, inferer: Inferer) -> MetaTensor:
    """The blended logits (L, I, J, K) float32 of a preprocessed image (C, I, J, K), on the image's grid.

    The network must be in evaluation mode; ``inferer`` cuts windows and blends them.
    """
    logits = inferer(image.as_tensor()[None], network)
    return MetaTensor(logits[0].float(), affine=image.affine)
