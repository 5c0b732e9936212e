"""The numbers of one training, from the ``training`` section of a bundle's ``train.yaml``."""

from collections.abc import Sequence
from typing import Literal

import yaml
from pydantic import Field

from medseg.bundle import Bundle, parse_settings
from medseg.errors import SettingsError
from medseg.settings import Settings

__all__ = ["TrainingSettings", "with_settings"]


class TrainingSettings(Settings):
    """How long, how much at a time, and how often the state is looked at and kept."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    """The highest of the schedule."""
    start: str | None = None
    """Weights to begin from, a file in the bundle's folder or anywhere; without it, random ones."""
    seed: int = Field(ge=0, lt=2**31)
    ema_decay: float = Field(ge=0, lt=1)
    """Share of the running average that each step keeps; 0 validates and keeps the raw weights."""
    gradient_clip_norm: float = Field(gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass (autocast); weights and optimiser stay in float32."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged before the optimiser takes a step."""
    patience: int | None = Field(default=None, ge=1)
    """Validations without a better one after which training ends; without it, never before the last step."""
    labelled: bool = True
    """Whether references are read; a network that learns to restore hidden parts of its input needs none."""
    deep_supervision: bool = False
    """The loss sees the logits of all heads, the main one first, instead of the main one's alone."""
    validate_every: int = Field(ge=1)
    checkpoint_every: int = Field(ge=1)
    workers: int = Field(default=0, ge=0)
    """Threads that make the next batches while the network learns."""
    cache_gb: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Memory for prepared scans, in 10⁹ bytes; by default half of what is free. The others wait in files."""
    tensorboard: bool = False
    """Write the log for TensorBoard too, into the folder ``tensorboard``."""

    @classmethod
    def without_effect(cls) -> frozenset[str]:
        """Settings that change how fast training is, and not what comes out."""
        return frozenset({"workers", "cache_gb", "tensorboard"})


def with_settings(bundle: Bundle, overrides: Sequence[str]) -> Bundle:
    """The bundle with numbers of its ``training`` section replaced, each written as ``key=value``.

    Raises:
        SettingsError: an override is not of that form, or names no training setting.
    """
    section = dict(parse_settings(bundle, "training"))
    changed = set()
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or key not in TrainingSettings.model_fields:
            known = ", ".join(TrainingSettings.model_fields)
            raise SettingsError(f"--set {override}: expected key=value with one of {known}.")
        section[key] = yaml.safe_load(value)
        changed.add(key)
    # The checked value, not the written one: to YAML, 1e-4 is a text.
    section |= TrainingSettings.from_mapping(section, source="--set").model_dump(include=changed)
    return bundle.with_config(training=section)
