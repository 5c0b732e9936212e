"""Residual convolution blocks of U-shaped networks, in 2D and in 3D.

In: one map (B, C, *S), or two that count as one with their channels side by side. Out: (B, D, *S).

    y = norm(conv 3(LeakyReLU(norm(conv 3(x)))))
    x ← LeakyReLU(y + shortcut(x))               shortcut: identity, or norm(conv 1(x)) where channels change

(Isensee et al., "Automated Design of Deep Learning Methods for Biomedical Image Segmentation", 2019, as built in
MONAI; the parameters have MONAI's names.)
"""

from collections import OrderedDict
from typing import Final, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from medseg.networks.blocks.frugal import (
    convolved,
    leaky_,
    logits,
    may_reuse_memory,
    normalised_,
    only_result_counts,
    pointwise,
)
from medseg.networks.blocks.patches import CONVOLUTIONS, channels_first, channels_last
from medseg.settings import Settings

__all__ = ["ConvolutionNorm", "LogitsHead", "ResidualBlock", "UpsamplingBlock"]

LEAK: Final = 0.01  # slope of LeakyReLU for negative values


class ConvolutionNorm(Settings):
    """Which normalisation follows a convolution; ``groups`` belongs to ``kind="group"`` alone."""

    kind: Literal["instance", "batch", "group"] = "instance"
    affine: bool = False
    eps: float = Field(default=1e-5, gt=0)
    groups: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == "group") != (self.groups is not None):
            raise ValueError("groups must be given for kind 'group', and for no other kind")
        return self

    def layer(self, channels: int, spatial_dims: int) -> nn.Module:
        """The normalisation of ``channels`` channels on maps with ``spatial_dims`` axes."""
        if self.kind == "group":
            return nn.GroupNorm(self.groups or 1, channels, eps=self.eps, affine=self.affine)
        layers: dict[tuple[str, int], type[nn.Module]] = {
            ("instance", 2): nn.InstanceNorm2d,
            ("instance", 3): nn.InstanceNorm3d,
            ("batch", 2): nn.BatchNorm2d,
            ("batch", 3): nn.BatchNorm3d,
        }
        return layers[self.kind, spatial_dims](channels, eps=self.eps, affine=self.affine)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, *, norm: ConvolutionNorm) -> None:
        super().__init__()
        self.norm = norm
        self.conv1 = _convolution(spatial_dims, in_channels, out_channels, kernel=3, bias=False)
        self.conv2 = _convolution(spatial_dims, out_channels, out_channels, kernel=3, bias=False)
        self.norm1 = norm.layer(out_channels, spatial_dims)
        self.norm2 = norm.layer(out_channels, spatial_dims)
        self.is_identity = in_channels == out_channels
        if not self.is_identity:
            self.conv3 = _convolution(spatial_dims, in_channels, out_channels, kernel=1, bias=False)
            self.norm3 = norm.layer(out_channels, spatial_dims)

    def forward(self, *maps: Tensor) -> Tensor:
        """One map (B, C, *S), or several that have C channels together → (B, D, *S)."""
        if self.is_frugal(*maps):
            return self.frugally(*maps)
        if only_result_counts(*maps):
            return self.leanly([*maps])
        x = maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)
        y = F.leaky_relu(self.norm1(self.conv1(x)), LEAK)
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + (x if self.is_identity else self.norm3(self.conv3(x))), LEAK)

    def leanly(self, maps: list[Tensor]) -> Tensor:
        """``forward`` on a GPU, or in half precision, of maps that are taken out of their list when they were used.

        They are never copied side by side: four maps as large as the result are held at most, if nobody else holds any.
        """
        y = F.leaky_relu_(self.norm1(_convolved(self.conv1, maps)), LEAK)
        y = self.conv2(y)
        y = self.norm2(y)
        if self.is_identity:
            shortcut = maps.pop()
        else:
            shortcut = _convolved(self.conv3, maps, are_spare=True)
            shortcut = self.norm3(shortcut)
        # An input in float32 keeps its precision beside a convolution in half precision.
        return F.leaky_relu_(y.add_(shortcut) if y.dtype == shortcut.dtype else y + shortcut, LEAK)

    def is_frugal(self, *maps: Tensor) -> bool:
        """Whether ``frugally`` may and should be called: in 3D, where a map is larger than the kernel."""
        return (
            may_reuse_memory(*maps)
            and self.norm.kind == "instance"
            and not self.norm.affine
            and all(x.ndim == 5 for x in maps)
            and maps[0].numel() >= _kernel(self.conv2).numel()
        )

    def frugally(self, *maps: Tensor, first_is_spare: bool = False) -> Tensor:
        """``forward`` of maps side by side with few large tensors, see ``frugal``.

        Args:
            first_is_spare: nobody needs the first map any more, and it has as many channels as the result.
        """
        rows = [channels_last(x).contiguous() for x in maps]  # (B, I, J, K, C)
        eps = self.norm.eps
        y = normalised_(convolved(rows, _kernel(self.conv1)), eps=eps)  # (B, I, J, K, D)
        y = leaky_(y, slope=LEAK)
        y = normalised_(convolved([y], _kernel(self.conv2), into=y), eps=eps)
        shortcut = rows[0]
        if not self.is_identity:
            spare = rows[0] if first_is_spare else None
            shortcut = normalised_(pointwise(rows, _kernel(self.conv3), into=spare), eps=eps)
        return channels_first(leaky_(y, shortcut, slope=LEAK))


