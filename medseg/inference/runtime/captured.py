"""A network's computation captured as a graph of operations that OpenVINO's frontend has rules for.

``torch.export`` captures it once, takes its operations apart in a second capture and writes the graph anew several
times between. Here both are one pass, with conversion in a third of the time: of a Swin UNETR 2.7 s.

What is imported here is not promised by torch or OpenVINO, and takes its time: only a first use needs it.
"""

from typing import Any

import torch
from torch import nn

__all__ = ["captured"]

WITHOUT_RULE = (
    "chunk.default",
    "contiguous.default",
    "dropout.default",
    "einsum.default",
    "expand_as.default",
    "flatten.using_ints",
    "movedim.int",
    "movedim.intlist",
    "narrow.default",
    "pad.default",
    "reshape.default",
    "reshape_as.default",
    "split.Tensor",
    "tensor_split.sections",
    "to.device",
    "to.dtype",
    "to.dtype_layout",
    "type_as.default",
    "unbind.int",
    "unflatten.int",
    "view_as.default",
)
"""Operations made of others that OpenVINO's frontend does not know by themselves; torch says of what they are made."""


def captured(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """The graph of the network (B, C, *S) → (B, L, *S) for inputs of exactly this shape; nothing is computed.

    Args:
        network: in evaluation; its activations are set to overwrite nothing: a graph says what comes of an operation,
            not what becomes of its input.
    Returns:
        What OpenVINO converts.
    Raises:
        Exception: whatever the capture fails with.
    """
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from torch.fx.experimental.proxy_tensor import make_fx

    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]  # of torch.nn's activations and dropouts, a bool
    capture = make_fx(
        network,
        decomposition_table=_decompositions(),
        tracing_mode="fake",
        pre_dispatch=True,  # attention and the like stay whole
        _allow_non_fake_inputs=True,  # the weights, which become the graph's constants
    )
    with torch.no_grad():
        return TorchFXPythonDecoder(capture(torch.zeros(shape)), dynamic_shapes=False)


def _decompositions() -> dict[Any, Any]:
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose
    from torch.export.decomp_utils import CustomDecompTable

    aten = torch.ops.aten
    table: Any = CustomDecompTable()  # type: ignore[no-untyped-call]
    for operation in ops_to_not_decompose():
        if operation in table:
            table.pop(operation)
    decompositions: dict[Any, Any] = table.materialize()
    for name in WITHOUT_RULE:
        packet, overload = name.split(".")
        operation = getattr(getattr(aten, packet), overload)
        decompositions[operation] = operation.decompose
    decompositions[aten.batch_norm.default] = _batch_norm
    return decompositions


def _batch_norm(x: torch.Tensor, *arguments: Any) -> torch.Tensor:
    weight, bias, mean, variance, is_training, momentum, eps, _ = arguments  # as torch gives them
    if is_training:
        raise ValueError("a batch normalisation that depends on the other windows of its batch")
    normed: torch.Tensor = torch.ops.aten._native_batch_norm_legit_no_training.default(
        x, weight, bias, mean, variance, momentum, eps
    )[0]
    return normed
