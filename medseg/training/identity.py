"""What decides the outcome of a training, so that one that is gone on with is the one that was started.

In: the recipe, its parts as built, the cases. Out: a short text for each, kept in the checkpoint; what differs later is
named. A value that a function carries without stating it, as the names in a lambda's surroundings, is not seen.
"""

import enum
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from medseg.bundle import Bundle, sha256_of
from medseg.data import DataManifest
from medseg.training.settings import TrainingSettings

__all__ = ["case_digest", "differences", "digests_of", "fingerprint_of", "identity_of"]

PLAIN: Final = (bool, int, float, str, type(None))

SHOWN: Final = 3
"""Differences that are named; of more it is told how many."""

UNSEEN: Final = frozenset({"training", "R", "device", "_device"})
"""Attributes without effect on what is learned: a module's mode, the random state set at every step, a place."""


def identity_of(
    bundle: Bundle, manifest: DataManifest, *, start: Path | None, parts: Mapping[str, str], cases: Mapping[str, str]
) -> dict[str, str]:
    """What decides the outcome, each under the name by which a person knows it.

    Args:
        start: the weights that it begins with.
        parts: what ``digests_of`` gave for them before they were used.
        cases: the digest of each case.
    """
    decisive = _decisive(bundle)
    decisive.pop("start", None)  # what it holds counts, not where it lies
    told = {f"the setting {key}": json.dumps(value, default=str) for key, value in decisive.items()}
    told |= {key: _digest(value) for key, value in bundle.config.items() if key != "training"}
    # Beside the text: on MONAI's command line parts come with what overrides made of them.
    told |= {f"{name}, as built": digest for name, digest in parts.items()}
    told |= {f"the scan or labels of {case_id}": digest for case_id, digest in cases.items()}
    schema = manifest.schema_of_labels
    return told | {
        "the split": _digest(manifest.splits.model_dump() if manifest.splits else None),
        "the data set's channels": _digest([channel.name for channel in manifest.channels]),
        "the data set's labels": _digest([(one.index, one.name) for one in schema.labels]),
        "the torch version": str(torch.__version__),
        "the weights to start from": sha256_of(start) if start else "",
    }


def digests_of(parts: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each part of a training: network, transforms, loss and the like."""
    return {name: _digest(described(part)) for name, part in parts.items()}


def fingerprint_of(bundle: Bundle, manifest: DataManifest, *, start: Path | None) -> str:
    """The one digest in checkpoints from before each of its parts was kept, of recipe, split and torch's version."""
    started_with = [
        {**bundle.config, "training": _decisive(bundle)},
        manifest.splits.model_dump() if manifest.splits else None,
        str(torch.__version__),
        sha256_of(start) if start else None,
    ]
    return hashlib.sha256(json.dumps(started_with, default=str).encode()).hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is no longer as it was, in words; nothing where all is."""
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if any(not name.endswith(", as built") for name in changed):  # the text of a part says it better
        changed = [name for name in changed if not name.endswith(", as built")]
    named = [
        f"{name} ({before.get(name, 'absent')}, now {now.get(name, 'absent')})" if _is_short(name) else name
        for name in changed[:SHOWN]
    ]
    more = [f"{len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
    return ", ".join([*named, *more])


def case_digest(image_sha256: str, labels: torch.Tensor | None) -> str:
    """One text for what was read of a case: the hash of its files, and the labels (1, I, J, K) where there are any."""
    return _digest([image_sha256, None if labels is None else described(labels)])


def described(value: object, seen: tuple[int, ...] = ()) -> Any:
    """Plain values that are the same for two objects that were built the same way, in whatever process.

    Parameters are told by their shape alone: what they are worth changes with learning.
    """
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, nn.Parameter):
        return list(value.shape)
    if isinstance(value, torch.Tensor):  # as bytes: NumPy knows no bfloat16
        values = torch.Tensor.as_subclass(value.detach(), torch.Tensor).cpu().contiguous().flatten().view(torch.uint8)
        return [list(value.shape), str(value.dtype), hashlib.sha256(values.numpy().tobytes()).hexdigest()]
    if isinstance(value, np.ndarray):
        return [list(value.shape), str(value.dtype), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, torch.optim.Optimizer):
        groups = [{key: one for key, one in group.items() if key != "params"} for group in value.param_groups]
        return [_name_of(type(value)), described(groups, seen)]
    if id(value) in seen or isinstance(value, torch.device | enum.Enum | torch.dtype | type):
        return _name_of(type(value)) if id(value) in seen or isinstance(value, torch.device) else str(value)
    return _contents(value, (*seen, id(value)))


def _contents(value: object, seen: tuple[int, ...]) -> Any:
    """What is in a container, or the attributes of an object."""
    if isinstance(value, Mapping):
        return {str(key): described(one, seen) for key, one in value.items() if key not in UNSEEN}
    if isinstance(value, Set):
        return sorted(json.dumps(described(one, seen)) for one in value)
    if isinstance(value, Sequence):
        return [described(one, seen) for one in value]
    if isinstance(value, functools.partial):
        return [described(part, seen) for part in (value.func, value.args, value.keywords)]
    code = getattr(value, "__code__", None)
    if code is not None:
        return [_name_of(value), code.co_code.hex(), list(code.co_names), described(code.co_consts, seen)]
    attributes = vars(value) if hasattr(value, "__dict__") else {}
    return [_name_of(type(value)), described(attributes, seen)]


def _decisive(bundle: Bundle) -> dict[str, Any]:
    without_effect = TrainingSettings.without_effect()
    return {key: value for key, value in bundle.config["training"].items() if key not in without_effect}


def _is_short(name: str) -> bool:
    return name.startswith("the setting ") or name == "the torch version"


def _name_of(value: object) -> str:
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()
