"""Strict accounting of released weights: every key of a file ends in exactly one place.

In: a state dict under the authors' names. Out: a ``RenamedState`` under ours, then a ``LoadReport``.

    key of the release ─┬─ renamed     → a parameter or a running statistic of our network
                        ├─ derived     → an index table or mask: compared with ours, then dropped
                        ├─ unused      → the authors own it but never use it; the reason is kept
                        └─ unexpected  → WeightsError
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from medseg.errors import MedsegError

__all__ = ["LoadReport", "RenamedState", "WeightsError", "check_derived", "fill", "rename_keys"]

Found = TypeVar("Found")

SHOWN_KEYS = 5  # keys spelled out in a message; the rest are counted


class WeightsError(MedsegError):
    """A file of weights cannot be read, or its keys and shapes are not the network's."""


@dataclass(frozen=True)
class RenamedState:
    """Released tensors under our names, and what became of every key of the release.

    Attributes:
        tensors: our name → tensor.
        sources: our name → the authors' key it came from, the first of several where ``joined`` has others.
        joined: authors' key → our name, for further keys that are part of one of our tensors.
        derived: authors' keys of index tables and masks that were compared with ours and dropped.
        unused: authors' key → why no part of the network reads it.
        scope: the parameters that must be filled: those whose name begins with one of these. The start weights
            of an encoder name that encoder; everything else must be filled whole.
        interpolated: authors' keys whose tensor was brought to another size (positions, bias tables, kernels).
    """

    tensors: Mapping[str, Tensor]
    sources: Mapping[str, str]
    derived: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    scope: tuple[str, ...] = ("",)
    joined: Mapping[str, str] = field(default_factory=dict)
    interpolated: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadReport:
    """What a file of weights gave a network: each key of the release stands in ``loaded``, ``derived`` or ``unused``.

    Attributes:
        network: name of the network's file.
        loaded: authors' key → our name.
        derived: keys of tables that are computed, not loaded.
        unused: authors' key → why no part of the network reads it.
        not_started: our parameters outside the scope of the file, which kept their initial values.
        parameters: numbers that were loaded.
        interpolated: those among ``loaded`` that were brought to another size.
    """

    network: str
    loaded: Mapping[str, str]
    derived: tuple[str, ...]
    unused: Mapping[str, str]
    not_started: tuple[str, ...]
    parameters: int
    interpolated: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Every key of the file once (matched, renamed, interpolated or skipped), and ours that it lacks (missing)."""
        as_they_are = {key: name for key, name in self.loaded.items() if key not in self.interpolated}
        matched = sum(key == name for key, name in as_they_are.items())
        return {
            "matched": matched,
            "renamed": len(as_they_are) - matched,
            "interpolated": len(self.interpolated),
            "skipped": len(self.derived) + len(self.unused),
            "missing": len(self.not_started),
        }

    def __str__(self) -> str:
        parts = [f"{self.network}: {len(self.loaded)} tensors loaded ({self.parameters:,} numbers)"]
        parts += [f"{len(self.derived)} derived tables checked"] if self.derived else []
        parts += [f"{len(self.unused)} unused by the release"] if self.unused else []
        parts += [f"{len(self.not_started)} of ours not in the file"] if self.not_started else []
        return ", ".join(parts)


def rename_keys(
    state: Mapping[str, Tensor],
    renames: Sequence[tuple[str, str]] = (),
    *,
    unused: Mapping[str, str] | None = None,
    derived: Mapping[str, Callable[[str, Tensor], None]] | None = None,
    scope: tuple[str, ...] = ("",),
) -> RenamedState:
    """``state`` under our names.

    Args:
        renames: (regular expression, replacement), applied one after the other to every key with ``re.sub``.
        unused: regular expression (searched in the authors' key) → why the release never reads such a tensor.
        derived: regular expression → check(key, tensor), which raises where the table is not the one we compute
            (``check_derived``).
        scope: see ``RenamedState``.
    Raises:
        WeightsError: two keys of the release get one name, or a derived table is not ours.
    """
    tensors: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    left_out: dict[str, str] = {}
    checked: list[str] = []
    for key, tensor in state.items():
        check = _first_match(derived or {}, key)
        reason = _first_match(unused or {}, key)
        if reason is not None:
            left_out[key] = reason
        elif check is not None:
            check(key, tensor)
            checked.append(key)
        else:
            name = _renamed(key, renames)
            if name in sources:
                raise WeightsError(f"{sources[name]} and {key} both become {name}: expected one of them in the file.")
            tensors[name], sources[name] = tensor, key
    return RenamedState(tensors=tensors, sources=sources, derived=tuple(checked), unused=left_out, scope=scope)


def check_derived(key: str, found: Tensor, expected: Tensor) -> None:
    """Compare a table of the release with the one we compute.

    Raises:
        WeightsError: shape or values differ, so the file was written for other settings.
    """
    if found.shape != expected.shape:
        raise WeightsError(
            f"{key} has shape {tuple(found.shape)}, expected {tuple(expected.shape)}: "
            "the weights were trained with another window size; correct the settings."
        )
    if not torch.equal(found.to(expected.dtype), expected):
        raise WeightsError(f"{key} holds other values than this network computes: the file is damaged or from a fork.")


def fill(network: nn.Module, renamed: RenamedState, *, name: str) -> LoadReport:
    """Copy ``renamed`` into ``network``, all or nothing, each tensor cast to the type of ours.

    Raises:
        WeightsError: a tensor is missing, superfluous or of another shape; nothing has been changed then.
    """
    ours = network.state_dict()
    wanted = {key for key in ours if key.startswith(renamed.scope)}
    missing = sorted(wanted - set(renamed.tensors))
    unexpected = sorted(renamed.sources[key] for key in set(renamed.tensors) - set(ours))
    if missing or unexpected:
        raise WeightsError(
            f"{name}: {len(wanted) - len(missing)} of {len(wanted)} tensors found. "
            f"Missing: {_listed(missing)}. Unexpected: {_listed(unexpected)}. "
            "Expected the weights of this network at exactly these settings; correct the settings or the file."
        )
    shapes = [
        f"{renamed.sources[key]} {tuple(tensor.shape)} for {tuple(ours[key].shape)}"
        for key, tensor in renamed.tensors.items()
        if tensor.shape != ours[key].shape
    ]
    if shapes:
        raise WeightsError(
            f"{name}: found other shapes than expected (found for expected): {_listed(shapes)}. "
            "Correct the settings: they differ from those the weights were trained with."
        )
    network.load_state_dict(dict(renamed.tensors), strict=False)
    return LoadReport(
        network=name,
        loaded={renamed.sources[key]: key for key in renamed.tensors} | dict(renamed.joined),
        derived=renamed.derived,
        unused=dict(renamed.unused),
        not_started=tuple(sorted(set(ours) - set(renamed.tensors))),
        parameters=sum(tensor.numel() for tensor in renamed.tensors.values()),
        interpolated=renamed.interpolated,
    )


def _first_match(table: Mapping[str, Found], key: str) -> Found | None:
    return next((value for pattern, value in table.items() if re.search(pattern, key)), None)


def _renamed(key: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def _listed(items: Sequence[str]) -> str:
    if not items:
        return "none"
    more = f" and {len(items) - SHOWN_KEYS} more" if len(items) > SHOWN_KEYS else ""
    return ", ".join(items[:SHOWN_KEYS]) + more