class UpsamplingBlock(nn.Module):
    """(B, C, *S) and a skip (B, D, *2S) → (B, D, *2S): transposed convolution, then both side by side."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, *, norm: ConvolutionNorm) -> None:
        super().__init__()
        transposed = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[spatial_dims]
        layer = transposed(in_channels, out_channels, kernel_size=2, stride=2, bias=False)
        self.transp_conv = nn.Sequential(OrderedDict(conv=layer))
        self.conv_block = ResidualBlock(spatial_dims, 2 * out_channels, out_channels, norm=norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        up: Tensor = self.transp_conv(x)  # (B, D, *2S)
        if self.conv_block.is_frugal(up, skip):
            return self.conv_block.frugally(up, skip, first_is_spare=True)
        if only_result_counts(up, skip):
            maps = [up, skip]
            del up, skip
            return self.conv_block.leanly(maps)
        result: Tensor = self.conv_block(up, skip)
        return result


class LogitsHead(nn.Module):
    """(B, C, *S) → (B, L, *S): each voxel's logits, a linear function of its features."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _convolution(spatial_dims, in_channels, out_channels, kernel=1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        if may_reuse_memory(x):
            return logits(channels_last(x), _kernel(self.conv), self.conv.get_parameter("conv.bias"))
        result: Tensor = self.conv(x)
        return result


def _convolved(layer: nn.Sequential, maps: list[Tensor], *, are_spare: bool = False) -> Tensor:
    """What a convolution without bias makes of maps side by side: the sum of what it makes of each.

    Args:
        are_spare: each map is taken out of the list when it was used.
    """
    convolve = F.conv2d if maps[0].ndim == 4 else F.conv3d
    kernels = torch.split(_kernel(layer), [x.shape[1] for x in maps], dim=1)
    padding = _kernel(layer).shape[-1] // 2
    result: Tensor | None = None
    for number, kernel in enumerate(kernels):
        part = convolve(maps.pop(0) if are_spare else maps[number], kernel, padding=padding)
        result = part if result is None else result.add_(part)
        del part  # or the next one would be made beside it
    assert result is not None, "a convolution has an input"
    return result


def _kernel(layer: nn.Sequential) -> Tensor:
    return layer.get_parameter("conv.weight")


def _convolution(spatial_dims: int, in_channels: int, out_channels: int, *, kernel: int, bias: bool) -> nn.Sequential:
    """A convolution that keeps the size, under the name ``conv``."""
    layer = CONVOLUTIONS[spatial_dims](in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    return nn.Sequential(OrderedDict(conv=layer))
