"""``medseg journal``: whether the record of a review is whole, and what the review came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages, print_json
from medseg.cli.context import GlobalOptions, options_of
from medseg.cli.data_options import root_of

if TYPE_CHECKING:
    from medseg.review import DatasetChoices, Worklist

__all__ = ["journal_app"]

DAMAGED = 2
"""Exit code where the journal is not whole: somebody has to bring it back from a copy."""

SOME_LEFT_OUT = 1

journal_app = typer.Typer(
    help="The journal of a review: check it, export what was decided.", no_args_is_help=True, rich_markup_mode=None
)

Place = Annotated[
    Path,
    typer.Argument(metavar="JOURNAL", help="A journal.jsonl, the review folder it is in, or the folder of the scans."),
]


@journal_app.command("verify")
def verify(ctx: typer.Context, journal: Place) -> None:
    """Check every line, and all accepted labels, against their hashes; exit code 2 where one was changed or is gone.

    The hash of the last line is printed: noted elsewhere, it proves later that no line before it was replaced.
    """
    options = options_of(ctx)
    from medseg.record import Journal, verify_journal
    from medseg.review import ReviewFolder, damaged_versions

    path = _journal_in(journal)
    problems = verify_journal(path)
    records = () if problems else Journal(path).records()
    last = records[-1].sha256 if records else None
    damaged = damaged_versions(ReviewFolder(path.parent))
    if options.json:
        values = [{"line": problem.line, "found": problem.found} for problem in problems]
        whole = {"is_whole": not problems, "lines": len(records), "last": last, "problems": values}
        print_json({"journal": str(path), **whole, "damaged_labels": list(damaged)})
    else:
        for problem in (*problems, *damaged):
            messages.print(str(problem), markup=False)
        if not problems and not options.quiet:
            messages.print(
                f"{path.name}: {len(records)} lines, every one as it was written; last: {last}.", markup=False
            )
    if problems or damaged:
        raise typer.Exit(DAMAGED)


@journal_app.command("export")
def export(
    ctx: typer.Context,
    journal: Place,
    output: Annotated[Path | None, typer.Option(help="Write the decisions as a table (.csv).")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Write the accepted labels and their scans as a data set in this new folder.")
    ] = None,
    scans: Annotated[
        Path | None, typer.Option(help="Where the scans lie; by default in the folder around the review's.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The data set that was reviewed, if it has a manifest.")] = None,
    bundle: Annotated[str | None, typer.Option(help="The model whose channels the scans are.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="validation=0.1, test=0.2, or patient=, the expression for a patient."),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Link to the scans in place of copying them.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that exists.")] = False,
) -> None:
    """Write the decisions of a review as a table, or its accepted labels as a data set to train on."""
    options = options_of(ctx)
    from medseg.errors import SettingsError

    if output is None and dataset is None:
        raise SettingsError("nothing to write: --output TABLE.csv or --dataset FOLDER was expected.")
    path = _journal_in(journal)
    choices = _choices(split or [], bundle, link=link)
    if output is not None:
        _export_table(path, output, overwrite=overwrite, options=options)
    if dataset is not None:
        worklist = _worklist(path, scans, data=data, bundle=bundle)
        _export_dataset(worklist, dataset, choices=choices, options=options)


def _journal_in(place: Path) -> Path:
    """The journal that a person means.

    Raises:
        DataError: there is none.
    """
    from medseg.errors import DataError
    from medseg.review import ReviewFolder

    candidates = [ReviewFolder(place).journal, ReviewFolder.of(place).journal] if place.is_dir() else [place]
    found = next((path for path in candidates if path.is_file() or path.with_suffix(".head").is_file()), None)
    if found is None:
        raise DataError(f"{place} is no journal and holds none: journal.jsonl, or the folder it is in, was expected.")
    return found


def _choices(split: list[str], bundle: str | None, *, link: bool) -> DatasetChoices:
    from medseg.bundle import load_bundle
    from medseg.data import SplitRule
    from medseg.errors import SettingsError
    from medseg.review import DatasetChoices

    pairs = [entry.partition("=") for entry in split]
    unpaired = [key for key, sign, _ in pairs if not sign]
    if unpaired:
        raise SettingsError(f"--split {unpaired[0]}: KEY=VALUE was expected, for example --split test=0.2.")
    rule = SplitRule.from_mapping({key: value for key, _, value in pairs}, source="--split")
    modality = load_bundle(bundle).channel_specs[0].modality if bundle else "MR"
    return DatasetChoices(split=rule, images="link" if link else "copy", modality=modality)


def _worklist(journal: Path, scans: Path | None, *, data: str | None, bundle: str | None) -> Worklist:
    """The reviewed cases: of the manifest, or of the folder."""
    from medseg.bundle import load_bundle
    from medseg.data import load_manifest
    from medseg.review import ReviewFolder, worklist_from_folder, worklist_from_manifest

    review = ReviewFolder(journal.parent)
    folder = scans or journal.resolve().parent.parent
    if data is not None:
        return worklist_from_manifest(load_manifest(data), root_of(data, folder), review=review)
    channels = load_bundle(bundle).channel_specs if bundle else None
    return worklist_from_folder(folder, channels=channels, review=review)


def _export_table(journal: Path, output: Path, *, overwrite: bool, options: GlobalOptions) -> None:
    from medseg.atomic import atomic_write
    from medseg.record import Journal
    from medseg.review import export_table

    records = Journal(journal).records()
    with atomic_write(output, overwrite=overwrite) as temporary:
        temporary.write_text(export_table(records), encoding="utf-8")
    if options.json:
        print_json({"table": str(output), "rows": len(records)})
    elif not options.quiet:
        messages.print(f"{output}: {len(records)} rows.", markup=False)


def _export_dataset(worklist: Worklist, output: Path, *, choices: DatasetChoices, options: GlobalOptions) -> None:
    from medseg.review import export_dataset

    exported = export_dataset(worklist, output=output, choices=choices)
    left_out = {case.case_id: case.message for case in exported.left_out}
    if options.json:
        print_json({"dataset": str(output), "cases": list(exported.case_ids), "left_out": left_out})
    else:
        for message in left_out.values():
            messages.print(f"left out: {message}", markup=False)
        if not options.quiet:
            messages.print(
                f"{output}: {len(exported.case_ids)} cases. Train on them: medseg train BUNDLE --data {output}",
                markup=False,
            )
    if left_out:
        raise typer.Exit(SOME_LEFT_OUT)
