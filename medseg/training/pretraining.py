"""Self-supervised start: a network learns to restore hidden parts of scans, without any label.

In: a bundle with a recipe, and scans. Out: ``pretrained.safetensors``, all weights but the heads, which training
takes by ``--set start=…/pretrained.safetensors``.

The method is SimMIM's (Xie et al., CVPR 2022, arXiv:2111.09886) in the data's own space: patches of a crop are hidden,
the network predicts the crop, and the mean absolute difference over what was hidden is made small. Crops, changes of
intensity and the optimiser are those of the bundle's recipe.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medseg.bundle import Bundle
from medseg.data import DataManifest, Splits
from medseg.training.heads import head_names, with_output_channels, write_without_heads
from medseg.training.loop import Progress, TrainingResult, train

__all__ = ["pretrain"]

PRETRAINED_NAME = "pretrained.safetensors"

LOSS = {"_target_": "medseg.training.MaskedReconstructionLoss"}

MASKING = {"_target_": "medseg.transforms.RandMaskPatchesd", "keys": "image", "label_key": "label"}


def pretrain(  # noqa: PLR0913  what is trained on what, from where to where, on which device, and who watches
    bundle: Bundle,
    manifest: DataManifest,
    *,
    data_root: Path,
    output: Path,
    device: torch.device,
    resume: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> TrainingResult:
    """Pretrain the bundle's network on the scans of the manifest's training and validation cases; labels are not read.

    Raises:
        BundleError: the network's output channels cannot be changed.
    """
    manifest = manifest.on_disk(data_root)
    assert manifest.splits is not None, "on_disk lists the splits"
    scans = Splits(train=(*manifest.splits.train, *manifest.splits.validation))
    result = train(
        _restoring(bundle),
        manifest.model_copy(update={"splits": scans}),
        data_root=data_root,
        output=output,
        device=device,
        resume=resume,
        progress=progress,
    )
    target = output / PRETRAINED_NAME
    write_without_heads(result.files[0], target, heads=head_names(bundle))
    return replace(result, files=(target, *result.files))


def _restoring(bundle: Bundle) -> Bundle:
    """The bundle with a network that gives back its input channels, and a recipe that hides patches."""
    augmentation = dict(bundle.entry("augmentation"))
    training: dict[str, Any] = {**bundle.entry("training"), "labelled": False, "deep_supervision": False}
    return bundle.with_config(
        network_def=with_output_channels(bundle, len(bundle.network_channels)),
        augmentation={**augmentation, "transforms": [*augmentation["transforms"], MASKING]},
        loss=LOSS,
        training=training,
    )
