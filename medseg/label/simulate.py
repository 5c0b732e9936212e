"""Active learning replayed: a labelled data set that is uncovered case by case, by each strategy in turn.

In: a model's recipe, a data set with references, strategies. Out, in one folder: ``rounds.jsonl`` with a line for every
training, ``simulation.png`` with Dice over the number of labelled cases, ``simulation.json``. Each repeat begins with
cases of its own, the same for every strategy; the model is trained from the start in every round, so that a round's
Dice depends on its cases alone. A simulation that was stopped goes on when it is started again.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from scipy import stats

from medseg.atomic import atomic_write, make_folder
from medseg.bundle import Bundle, parse_settings
from medseg.data import DataManifest, Splits
from medseg.errors import DataError, SettingsError
from medseg.io import CaseFiles, read_case
from medseg.label.finetune import AcceptedCase, dice_over_cases, mean_dice
from medseg.label.scores import Scorer
from medseg.label.strategies import STRATEGIES, Candidate
from medseg.settings import Settings
from medseg.training import train

__all__ = ["SimulationPlan", "draw_simulation", "simulate"]

ROUNDS_NAME = "rounds.jsonl"
CONFIDENCE = 0.95
COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")

Progress = Callable[[str, int, int], None]


class SimulationPlan(Settings):
    """Which strategies, on how many cases, how often."""

    strategies: tuple[str, ...] = ("random", "entropy", "diversity", "cost_aware")
    start: int = Field(default=4, ge=1)
    """Labelled cases to begin with."""
    add: int = Field(default=4, ge=1)
    """Cases that each round adds."""
    rounds: int = Field(default=5, ge=2)
    repeats: int = Field(default=5, ge=1)
    pool: int = Field(default=60, ge=2)
    """Cases of the training split that can be chosen."""
    test: int = Field(default=20, ge=1)
    """Cases of the test split that Dice is measured on."""
    steps: int = Field(default=300, ge=1)
    """Of every training."""
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class _Data:
    """Where the cases are."""

    manifest: DataManifest
    root: Path
    pool: dict[str, AcceptedCase]
    test: tuple[AcceptedCase, ...]


def simulate(  # noqa: PLR0913  what is replayed on what, by which plan, where to, and who watches
    bundle: Bundle,
    manifest: DataManifest,
    *,
    data_root: Path,
    output: Path,
    plan: SimulationPlan,
    device: torch.device,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Replay every strategy; what ``simulation.json`` holds.

    Args:
        bundle: loaded with the overlay ``train``; its weights are not used.
    Raises:
        SettingsError: a strategy is unknown.
        DataError: the data set is too small for the plan.
    """
    unknown = [name for name in plan.strategies if name not in STRATEGIES]
    if unknown:
        raise SettingsError(f"no strategy {unknown[0]!r}: expected any of {', '.join(STRATEGIES)}.")
    data = _located(bundle, manifest, data_root, plan)
    make_folder(output)
    replay = _Replay(bundle, data, plan, output, device)
    kept = {(one["strategy"], one["repeat"], one["round"]): one for one in _lines(output / ROUNDS_NAME)}
    total = plan.repeats * len(plan.strategies) * plan.rounds
    for repeat in range(plan.repeats):
        for name in plan.strategies:
            labelled = replay.first_cases(repeat)
            for number in range(plan.rounds):
                line = kept.get((name, repeat, number)) or replay.round(name, repeat, number, labelled, kept.values())
                kept[name, repeat, number] = line
                labelled = sorted([*labelled, *line["next"]])
                progress("rounds", len(kept), total)
        replay.forget(repeat)
    summary = _summary(plan, list(kept.values()))
    with atomic_write(output / "simulation.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    draw_simulation(summary, output / "simulation.png")
    return summary


@dataclass(frozen=True)
class _Replay:
    """What every round has in common."""

    bundle: Bundle
    data: _Data
    plan: SimulationPlan
    output: Path
    device: torch.device

    def first_cases(self, repeat: int) -> list[str]:
        """The cases that a repeat begins with, whatever the strategy."""
        random = np.random.default_rng((self.plan.seed, repeat))
        return sorted(random.choice(sorted(self.data.pool), size=self.plan.start, replace=False).tolist())

    def round(  # noqa: PLR0917  which round it is
        self, name: str, repeat: int, number: int, labelled: Sequence[str], done: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        """One training, what it is worth, and what is to be labelled next; a line that is kept."""
        same = next((one for one in done if one["repeat"] == repeat and one["labelled"] == list(labelled)), None)
        is_last = number + 1 == self.plan.rounds
        trained = None
        if same is None or (STRATEGIES[name].needs_scores and not is_last):
            trained = self._trained(labelled, repeat, number)
        if same is not None:  # of another strategy, with the very same cases
            dice = float(same["dice"])
        else:
            assert trained is not None, "nobody has trained on these cases"
            dice = mean_dice(dice_over_cases(trained, self.data.test, device=self.device))
        chosen = [] if is_last else self._chosen(name, trained, labelled, seed=(self.plan.seed, repeat, number))
        line = {"strategy": name, "repeat": repeat, "round": number, "labelled": list(labelled), "dice": dice}
        line["next"] = chosen
        with (self.output / ROUNDS_NAME).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        return line

    def forget(self, repeat: int) -> None:
        """Delete the models of a repeat."""
        shutil.rmtree(self.output / f"training_{repeat}", ignore_errors=True)

    def _trained(self, labelled: Sequence[str], repeat: int, number: int) -> Bundle:
        # Every strategy of a repeat begins with the same cases: that model is kept until the repeat is over.
        folder = self.output / f"training_{repeat}" / ("first" if number == 0 else "later")
        trained = replace(self.bundle, weights=folder / "model.safetensors")
        done = folder / "done"
        if number == 0 and done.is_file():
            return trained
        shutil.rmtree(folder, ignore_errors=True)
        steps = self.plan.steps
        section = dict(parse_settings(self.bundle, "training"))
        section |= {"steps": steps, "seed": repeat, "validate_every": steps, "checkpoint_every": steps}
        scheduler = dict(self.bundle.entry("lr_scheduler"))
        if isinstance(scheduler.get("warmup_steps"), int):
            scheduler["warmup_steps"] = min(scheduler["warmup_steps"], steps // 10)
        recipe = self.bundle.with_config(training=section, lr_scheduler=scheduler)
        manifest = self.data.manifest.model_copy(update={"splits": Splits(train=tuple(labelled))})
        train(recipe, manifest, data_root=self.data.root, output=folder, device=self.device)
        done.touch()
        return trained

    def _chosen(
        self, name: str, trained: Bundle | None, labelled: Sequence[str], *, seed: tuple[int, ...]
    ) -> list[str]:
        """The cases that a strategy adds, one after the other; those chosen count as labelled for the next."""
        strategy, random = STRATEGIES[name], np.random.default_rng(seed)
        candidates = {case_id: Candidate(case_id) for case_id in self.data.pool}
        if strategy.needs_scores and trained is not None:
            scorer = Scorer(trained, device=self.device)
            for case_id, case in self.data.pool.items():
                candidates[case_id] = Candidate(case_id, scorer.score(read_case(case.files).image))
        chosen: list[str] = []
        for _ in range(self.plan.add):
            done = {*labelled, *chosen}
            left = [one for case_id, one in candidates.items() if case_id not in done]
            choice = strategy.choose(left, [candidates[case_id] for case_id in sorted(done)], random=random)
            assert choice is not None, "the pool is large enough, and every case has a score"
            chosen.append(choice.image_id)
        return chosen


def _located(bundle: Bundle, manifest: DataManifest, data_root: Path, plan: SimulationPlan) -> _Data:
    listed = manifest.on_disk(data_root)
    names = [channel.name for channel in listed.channels]
    found: dict[str, list[AcceptedCase]] = {}
    for split in ("train", "test"):
        cases = listed.locate(data_root, split=split)
        found[split] = []
        for case in cases:
            file_of = {file.channel: file for file in case.channel_files(names)}
            files = CaseFiles(case.case_id, tuple(file_of[channel.name] for channel in bundle.channels))
            found[split].append(AcceptedCase(files, case.label))
    random = np.random.default_rng(plan.seed)
    wanted = plan.start + plan.add * (plan.rounds - 1)
    if len(found["train"]) < wanted or not found["test"] or plan.pool < wanted:
        raise DataError(
            f"{wanted} cases would be labelled in the end, the pool has {min(plan.pool, len(found['train']))} and "
            f"{len(found['test'])} are there to test: take fewer rounds, or a larger pool."
        )
    pool = random.permutation(len(found["train"]))[: plan.pool]
    test = random.permutation(len(found["test"]))[: plan.test]
    chosen = sorted((found["train"][number] for number in pool), key=lambda case: case.files.case_id)
    return _Data(
        listed,
        data_root,
        {case.files.case_id: case for case in chosen},
        tuple(found["test"][number] for number in sorted(test)),
    )


def _summary(plan: SimulationPlan, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean Dice and its confidence interval by strategy and number of labelled cases; differences from random."""
    dice = {(one["strategy"], one["repeat"], one["round"]): float(one["dice"]) for one in lines}
    curves: dict[str, list[dict[str, float | None]]] = {}
    for name in plan.strategies:
        curves[name] = []
        for number in range(plan.rounds):
            values = [dice[name, repeat, number] for repeat in range(plan.repeats)]
            point: dict[str, float | None] = {"labelled": plan.start + plan.add * number, **_interval(values)}
            if "random" in plan.strategies and name != "random":
                apart = [dice[name, repeat, number] - dice["random", repeat, number] for repeat in range(plan.repeats)]
                point |= {f"{key}_against_random": value for key, value in _interval(apart).items()}
            curves[name].append(point)
    return {"plan": plan.model_dump(), "confidence": CONFIDENCE, "curves": curves}


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    """The mean and its interval by Student's t; one repeat has none."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": round(mean, 5), "low": None, "high": None}
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * float(np.std(values, ddof=1))
    half /= math.sqrt(len(values))
    return {"mean": round(mean, 5), "low": round(mean - half, 5), "high": round(mean + half, 5)}


def draw_simulation(summary: dict[str, Any], path: Path) -> None:
    """The picture: Dice over the number of labelled cases, a band around each strategy's mean."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for color, (name, points) in zip(COLORS, summary["curves"].items(), strict=False):
        labelled = [point["labelled"] for point in points]
        axes.plot(labelled, [point["mean"] for point in points], marker="o", color=color, label=name)
        if points[0]["low"] is not None:
            low, high = ([point[key] for point in points] for key in ("low", "high"))
            axes.fill_between(labelled, low, high, color=color, alpha=0.15, lw=0)
    axes.set_xlabel("labelled cases")
    axes.set_ylabel("mean Dice on the test cases")
    axes.set_title(f"mean and {summary['confidence']:.0%} interval over {summary['plan']['repeats']} repeats")
    axes.legend()
    with atomic_write(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _lines(path: Path) -> list[dict[str, Any]]:
    """The rounds that were done; a last line that was cut short is left out, here and in the file."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    if path.is_file():
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return lines
