"""Fine-tuning: accepted labels → a new version of a model's weights, measured before and after on the same cases.

In: a model, the versions of its weights, the accepted cases. Out: a version that is in use only if it is better.
Training is medseg's own and goes on exactly where it was killed: the folder of a run is named by everything that
decides its outcome, so that the same request finds it again::

    WORK_FOLDER/training/MODEL/1f0c…/   checkpoint.pt, model.safetensors, log.jsonl, before.json
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from medseg.atomic import atomic_write
from medseg.bundle import Bundle, build_segmenter, load_bundle, sha256_of
from medseg.data import DataManifest, SplitRule, convert_labels
from medseg.errors import DataError
from medseg.evaluation.overlap import count_voxels
from medseg.io import CaseFiles, read_case, read_labels
from medseg.label.request import device_called
from medseg.label.versions import Measured, Version, WeightsVersions
from medseg.settings import Settings
from medseg.training import train

__all__ = [
    "AcceptedCase",
    "FineTuneRequest",
    "FineTuning",
    "dice_over_cases",
    "fine_tune",
    "mean_dice",
    "validation_cases",
]

CHECKPOINT_NAME = "checkpoint.pt"
WEIGHTS_NAME = "model.safetensors"

VALIDATIONS = 10
"""How often a run is validated, at most once an epoch."""

WARM_UP_SHARE = 0.1
"""Of a short run: the recipes' warm-ups are made for training from the start."""


class FineTuneRequest(Settings):
    """How long, how fast, on how many cases; and whether the result is to be used when it is better."""

    epochs: int = Field(default=20, ge=1, le=10_000)
    """Rounds over the accepted cases."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """The highest of the schedule; a tenth of that for training from the start."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Of the accepted cases; drawn by their names, so that a case stays where it is when others are added."""
    promote: Literal["better", "never"] = "better"
    cache_gb: float = Field(default=1.0, ge=0)
    """Memory for prepared scans; the others wait in files."""
    seed: int = Field(default=2026, ge=0, lt=2**31)
    device: str = Field(default="auto", max_length=16)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> "FineTuneRequest":
        """The settings among what a client sent; MONAI Label's ``max_epochs`` is understood.

        Raises:
            SettingsError: one of them is out of range.
        """
        named = {key: request[key] for key in cls.model_fields if key in request}
        if "max_epochs" in request:
            named.setdefault("epochs", request["max_epochs"])
        return cls.from_mapping(named, source="params")


@dataclass(frozen=True)
class AcceptedCase:
    """One case and its accepted label."""

    files: CaseFiles
    label: Path


@dataclass(frozen=True)
class FineTuning:
    """What became of a run."""

    version: Version
    is_promoted: bool


Told = Callable[[str], None]


def fine_tune(
    bundle: Bundle,
    versions: WeightsVersions,
    cases: Sequence[AcceptedCase],
    *,
    request: FineTuneRequest,
    folder: Path,
    told: Told = lambda line: None,
) -> FineTuning:
    """Train on from the weights in use; what was killed before is gone on with.

    Args:
        folder: for runs; each has its own below it, and of a finished one only the log is left.
        told: hears a line about every epoch, without any case's name.
    Raises:
        DataError: there are fewer than two cases.
        MedsegError: a case or a label cannot be read, or does not fit the model.
    """
    start, device = versions.current_weights, device_called(request.device)
    validation = validation_cases(cases, share=request.validation_share)
    training = [case for case in cases if case not in validation]
    run = folder / _key_of(bundle, start, cases, request)
    if not (run / CHECKPOINT_NAME).is_file():
        shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True, exist_ok=True)
    before = _measured_before(bundle, start, validation, run=run, device=device, told=told)
    recipe, steps = _recipe(bundle, start, request, n_train=len(training))
    is_resumed = (run / CHECKPOINT_NAME).is_file()
    told(f"{'going on with' if is_resumed else 'starting'} {steps} steps on {len(training)} cases")
    train(
        recipe,
        _manifest(bundle, training, validation, run),
        data_root=run,
        output=run,
        device=device,
        resume=is_resumed,
        progress=_Progress(steps, told),
    )
    after = dice_over_cases(replace(bundle, weights=run / WEIGHTS_NAME), validation, device=device)
    measured = Measured(
        dice_before=before,
        dice_after=after,
        mean_before=mean_dice(before),
        mean_after=mean_dice(after),
        n_train=len(training),
        n_validation=len(validation),
        steps=steps,
    )
    version = versions.add(run / WEIGHTS_NAME, parent_sha256=sha256_of(start), measured=measured)
    is_promoted = request.promote == "better" and measured.is_better
    if is_promoted:
        versions.promote(version.number)
    for name in (CHECKPOINT_NAME, WEIGHTS_NAME):  # last: whatever breaks off before is gone on with
        (run / name).unlink(missing_ok=True)
    told(
        f"version {version.number}: validation Dice {measured.mean_before:.4f} before, {measured.mean_after:.4f} "
        f"after, {'in use from now on' if is_promoted else 'not in use'}"
    )
    return FineTuning(version, is_promoted)


