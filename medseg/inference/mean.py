"""The mean of several passes' logits, taken one after another."""

from collections.abc import Iterable

import torch

__all__ = ["mean_of"]


def mean_of(passes: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean in float32 of tensors of one size; the first may be written into, so that no more than two are held."""
    total: torch.Tensor | None = None
    count = 0
    for one in passes:
        total = one.float() if total is None else total.add_(one)
        count += 1
        del one  # not to be held while the next one is computed
    assert total is not None, "there is at least one pass"
    return total if count == 1 else total.div_(count)
