"""What a bundle is, in plain values, for a person who chooses a model."""

from typing import Any

import torch
from torch import nn

from medseg.bundle.cost import network_cost
from medseg.bundle.load import Bundle, sha256_of

__all__ = ["bundle_facts"]


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """Name, task, inputs, labels, network size and cost, weights and the scores that the metadata state.

    ``cost_of_a_window`` is that of one window of ``roi_size``, see ``NetworkCost``.
    """
    network = bundle.build("network_def", bundle.parser(device=torch.device("cpu")))
    has_weights = bundle.weights_path.is_file()
    return {
        "name": bundle.name,
        "version": bundle.version,
        "task": bundle.metadata.get("task", ""),
        "network": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "channels": [f"{channel.name} ({channel.modality})" for channel in bundle.channels],
        "labels": [f"{label.index} {label.name}" for label in bundle.label_table],
        "spacing_mm": bundle.config.get("spacing_mm"),
        "roi_size": bundle.config.get("roi_size"),
        "cost_of_a_window": _cost(network, bundle),
        "weights": f"{bundle.weights_path.stat().st_size / 1e6:.1f} MB" if has_weights else "missing",
        "weights_sha256": sha256_of(bundle.weights_path) if has_weights else None,
        "scores": bundle.metadata.get("eval_metrics", {}),
        "intended_use": bundle.metadata.get("intended_use", ""),
        "folder": str(bundle.folder),
    }


def _cost(network: nn.Module, bundle: Bundle) -> dict[str, float] | None:
    """GFLOP and megabytes for one window; None where the bundle names no window."""
    roi_size = bundle.config.get("roi_size")
    if not isinstance(roi_size, list) or not all(isinstance(size, int) and size > 0 for size in roi_size):
        return None
    cost = network_cost(network, (1, len(bundle.network_channels), *roi_size))
    return {
        "gflop": round(cost.gflop, 4),
        "inference_mb": round(cost.inference_mb, 1),
        "training_mb": round(cost.training_mb, 1),
        "weights_mb": round(cost.weights_mb, 1),
    }
