"""The precision of a training step: autocast, without what torch computes wrongly in it.

In: a device and the precision of the recipe. Out: a context in which a network computes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["computing_in"]


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Within, a network computes in ``float32``, ``bfloat16`` or ``float16``, its parameters kept in float32."""
    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, getattr(torch, precision)):
        if device.type == "cpu":
            with _ThinVolumesInFloat32():
                yield
        else:
            yield


class _ThinVolumesInFloat32(TorchFunctionMode):
    """Convolutions over volumes with fewer planes than the kernel compute in float32.

    In bfloat16 oneDNN (torch 2.13, processors with AVX512-BF16) leaves parts of the gradient of their weights as
    memory was found: now and then infinite, or a number that is wrong.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv3d and len(args) > 1 and args[0].shape[2] < args[1].shape[2]:
            in_float32: list[Any] = [one.float() if isinstance(one, torch.Tensor) else one for one in args]
            with torch.autocast("cpu", enabled=False):
                return func(*in_float32, **kwargs)
        return func(*args, **kwargs)
