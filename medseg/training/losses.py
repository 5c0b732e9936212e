"""Losses that MONAI lacks. In: logits, or the logits of several heads, and labels. Out: one number to minimise."""

from collections.abc import Sequence
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BoundaryWeightedLoss", "MaskedReconstructionLoss"]

WINDOW: Final = 31
"""Side of the neighbourhood in which a pixel's surroundings are averaged (released code)."""

EMPHASIS: Final = 5.0
"""How much a pixel on the border of the mask counts beyond one inside (released code)."""


class BoundaryWeightedLoss(nn.Module):
    """Weighted cross-entropy plus weighted IoU for one or several heads of a 2D network with one logit a pixel.

    The training loss of DS-TransUNet (Lin et al. 2022, section III-D), as its authors' code defines it. With the
    mask m, probabilities p = σ(logit) and the mean of m over the 31×31 pixels around each, m̄::

        w    = 1 + 5 · |m̄ − m|                                        pixels near the border count more
        WBCE = Σ w · BCE(p, m) / Σ w                                    of each image
        WIoU = 1 − (Σ w·p·m + 1) / (Σ w·(p + m) − Σ w·p·m + 1)          of each image
        L    = mean over images of WBCE + WIoU;  total = 0.6 · L(main) + 0.2 · L(head 1) + 0.2 · L(head 2)

    Differs in ``variant="released"``: there a misspelt argument lets the cross-entropy be averaged before it is
    weighted, so that it is the plain mean over all pixels.
    """

    def __init__(
        self, variant: Literal["paper", "released"] = "paper", head_weights: Sequence[float] = (0.6, 0.2, 0.2)
    ) -> None:
        super().__init__()
        self.variant = variant
        self.head_weights = tuple(head_weights)

    def forward(self, logits: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
        """The loss of logits (B, 1, H, W), or of several heads of that size, for labels (B, 1, H, W) of 0 and 1.

        Raises:
            ValueError: more heads than weights, or another shape than the labels'.
        """
        if isinstance(logits, Tensor):
            return self._one(logits, labels)
        if len(logits) > len(self.head_weights):
            raise ValueError(f"{len(logits)} heads found, {len(self.head_weights)} weights: give one for each head")
        parts = [weight * self._one(head, labels) for head, weight in zip(logits, self.head_weights, strict=False)]
        return torch.stack(parts).sum()

    def _one(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.shape != labels.shape:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}, labels {tuple(labels.shape)}: one logit a pixel"
            )
        mask = labels.to(logits.dtype)
        weight = 1 + EMPHASIS * (F.avg_pool2d(mask, WINDOW, stride=1, padding=WINDOW // 2) - mask).abs()
        entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        if self.variant == "paper":
            entropy = (weight * entropy).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))
        else:
            entropy = entropy.mean()
        probability = logits.sigmoid()
        both = (weight * probability * mask).sum(dim=(2, 3))
        either = (weight * (probability + mask)).sum(dim=(2, 3)) - both
        return (entropy + 1 - (both + 1) / (either + 1)).mean()


class MaskedReconstructionLoss(nn.Module):
    """Mean absolute difference over the hidden voxels (Xie et al., SimMIM, arXiv:2111.09886, equation 2).

    In: predictions (B, C, *S), and (B, C + 1, *S): the whole images, and a mask that is 1 where they were hidden.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss.

        Raises:
            ValueError: the shapes are not those named above.
        """
        images, mask = targets[:, :-1], targets[:, -1:]
        if predictions.shape != images.shape:
            raise ValueError(f"predictions have shape {tuple(predictions.shape)}, images {tuple(images.shape)}")
        return ((predictions - images).abs() * mask).sum() / (mask.sum() * images.shape[1]).clamp(min=1)
