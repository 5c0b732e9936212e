"""Training by names, as a bundle's ``train.yaml`` calls it from MONAI's own command line."""

from pathlib import Path

from medseg.bundle import choose_device, load_bundle
from medseg.data import load_manifest
from medseg.training.loop import TrainingResult, train

__all__ = ["train_bundle"]


def train_bundle(
    folder: str | Path, *, data: str, data_root: str | Path, output: str | Path, device: str = "auto"
) -> TrainingResult:
    """Train the bundle in a folder on a manifest's cases; a training that lies in ``output`` is gone on with."""
    output = Path(output)
    return train(
        load_bundle(folder, overlays=("train",)),
        load_manifest(data),
        data_root=Path(data_root),
        output=output,
        device=choose_device(device),
        resume=(output / "checkpoint.pt").is_file(),
    )
