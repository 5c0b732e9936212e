"""Convolutions of single voxels to few channels, put so that OpenVINO's compiler does not copy their input.

Its kernel for them on processors with AMX takes channels by 32; where they are no multiple of that, it copies the whole
input with channels filled up to 64: 268 MB for the last step of a Swin UNETR with 48 features and windows of 128³. Its
other kernels do without. A convolution over three voxels with zeros for the outer two has the same numbers.
"""

from typing import Any

import numpy as np

__all__ = ["widen_kernels"]

CHANNELS_AT_ONCE = 32
MOST_CHANNELS = 16
"""Of the output, which is computed by 16: with more of them three times the products would be felt."""


def widen_kernels(openvino: Any, model: Any) -> int:
    """Change such convolutions (O, I, 1, 1, 1) of the converted model to (O, I, 1, 1, 3).

    Returns:
        How many were changed.
    """
    found = [node for node in model.get_ordered_ops() if _is_copied(node)]
    for convolution in found:
        kernel = convolution.input_value(1).get_node().get_data()
        wide = np.zeros((*kernel.shape[:-1], 3), kernel.dtype)
        wide[..., 1] = kernel[..., 0]
        step, beside = [1, 1, 1], [0, 0, 1]
        same = openvino.opset13.convolution(convolution.input_value(0), wide, step, beside, beside, step)
        for target in convolution.output(0).get_target_inputs():
            target.replace_source_output(same.output(0))
    model.validate_nodes_and_infer_types()
    return len(found)


def _is_copied(node: Any) -> bool:
    if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    n_out, n_in, *sizes = node.input_value(1).get_shape()
    settings = node.get_attributes()
    is_plain = all(step == 1 for step in settings["strides"]) and settings["auto_pad"] in ("explicit", "notset")
    is_single = sizes == [1, 1, 1] and not any((*settings["pads_begin"], *settings["pads_end"]))
    return is_plain and is_single and n_in % CHANNELS_AT_ONCE != 0 and n_out <= MOST_CHANNELS