def validation_cases(cases: Sequence[AcceptedCase], *, share: float) -> list[AcceptedCase]:
    """The cases that measure and choose; at least one, and at least one is left to learn from.

    Raises:
        DataError: there are fewer than two cases.
    """
    if len(cases) < 2:
        raise DataError(f"{len(cases)} labels are accepted: two are needed, to learn from and to measure.")
    rule = SplitRule(validation=share, test=0.0)
    drawn = [case for case in cases if rule.split_of(case.files.case_id) == "validation"]
    if not drawn:
        drawn = [min(cases, key=lambda case: hashlib.sha256(case.files.case_id.encode()).hexdigest())]
    return drawn[: len(cases) - 1]


def _key_of(bundle: Bundle, start: Path, cases: Sequence[AcceptedCase], request: FineTuneRequest) -> str:
    decisive = [
        bundle.name,
        bundle.version,
        sha256_of(start),
        sorted((case.files.case_id, sha256_of(case.label)) for case in cases),
        request.model_dump(exclude={"promote", "cache_gb", "device"}),
        str(torch.__version__),
    ]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:24]


def _recipe(bundle: Bundle, start: Path, request: FineTuneRequest, *, n_train: int) -> tuple[Bundle, int]:
    """The bundle with its training recipe made short, and its number of steps."""
    recipe = load_bundle(bundle.folder, overlays=("train",))
    section = dict(recipe.entry("training"))
    in_epoch = math.ceil(n_train / int(section["batch_size"]))
    steps = request.epochs * in_epoch
    section |= {
        "steps": steps,
        "learning_rate": request.learning_rate,
        "start": str(start),
        "seed": request.seed,
        "validate_every": in_epoch * math.ceil(request.epochs / VALIDATIONS),
        "checkpoint_every": in_epoch,  # a kill costs the running epoch and no more
        "cache_gb": request.cache_gb,
        "patience": None,
    }
    scheduler = dict(recipe.entry("lr_scheduler"))
    if isinstance(scheduler.get("warmup_steps"), int):
        scheduler["warmup_steps"] = min(scheduler["warmup_steps"], round(WARM_UP_SHARE * steps))
    return recipe.with_config(training=section, lr_scheduler=scheduler), steps


def _manifest(
    bundle: Bundle, training: Sequence[AcceptedCase], validation: Sequence[AcceptedCase], root: Path
) -> DataManifest:
    """The accepted cases as a data set; they stay where they are."""
    cases = {
        case.files.case_id: {
            "images": [relpath(channel.path, root) for channel in case.files.channels],
            "label": relpath(case.label, root),
        }
        for case in (*training, *validation)
    }
    values = {
        "name": f"{bundle.name}_accepted",
        "title": "accepted labels",
        "folder": ".",
        "licence": "the studies'",
        "citation": "none",
        "channels": [channel.model_dump() for channel in bundle.channels],
        "label_schema": bundle.config.get("label_schema"),
        "labels": [label.model_dump() for label in bundle.label_table],
        "image": "{case_id}",
        "label": "{case_id}",
        "cases": cases,
        "splits": {
            "train": [case.files.case_id for case in training],
            "validation": [case.files.case_id for case in validation],
        },
    }
    return DataManifest.from_mapping(values, source="accepted labels")


def _measured_before(
    bundle: Bundle, start: Path, cases: Sequence[AcceptedCase], *, run: Path, device: torch.device, told: Told
) -> dict[str, float | None]:
    path = run / "before.json"
    if path.is_file():
        kept: dict[str, float | None] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    told(f"measuring the weights in use on {len(cases)} cases")
    before = dice_over_cases(replace(bundle, weights=start), cases, device=device)
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(before), encoding="utf-8")
    return before


def dice_over_cases(bundle: Bundle, cases: Sequence[AcceptedCase], *, device: torch.device) -> dict[str, float | None]:
    """Mean Dice of each label on the scans' own grids; None where neither segmentation nor reference has it."""
    segmenter = build_segmenter(bundle, device=device)
    schema = bundle.label_schema
    scores: dict[str, list[float]] = {name: [] for name in bundle.label_table.names}
    for case in cases:
        found = segmenter(read_case(case.files).image).labels
        reference = convert_labels(read_labels(case.label).numpy()[0], source=schema, target=schema)
        if reference.shape != found.shape:
            raise DataError(f"an accepted label has shape {reference.shape}, its scan {found.shape}: save it again.")
        for label in bundle.label_table:
            counts = count_voxels(found == label.index, reference == label.index)
            if counts.prediction + counts.reference:
                scores[label.name].append(counts.dice)
    return {name: round(sum(values) / len(values), 5) if values else None for name, values in scores.items()}


def mean_dice(dice: Mapping[str, float | None]) -> float:
    """The mean over the labels that were there; 0 where none was, so that such weights are never used."""
    known = [value for value in dice.values() if value is not None]
    return round(sum(known) / len(known), 5) if known else 0.0


class _Progress:
    """Tells of a training's stages, at most a few dozen times."""

    def __init__(self, steps: int, told: Told) -> None:
        self._every = max(1, steps // 40)
        self._told = told

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done == total or (stage == "train" and done % self._every == 0):
            self._told(f"{stage} {done}/{total}")
