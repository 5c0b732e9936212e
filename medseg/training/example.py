"""What training learns from: prepared scans with their labels, and batches of crops."""

from dataclasses import dataclass

import torch
from monai.data import MetaTensor

__all__ = ["Batch", "Example"]


@dataclass(frozen=True, eq=False)
class Example:
    """One scan on the network's grid, with its reference labels on the same grid."""

    case_id: str
    image: MetaTensor
    label: MetaTensor
    digest: str = ""
    """Of what was read: another one means that the scan or its labels were changed."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (B, C, …) float32 and labels (B, 1, …) with whole numbers in float32; a volume's sizes or a slice's."""

    images: torch.Tensor
    labels: torch.Tensor
