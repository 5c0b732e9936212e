"""The log of a training: one JSON line an event, the same for TensorBoard where wanted, and a picture of the curves."""

import json
import math
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from medseg.atomic import atomic_write
from medseg.errors import OutputError, SettingsError

__all__ = ["TrainingLog", "draw_curves", "read_events"]


LOG_NAME = "log.jsonl"
CURVES_NAME = "curves.png"
TENSORBOARD_NAME = "tensorboard"


class TrainingLog:
    """The log of one training, in its folder.

    Args:
        tensorboard: write the numbers for TensorBoard too.
    Raises:
        SettingsError: TensorBoard is wanted and not installed.
        OutputError: from any method, the log cannot be written.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self.path = folder / LOG_NAME
        self.curves_path = folder / CURVES_NAME
        self._board_folder = folder / TENSORBOARD_NAME
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter  # an extra
            except ImportError as error:
                raise SettingsError(
                    "tensorboard: true needs a package: pip install 'medseg[tensorboard]', or switch it off."
                ) from error
            self._new_board = SummaryWriter
        self._has_board = tensorboard

    def start(self) -> None:
        """Begin anew; a training that was killed before its first checkpoint may have left a log."""
        self._write("", mode="w")
        self._open_board(0)

    def resume(self, step: int) -> None:
        """Drop what was logged after the checkpoint that a resumed training goes on from: it will happen again."""
        kept = [event for event in read_events(self.path) if event["step"] <= step]
        with atomic_write(self.path, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
        self._open_board(step)

    def add(self, event: dict[str, Any]) -> None:
        """Add one event: its ``step``, and what happened then."""
        self._write(json.dumps(event) + "\n", mode="a")
        if self._board is not None:
            for name, value in _numbers(event).items():
                self._board.add_scalar(name, value, event["step"])
            self._board.flush()

    def draw(self) -> None:
        """Draw the curves as they are by now."""
        draw_curves(read_events(self.path), self.curves_path)

    def _write(self, text: str, *, mode: Literal["a", "w"]) -> None:
        try:
            with self.path.open(mode, encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}): free space, or change its permissions, and go on "
                "with --resume."
            ) from error

    def _open_board(self, step: int) -> None:
        if self._has_board:
            self._board = self._new_board(self._board_folder, purge_step=step + 1)


def _numbers(event: dict[str, Any]) -> dict[str, float]:
    """The numbers of an event under TensorBoard's names; a label that was nowhere has none."""
    dice = {f"dice/{name}": value for name, value in event.get("dice", {}).items() if value is not None}
    return dice | {name: event[name] for name in ("loss", "learning_rate", "mean_dice") if name in event}


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events in the log, oldest first; a last line that a kill cut short is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return events


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
