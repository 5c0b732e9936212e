"""``medseg evaluate``: predictions against references → scores of every case and label, and their summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages, print_json, print_table, progress_bars
from medseg.cli.context import options_of
from medseg.cli.ending import tidied_when_ended

if TYPE_CHECKING:
    from rich.text import Text

    from medseg.evaluation import Evaluation, Summary

__all__ = ["evaluate"]

DEFAULT_TOLERANCE_MM = 1.0
"""About one voxel of a brain MR; better is the distance at which two experts disagree, where that is known."""


def evaluate(
    ctx: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="A label file, or a folder of label files.")],
    references: Annotated[Path, typer.Argument(help="The expert's label file, or a folder with the same file names.")],
    output: Annotated[Path, typer.Option(help="Folder for per_case.csv and summary.json.")],
    bundle: Annotated[
        str | None, typer.Option(help="Name or folder of the model whose labels these are; else labels are numbers.")
    ] = None,
    tolerance_mm: Annotated[
        float, typer.Option(help="Distance in mm at which two surfaces still agree, for the surface Dice (NSD).")
    ] = DEFAULT_TOLERANCE_MM,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
) -> None:
    """Compare predictions with references: Dice, IoU, volume difference, HD95 and surface Dice (NSD).

    Files pair by name without ending; both of a pair must lie on one grid. A structure that is missed, or
    predicted where there is none, counts with the worst value; where it is in neither, the case is left out.
    """
    options = options_of(ctx)
    from medseg.atomic import without_empty_folders
    from medseg.bundle import load_bundle, schema_of_cases
    from medseg.evaluation import check_targets, evaluate_pairs, pair_files, write_evaluation

    check_targets(output, overwrite=overwrite)
    pairs = pair_files(predictions, references)
    label_table, regions = None, None
    if bundle is not None:
        model = load_bundle(bundle)
        schema = schema_of_cases([pair.case_id for pair in pairs], model.label_schema)
        label_table, regions = schema.label_table, model.regions_of(schema)
    with tidied_when_ended(), without_empty_folders(output):
        with progress_bars(shown=not options.quiet) as progress:
            tracked = progress.track(pairs, description="comparing")
            evaluation = evaluate_pairs(tracked, label_table=label_table, tolerance_mm=tolerance_mm, regions=regions)
        table, summary = write_evaluation(evaluation, output, overwrite=overwrite)
    if options.json:
        print_json(evaluation.summary())
    elif not options.quiet:
        _show(evaluation)
        messages.print(f"Every case: {table}; definitions and summary: {summary}", markup=False)


def _show(evaluation: Evaluation) -> None:
    """A row a label: means with their confidence intervals, and how often a mask was empty."""
    from medseg.evaluation import Outcome

    columns = {
        "dice": ("Dice", 3),
        "volume_difference_ml": ("volume difference (mL)", 2),
        "hd95_mm": ("HD95 (mm)", 2),
        "nsd": (f"NSD at {evaluation.tolerance_mm:g} mm", 3),
    }
    empty = {Outcome.PREDICTION_EMPTY: "missed", Outcome.REFERENCE_EMPTY: "false", Outcome.BOTH_EMPTY: "absent"}
    rows: list[list[str | Text]] = []
    for name in evaluation.label_names:
        summaries = [
            _cell(evaluation.of_metric(metric, name=name), decimals=decimals)
            for metric, (_, decimals) in columns.items()
        ]
        outcomes = [score.outcome for score in evaluation.of_label(name)]
        counts = [str(outcomes.count(outcome)) for outcome in empty]
        rows.append([name, *summaries, *counts])
    print_table("label", *(heading for heading, _ in columns.values()), *empty.values(), rows=rows)
    messages.print(
        f"Mean over {evaluation.n_cases} case{'s' if evaluation.n_cases > 1 else ''} [95 % interval]. "
        "missed: only in the reference; false: only in the prediction; both count with the worst value. "
        "absent: in neither, left out of the means.",
        markup=False,
    )


def _cell(summary: Summary, *, decimals: int) -> Text:
    """Mean and interval of one metric; a dash where no case counts."""
    from rich.text import Text

    if summary.mean is None:
        return Text("–")
    mean = f"{summary.mean:.{decimals}f}"
    if summary.ci95 is None:
        return Text(mean)
    low, high = summary.ci95
    return Text(f"{mean} [{low:.{decimals}f}, {high:.{decimals}f}]")
