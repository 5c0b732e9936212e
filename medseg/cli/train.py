"""``medseg train``: a bundle's recipe on a manifest's cases → weights, log, curves, checkpoint."""

import math
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import messages, print_json, progress_bars
from medseg.cli.context import options_of
from medseg.cli.data_options import Data, DataRoot, manifest_of, root_of
from medseg.cli.ending import telling_how_to_go_on, tidied_when_ended

__all__ = ["train"]

HOW_TO_GO_ON = "The same command with --resume goes on from the last checkpoint."


def train(
    ctx: typer.Context,
    bundle: Annotated[str, typer.Argument(help="Name or folder of the model to train.")],
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for weights, checkpoint, log and curves.")],
    data_root: DataRoot = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the output folder.")
    ] = False,
    pretrain: Annotated[
        bool,
        typer.Option(
            "--pretrain",
            help="Without labels: learn to restore hidden parts of the scans. Start from the result with "
            "--set start=OUTPUT/pretrained.safetensors.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a number of the recipe, for example --set steps=200.")
    ] = None,
) -> None:
    """Train a model on a data set; a training that was killed goes on with --resume as if nothing had happened."""
    options = options_of(ctx)
    from medseg.atomic import without_empty_folders
    from medseg.bundle import choose_device, load_bundle
    from medseg.inference import keep_freed_memory
    from medseg.training import pretrain as run_pretraining
    from medseg.training import train as run_training
    from medseg.training import with_settings

    keep_freed_memory()
    recipe = with_settings(load_bundle(bundle, overlays=("train",)), settings or [])
    manifest = manifest_of(data, options=options)
    is_main = os.environ.get("RANK", "0") == "0"  # torchrun starts several of us
    with without_empty_folders(output), progress_bars(shown=not options.quiet and is_main) as progress:
        bars = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total)

        with ExitStack() as stack:
            stack.enter_context(tidied_when_ended())
            if is_main:
                stack.enter_context(telling_how_to_go_on(HOW_TO_GO_ON, once=output / "checkpoint.pt"))
            result = (run_pretraining if pretrain else run_training)(
                recipe,
                manifest,
                data_root=root_of(data, data_root),
                output=output,
                device=choose_device(_device_of_this_process(device)),
                resume=resume,
                progress=show,
            )
    if not is_main:
        return
    if options.json:
        print_json(
            {
                "steps": result.steps,
                "best_mean_dice": None if math.isnan(result.best_dice) else result.best_dice,
                "best_step": result.best_step,
                "elapsed_s": round(result.elapsed_s, 1),
                "files": [str(path) for path in result.files],
                "warnings": list(result.warnings),
            }
        )
    elif not options.quiet:
        scored = f"; best validation Dice {result.best_dice:.4f} at step {result.best_step}"
        is_scored = not math.isnan(result.best_dice)  # there were cases to validate on
        messages.print(f"{result.steps} steps in {result.elapsed_s / 60:.1f} min{scored if is_scored else ''}.")
        for path in result.files:
            messages.print(f"  {path}", markup=False)
        for warning in result.warnings:
            messages.print(f"  warning: {warning}", style="yellow", markup=False)


def _device_of_this_process(device: str) -> str:
    """Under ``torchrun`` each process has the GPU of its own number; a device named outright is kept."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "auto" and local is not None and torch.cuda.is_available() else device
