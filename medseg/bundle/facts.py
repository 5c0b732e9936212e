"""What a bundle is, in plain values, for a person who chooses a model."""

from typing import Any

import torch

from medseg.bundle.load import Bundle, sha256_of

__all__ = ["bundle_facts"]


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """Name, task, inputs, labels, network size, weights and the scores that the metadata state."""
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
        "weights": f"{bundle.weights_path.stat().st_size / 1e6:.1f} MB" if has_weights else "missing",
        "weights_sha256": sha256_of(bundle.weights_path) if has_weights else None,
        "scores": bundle.metadata.get("eval_metrics", {}),
        "intended_use": bundle.metadata.get("intended_use", ""),
        "folder": str(bundle.folder),
    }
