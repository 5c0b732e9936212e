"""Checkpoints: everything a killed training needs to go on exactly where it stood.

A checkpoint holds tensors and plain values only, so it is read with ``weights_only=True``.
"""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from medseg.atomic import atomic_write
from medseg.errors import DataError, OutputError

__all__ = ["Checkpoint", "read_checkpoint", "write_checkpoint", "write_weights"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state after ``step`` optimiser steps; ``best_dice`` is absent before the first validation."""

    step: int
    network: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    lr_scheduler: dict[str, Any]
    random_state: list[torch.Tensor]
    """Of every process that trains, in the order of their ranks."""
    gradient_scaler: dict[str, Any]
    best_dice: float | None
    best_step: int | None
    elapsed_s: float
    fingerprint: str
    """Recipe, split and torch's version in one digest; what counts where ``identity`` was not kept yet."""
    validations_since_best: int = 0
    unlogged_losses: list[float] = field(default_factory=list)
    """The losses since the last line of the log."""
    identity: dict[str, str] = field(default_factory=dict)
    """What the training was started with, by name; a resumed training must have the same."""
    gpu_random_state: list[torch.Tensor] = field(default_factory=list)
    """The same of every process's GPU, where it has one."""
    device: str = ""
    """The kind of device that computed it, where it is known."""


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Keep the checkpoint; a kill at any moment leaves the old file or the new one, never half of it.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full.
    """
    with atomic_write(path, overwrite=True) as temporary:
        try:
            torch.save(vars(checkpoint), temporary)
        except RuntimeError as error:  # so torch reports that the disk took less than it was given
            then = "go on with --resume" if path.exists() else "start again"
            raise OutputError(
                f"{path.name} cannot be written whole into {path.parent.name}: free space, and {then}."
            ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        DataError: the file is missing, damaged, or no checkpoint of medseg.
    """
    if not path.is_file():
        raise DataError(f"no {path.name} to resume from in {path.parent.name}: start the training without --resume.")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path.name} is no complete checkpoint ({type(error).__name__}): start anew in an empty folder."
        ) from error


def write_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    """Weights for a bundle: safetensors in half precision, which ``load_weights`` raises again.

    Integer entries are index tables or counters: the network makes them itself, so they are not kept.
    """
    kept = {key: _halved(value).contiguous().cpu() for key, value in state.items() if value.is_floating_point()}
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_bytes(save(kept))


def _halved(value: torch.Tensor) -> torch.Tensor:
    """The tensor in half precision, or as it is where a value is beyond its range, as a running variance may be."""
    half = value.half()
    return half if bool(half.isfinite().all()) else value
