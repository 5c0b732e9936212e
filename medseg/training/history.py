"""The log of a training: one JSON line an event, and a picture of the curves."""

import json
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from medseg.atomic import atomic_write

__all__ = ["append_event", "draw_curves", "forget_after", "read_events"]


def append_event(path: Path, event: dict[str, Any]) -> None:
    """Add one event to the log."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(event) + "\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events in the log, oldest first; a last line that a kill cut short is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return events


def forget_after(path: Path, step: int) -> None:
    """Drop what was logged after the checkpoint that a resumed training goes on from: it will happen again."""
    kept = [event for event in read_events(path) if event["step"] <= step]
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")


def draw_curves(events: list[dict[str, Any]], path: Path) -> None:
    """The picture of training loss and validation Dice over the steps."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    loss_axes = figure.subplots()
    losses = [(event["step"], event["loss"]) for event in events if "loss" in event]
    if losses:
        loss_axes.plot(*zip(*losses, strict=True), color="#0072B2", label="training loss")
    loss_axes.set_xlabel("step")
    loss_axes.set_ylabel("training loss", color="#0072B2")
    scores = [event for event in events if "dice" in event]
    if scores:
        dice_axes = loss_axes.twinx()
        steps = [event["step"] for event in scores]
        for name in scores[0]["dice"]:
            dice = [math.nan if event["dice"][name] is None else event["dice"][name] for event in scores]
            dice_axes.plot(steps, dice, marker=".", lw=0.8, alpha=0.7, label=name)
        dice_axes.plot(steps, [event["mean_dice"] for event in scores], color="#D55E00", marker="o", label="mean")
        dice_axes.set_ylabel("validation Dice", color="#D55E00")
        dice_axes.legend(loc="center right")
    with atomic_write(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
