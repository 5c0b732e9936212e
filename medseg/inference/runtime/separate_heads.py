"""Attention with as many heads as tokens, put so that OpenVINO's compiler does not take one for the other.

The compiler fuses attention with the exchange of heads and tokens before it. Where both are equally many the exchange
changes no shape, and OpenVINO 2026.4 leaves it out for queries, in float32 or in bfloat16 depending on how they were
cut: the answer is another. Heads that stand as samples of their own are not fused; the numbers are the same.
"""

from typing import Any

import numpy as np

__all__ = ["separate_heads"]

ATTENTION = "ScaledDotProductAttention"
QUERIES_KEYS_VALUES = 3
"""Inputs of an attention without a mask; with one it is computed rightly."""


def separate_heads(openvino: Any, model: Any) -> int:
    """Change the converted model where heads (H) and tokens (N) are equally many: (B, H, N, d) to (B·H, 1, N, d).

    Returns:
        How many attentions were changed.
    """
    found = [node for node in model.get_ordered_ops() if _is_mistaken(node)]
    for attention in found:
        batch, heads, tokens, width = attention.output(0).get_shape()
        for number in range(QUERIES_KEYS_VALUES):
            source = attention.input_value(number)
            alone = _reshaped(openvino, source, (batch * heads, 1, tokens, source.get_shape()[-1]))
            attention.input(number).replace_source_output(alone)
        targets = attention.output(0).get_target_inputs()
        together = _reshaped(openvino, attention.output(0), (batch, heads, tokens, width))
        for target in targets:
            target.replace_source_output(together)
    model.validate_nodes_and_infer_types()
    return len(found)


def _is_mistaken(node: Any) -> bool:
    if node.get_type_name() != ATTENTION or node.get_input_size() > QUERIES_KEYS_VALUES:
        return False
    shape = node.output(0).get_partial_shape()
    return bool(shape.is_static) and shape.to_shape()[1] == shape.to_shape()[2] > 1


def _reshaped(openvino: Any, source: Any, shape: tuple[int, ...]) -> Any:
    return openvino.opset13.reshape(source, np.array(shape, np.int64), False).output(0)
