"""``medseg cross-validate``: several bundles on one data set → which one does best, how surely, at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages, print_json, print_table, progress_bars
from medseg.cli.context import options_of
from medseg.cli.data_options import Data, DataRoot, manifest_of, root_of
from medseg.cli.ending import telling_how_to_go_on, tidied_when_ended

if TYPE_CHECKING:
    from medseg.training import Candidate, CrossValidation

__all__ = ["cross_validate"]

HOW_TO_GO_ON = "The same command goes on where it stood."


def cross_validate(
    ctx: typer.Context,
    bundles: Annotated[list[str], typer.Argument(help="Names or folders of the models to compare.")],
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for trainings and scores; run again, it goes on where it was.")],
    data_root: DataRoot = None,
    folds: Annotated[int, typer.Option(min=2, help="How often each model is trained.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a number of every recipe, for example --set steps=200.")
    ] = None,
) -> None:
    """Train each model once for every fold of the training cases, score it on the rest, and choose.

    Chosen is the model with the fewest operations among those that no interval tells from the best. The test cases
    of the data set are not touched.
    """
    options = options_of(ctx)
    from medseg.bundle import choose_device, load_bundle
    from medseg.inference import keep_freed_memory
    from medseg.training import cross_validate as run_cross_validation
    from medseg.training import with_settings

    keep_freed_memory()
    recipes = [with_settings(load_bundle(bundle, overlays=("train",)), settings or []) for bundle in bundles]
    manifest = manifest_of(data, options=options)
    with progress_bars(shown=not options.quiet) as progress:
        bars = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total, visible=done < total)

        with tidied_when_ended(), telling_how_to_go_on(HOW_TO_GO_ON, once=output):
            result = run_cross_validation(
                recipes,
                manifest,
                n_folds=folds,
                data_root=root_of(data, data_root),
                output=output,
                device=choose_device(device),
                progress=show,
            )
    if options.json:
        print_json({"chosen": result.chosen.name, "candidates": [one.summary() for one in result.candidates]})
    elif not options.quiet:
        _show(result)


def _show(result: CrossValidation) -> None:
    from rich.text import Text

    headings = ("model", "mean Dice", "behind the best", "p", "GFLOP per 10⁶ voxels", "parameters", "minutes")
    rows: list[list[str | Text]] = [
        [Text(one.name, style="bold" if one is result.chosen else ""), *_cells(one)] for one in result.candidates
    ]
    print_table(*headings, rows=rows)
    messages.print(
        f"{result.candidates[0].evaluation.n_cases} cases, each scored by the one of {result.n_folds} folds that did "
        "not train on it; [95 % intervals] by bootstrap over cases, p by Wilcoxon's signed-rank test.",
        markup=False,
    )
    messages.print(f"Chosen: {result.chosen.name}, the cheapest that is as good as the best.", markup=False)


def _cells(one: Candidate) -> list[str]:
    dice = one.evaluation.over_labels("dice")
    interval = f" [{dice.ci95[0]:.3f}, {dice.ci95[1]:.3f}]" if dice.ci95 else ""
    behind, p_value = "–", "–"
    if one.against_best is not None and one.against_best.difference.mean is not None:
        behind, p_value = f"{-one.against_best.difference.mean:.3f}", f"{one.against_best.p_value:.2g}"
    rate = "–" if one.gflop_per_megavoxel is None else f"{one.gflop_per_megavoxel:,.0f}"
    mean = "–" if dice.mean is None else f"{dice.mean:.3f}{interval}"
    return [mean, behind, p_value, rate, f"{one.parameters:,}", f"{one.training_s / 60:.1f}"]
