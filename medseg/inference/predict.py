"""One image on its way to logits: preprocessing, then windows through the network, blended."""

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose, LoadImage, LoadImaged
from torch import nn

from medseg.errors import ImageError, RunError

__all__ = ["predict_logits", "preprocess"]

READERS = (LoadImage, LoadImaged)
"""A bundle names a reader so that MONAI can run it alone; here the scan has been read already."""


def preprocess(image: MetaTensor, preprocessing: Compose) -> MetaTensor:
    """An image (C, I, J, K) as read, on the network's grid: through a bundle's transforms, less its reader.

    Raises:
        ImageError: the bundle's cropping leaves nothing of it.
    """
    steps = [step for step in preprocessing.transforms if not isinstance(step, READERS)]
    if not steps:
        return image
    data = {"image": image.clone()}  # MONAI 1.6.1: NormalizeIntensity(nonzero=True) writes into what it is given
    for step in steps:
        data = step(data)
    prepared: MetaTensor = data["image"]
    if not prepared.numel():
        raise ImageError(
            "the model's cropping leaves nothing of the scan: no voxel has an intensity that it takes for the patient. "
            "Check the intensities (a CT must be in Hounsfield units), and that the scan is one the model is for."
        )
    # What was cropped is a view, which would keep the whole scan in memory while it is segmented.
    return prepared.clone() if prepared.untyped_storage().nbytes() > prepared.nbytes else prepared


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
