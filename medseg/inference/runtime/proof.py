"""The proof of a runtime: one golden window through it and through plain torch, compared."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Golden", "Proof", "RuntimeChoice", "compared", "golden_window", "prove"]

LEAST_AGREEMENT = 0.9995
"""Share of the voxels with a clear label that must get the same one."""

CLEAR_MARGIN = {"float32": 0.01, "bfloat16": 0.1, "float16": 0.1}
"""How far the best logit must lie above the second, as a share of the logits' standard deviation, for a clear label.

Where two labels are as good as one another, rounding decides; networks with random weights have many such voxels.
"""

LARGEST_DIFFERENCE = 1e-2
"""In float32, of any logit, as a share of their standard deviation: more is no rounding but another computation."""

LARGEST_MEAN_DIFFERENCE = 0.1
"""In half precision, of the logits' mean difference, as a share of their standard deviation."""

LARGEST_ROUNDING, LARGEST_MEAN_ROUNDING = 0.5, 0.02
"""In half precision, as shares of that deviation: what lies within is rounding, beyond it may be another computation.

Of the networks here bfloat16 moved one logit by 0.21 at most, and all of them by 0.0085 on average.
"""

LEAST_AGREEMENT_ROUNDED = 0.9999
"""Share of the voxels with a clear label that get the same one where nothing but rounding differs."""

CPU: Final = torch.device("cpu")

COARSE = 8
"""The golden window is noise on a grid this much coarser: smooth, as scans are."""


@dataclass(frozen=True)
class Proof:
    """How a runtime agrees with torch on the golden window.

    Attributes:
        precision: of the runtime's arithmetic.
        max_difference: of any logit.
        mean_difference: of the logits.
        scale: standard deviation of torch's logits.
        label_agreement: share of voxels with the same most likely label.
        clear_agreement: the same, of the voxels to which torch gives a clear label.
    """

    precision: str
    max_difference: float
    mean_difference: float
    scale: float
    label_agreement: float
    clear_agreement: float

    @property
    def is_passed(self) -> bool:
        """Whether the runtime may be used."""
        is_close = (
            self.max_difference <= LARGEST_DIFFERENCE * self.scale
            if self.precision == "float32"
            else self.mean_difference <= LARGEST_MEAN_DIFFERENCE * self.scale
        )
        return is_close and self.clear_agreement >= LEAST_AGREEMENT

    @property
    def is_rounding(self) -> bool:
        """Whether what differs can be rounding and nothing else."""
        return (
            self.is_passed
            and self.max_difference <= LARGEST_ROUNDING * self.scale
            and self.mean_difference <= LARGEST_MEAN_ROUNDING * self.scale
            and self.clear_agreement >= LEAST_AGREEMENT_ROUNDED
        )


@dataclass(frozen=True)
class RuntimeChoice:
    """Which runtime computes, and why.

    Attributes:
        name: ``torch``, ``openvino`` or ``onnx``.
        reason: one line.
        proof: against torch; absent for torch itself.
        is_news: whether a person would want to be told.
    """

    name: str
    reason: str
    proof: Proof | None = None
    is_news: bool = False


def golden_window(shape: tuple[int, ...]) -> torch.Tensor:
    """The window (B, C, *S) that every runtime is proved on: smooth noise of zero mean, always the same."""
    generator = torch.Generator().manual_seed(0)
    sizes = shape[2:]
    coarse = torch.randn((*shape[:2], *(max(2, size // COARSE) for size in sizes)), generator=generator)
    mode = "trilinear" if len(sizes) == 3 else "bilinear"
    return F.interpolate(coarse, size=sizes, mode=mode, align_corners=False)


@dataclass(frozen=True, eq=False)
class Golden:
    """A network on its device, and what it makes of the golden window of one shape (B, C, *S).

    ``take`` gives the network where it is needed: what was proved before is proved no more. ``put_away`` gives back the
    memory of its weights until it is asked for again.
    """

    take: Callable[[], nn.Module]
    shape: tuple[int, ...]
    device: torch.device = CPU
    put_away: Callable[[], None] = lambda: None

    @property
    def network(self) -> nn.Module:
        """The network, with its weights."""
        return self.take()

    @cached_property
    def window(self) -> torch.Tensor:
        """See ``golden_window``."""
        return golden_window(self.shape)

    @cached_property
    def expected(self) -> torch.Tensor:
        """The logits (B, L, *S) float32, computed once: a window through torch takes as long as several compiled."""
        with torch.inference_mode():
            logits: torch.Tensor = self.network(self.window.to(self.device)).float()
        return logits.cpu()


def prove(ours: nn.Module, golden: Golden, *, precision: str) -> Proof:
    """Compare a compiled network with the torch module that it was made from, on the golden window."""
    with torch.inference_mode():
        return compared(ours(golden.window.to(golden.device)).cpu(), golden.expected, precision=precision)


@torch.inference_mode()
def compared(found: torch.Tensor, expected: torch.Tensor, *, precision: str) -> Proof:
    """How logits (B, L, *S) found in some precision agree with those of torch in float32."""
    found = found.float()
    difference = (found - expected).abs()
    scale = float(expected.std())
    if not bool(found.isfinite().all()):
        return Proof(precision, float("inf"), float("inf"), scale, 0.0, 0.0)
    is_same = found.argmax(dim=1) == expected.argmax(dim=1)
    best = expected.topk(min(2, expected.shape[1]), dim=1).values
    is_clear = best[:, 0] - best[:, -1] > CLEAR_MARGIN[precision] * scale
    return Proof(
        precision=precision,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        scale=scale,
        label_agreement=float(is_same.float().mean()),
        clear_agreement=float(is_same[is_clear].float().mean()) if is_clear.any() else 1.0,
    )
