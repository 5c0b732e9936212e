"""Training by names, as a bundle's ``train.yaml`` calls it from MONAI's own command line."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.bundle import choose_device, load_bundle
from medseg.data import load_manifest
from medseg.training.loop import TrainingResult, train

__all__ = ["train_bundle"]


def train_bundle(
    folder: str | Path,
    *,
    data: str,
    data_root: str | Path,
    output: str | Path,
    device: str = "auto",
    parts: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train the bundle in a folder on a manifest's cases; a training that lies in ``output`` is gone on with.

    Args:
        parts: what MONAI made of the configuration, with its overrides and overlays: the section ``training``, and
            network, transforms, inferer, loss, optimiser and schedule as objects. They take the place of what the
            bundle's own files say. A training that is gone on with refuses to, where one of them was changed.
    """
    output = Path(output)
    bundle = load_bundle(folder, overlays=("train",))
    built = dict(parts or {})
    if "training" in built:
        bundle = bundle.with_config(training=built.pop("training"))
    return train(
        replace(bundle, built=built),
        load_manifest(data),
        data_root=Path(data_root),
        output=output,
        device=choose_device(device),
        resume=(output / "checkpoint.pt").is_file(),
    )
