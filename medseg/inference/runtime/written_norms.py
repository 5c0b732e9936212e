"""Instance normalisation written out, in the form that OpenVINO's compiler knows as one operation.

A conversion takes torch's own apart into eight passes over the image, which were a fifth of the time of a Swin UNETR.
"""

from copy import deepcopy

import torch
from torch import nn

__all__ = ["WrittenInstanceNorm", "with_written_norms"]

INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


class WrittenInstanceNorm(nn.Module):
    """(x − mean) / √(mean (x − mean)² + ε) over the positions of each channel, then its weight and bias."""

    def __init__(self, norm: nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
        super().__init__()
        self.eps, self.is_affine = norm.eps, norm.affine
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, *S) → (B, C, *S)."""
        positions = tuple(range(2, x.ndim))
        centred = x - x.mean(positions, keepdim=True)
        normed = centred / torch.sqrt(centred.pow(2).mean(positions, keepdim=True) + self.eps)
        if not self.is_affine:
            return normed
        one_a_channel = (-1,) + (1,) * len(positions)
        return normed * self.weight.reshape(one_a_channel) + self.bias.reshape(one_a_channel)


def with_written_norms(network: nn.Module) -> nn.Module:
    """A copy of the network that shares its weights, for export: the same numbers from other operations."""
    shared = {id(value): value for value in (*network.parameters(), *network.buffers())}
    copied = deepcopy(network, shared)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, INSTANCE_NORMS) and not child.track_running_stats:
                setattr(module, name, WrittenInstanceNorm(child))
    return copied
