"""Bundles from elsewhere, brought onto medseg's road: MONAI's model zoo, above all.

In: a bundle's configuration and metadata as published. Out: a configuration with the entries that medseg asks for
(``channels``, ``labels``), without the steps that medseg does itself, and without arguments that MONAI has removed.
What was changed is told in one line each.
"""

import colorsys
import inspect
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

import torch
from monai.transforms import Compose

from medseg.bundle.trust import class_of
from medseg.errors import BundleError
from medseg.inference import label_postprocessing
from medseg.networks.checkpoints.swin_unetr import config_from_release

__all__ = ["Adapted", "adapted", "gives_regions", "region_labels", "without_files", "without_own_steps"]

Adapted = tuple[dict[str, Any], tuple[str, ...]]
"""A configuration, and what was changed in it."""

OWN_STEPS: Final = {
    "preprocessing": frozenset({"LoadImaged", "LoadImage", "EnsureChannelFirstd", "EnsureChannelFirst", "AddChanneld"}),
    "postprocessing": frozenset({"Invertd", "SaveImaged"}),
}
"""Steps of other bundles that reading, restoring and writing take the place of."""

FILES: Final = {"preprocessing": frozenset({"LoadImaged"}), "postprocessing": frozenset({"SaveImaged"})}

REMOVED_ARGUMENTS: Final = frozenset({"img_size", "pos_embed", "dimensions"})
"""Arguments that networks and transforms of MONAI had once: ``img_size`` until 1.5, ``pos_embed`` until 1.4,
``dimensions`` until 1.2. A class that does not know one of them is built without it."""

BEFORE_1_5: Final = "img_size"
"""A Swin UNETR that is given this argument was trained before MONAI 1.5, when patch merging had another order."""


def without_own_steps(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the top-level steps that medseg does itself."""
    return _without(OWN_STEPS, config)


def without_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without its reader and writer, which import all of ITK when they are built."""
    return _without(FILES, config)


def _without(left_out: Mapping[str, frozenset[str]], config: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(config)
    for part, names in left_out.items():
        steps = result.get(part)
        if isinstance(steps, Mapping) and isinstance(steps.get("transforms"), list):
            kept = [step for step in steps["transforms"] if _class_name(step) not in names]
            result[part] = {**steps, "transforms": kept}
    return result


def adapted(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> Adapted:
    """The configuration with channels and labels from the metadata where it has none, and what MONAI removed undone."""
    notes: list[str] = []
    result: dict[str, Any] = _without_removed_arguments(deepcopy(dict(config)), notes)
    if "channels" not in result:
        channels = _channels(metadata)
        if channels:
            result["channels"] = channels
    if "labels" not in result and not gives_regions(result):
        labels = _labels(metadata)
        if labels:
            result["labels"] = labels
    return result, tuple(notes)


def gives_regions(config: Mapping[str, Any]) -> bool:
    """Whether the network's channels are regions that may overlap: the postprocessing thresholds them one by one."""
    steps = config.get("postprocessing")
    transforms = steps.get("transforms") if isinstance(steps, Mapping) else None
    return any(_class_name(step) == "AsDiscreted" and step.get("threshold") is not None for step in transforms or [])


def region_labels(postprocessing: Compose, metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The labels that regions become, found by trying: each region alone goes through the bundle's own last steps.

    Raises:
        BundleError: several channels are left, or two regions become one value.
    """
    names = [_label_name(name) for name in _in_order(_format_of(metadata, "outputs", "pred").get("channel_def"))]
    decode = label_postprocessing(postprocessing)
    values: dict[int, str] = {}
    for channel, name in enumerate(names):
        alone = torch.zeros((len(names), 1, 1, 1))
        alone[channel] = 1
        decoded = decode({"pred": alone})["pred"]
        value = int(decoded.flatten()[0])
        if decoded.numel() != 1 or value in values or value < 1:
            raise BundleError(
                f"regions {', '.join(names)} do not each become a label of their own ({name}: {decoded.tolist()}): "
                "the last step of postprocessing must say which value each region has."
            )
        values[value] = name
    return [
        {"index": value, "name": values[value], "color": _color(place, len(values))}
        for place, value in enumerate(sorted(values))
    ]


def _without_removed_arguments(value: Any, notes: list[str]) -> Any:
    if isinstance(value, list):
        return [_without_removed_arguments(inner, notes) for inner in value]
    if not isinstance(value, Mapping):
        return value
    entry = {key: _without_removed_arguments(inner, notes) for key, inner in value.items()}
    target = entry.get("_target_")
    removed = REMOVED_ARGUMENTS & set(entry)
    if not isinstance(target, str) or not removed:
        return entry
    built = class_of(target)
    if built is None:
        return entry
    unknown = sorted(removed - set(inspect.signature(built).parameters))
    if not unknown:
        return entry
    was_before_1_5 = BEFORE_1_5 in unknown and built.__name__ == "SwinUNETR"
    notes.append(f"{built.__name__} no longer takes {', '.join(unknown)}: built without.")
    entry = {key: inner for key, inner in entry.items() if key not in unknown}
    return _legacy_swin_unetr(entry, notes) if was_before_1_5 and "downsample" not in entry else entry


def _legacy_swin_unetr(entry: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The same network with the patch merging that its weights were trained with; ours has both orders."""
    arguments = {key: value for key, value in entry.items() if not key.startswith("_")}
    if any(isinstance(value, str) and value[:1] in "$@%" for value in arguments.values()):
        notes.append("its patch merging may have another order than the weights were trained with: see --weights.")
        return entry
    settings = config_from_release({**arguments, "downsample": "legacy_merging"})
    notes.append("patch merging in the order before MONAI 1.5, with which its weights were trained.")
    return {"_target_": "medseg.networks.SwinUNETR", "config": settings.model_dump(mode="json")}


def _format_of(metadata: Mapping[str, Any], *way: str) -> Mapping[str, Any]:
    """What the metadata say of an input or output of the network; nothing where they say it in no form we know."""
    found: Any = metadata.get("network_data_format")
    for name in way:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _channels(metadata: Mapping[str, Any]) -> list[dict[str, str]]:
    image = _format_of(metadata, "inputs", "image")
    names = _in_order(image.get("channel_def"))
    return [{"name": name, "modality": str(image.get("modality", "unknown"))} for name in names]


def _labels(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Channel n is label n; channel 0 is the background, or a label like the others where it is not called so."""
    channels = _in_order(_format_of(metadata, "outputs", "pred").get("channel_def"))
    first = 0 if channels and channels[0].lower() != "background" else 1
    names = [_label_name(name) for name in channels[first:]]
    return [
        {"index": index, "name": name, "color": _color(index - 1, len(names))}
        for index, name in enumerate(names, start=1)
    ]


def _in_order(channel_def: object) -> list[str]:
    if not isinstance(channel_def, Mapping):
        return []
    return [str(channel_def[key]) for key in sorted(channel_def, key=lambda key: int(key) if str(key).isdigit() else 0)]


def _label_name(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "label"


def _color(place: int, count: int) -> list[int]:
    """Hues evenly around the circle."""
    return [round(255 * part) for part in colorsys.hsv_to_rgb(place / max(count, 1), 0.75, 0.95)]


def _class_name(step: Any) -> str:
    return str(step.get("_target_", "")).rpartition(".")[2] if isinstance(step, Mapping) else ""
