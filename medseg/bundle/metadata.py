"""``metadata.json``: what MONAI's tools want to be told again, derived from ``inference.yaml`` and compared with it."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from medseg.bundle.load import Bundle
from medseg.errors import BundleError

__all__ = ["SCHEMA_URL", "differences", "metadata_schema", "network_data_format", "window_size"]

SCHEMA_URL = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""What MONAI's own tools download when they are asked to check; medseg keeps its schema at hand."""


def metadata_schema() -> dict[str, Any]:
    """The JSON schema that medseg holds the metadata of its own bundles to: MONAI's bundle specification."""
    text = files("medseg.bundle").joinpath("metadata_schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def network_data_format(bundle: Bundle) -> dict[str, Any]:
    """What goes into and comes out of the network, as MONAI's bundle specification writes it."""
    roi_size = window_size(bundle)
    image = {
        "type": "image",
        "format": "magnitude" if bundle.channels[0].modality == "MR" else "hounsfield",
        "modality": bundle.channels[0].modality,
        "num_channels": len(bundle.network_channels),
        "spatial_shape": roi_size,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(bundle.network_channels)},
    }
    labels = {str(channel): name for channel, name in enumerate(bundle.output_channels)}
    pred = {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(labels),
        "spatial_shape": roi_size,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": labels,
    }
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}


def window_size(bundle: Bundle) -> list[int]:
    """The ``roi_size`` of a bundle.

    Raises:
        BundleError: it is not there, or no list of whole numbers; elsewhere it may be an expression.
    """
    found = bundle.entry("roi_size")
    if not isinstance(found, list) or not all(isinstance(size, int) and size > 0 for size in found):
        raise BundleError(f"bundle {bundle.name}: roi_size is {found!r}: a list of whole numbers was expected.")
    return found


def differences(bundle: Bundle) -> list[str]:
    """Where ``metadata.json`` says something else than ``inference.yaml``, one line each; none is well."""
    return _differences(
        bundle.metadata.get("network_data_format", {}), network_data_format(bundle), "network_data_format"
    )


def _differences(found: Any, expected: Any, place: str) -> list[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        lines = []
        for key in sorted({*expected, *found}):
            lines += _differences(found.get(key), expected.get(key), f"{place}.{key}")
        return lines
    return [] if found == expected else [f"{place} is {found!r}: {expected!r} follows from inference.yaml"]
