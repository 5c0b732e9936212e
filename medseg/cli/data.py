"""``medseg data``: which data sets medseg knows, what each is, and whether the one on disk is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.console import messages, print_json, print_table, progress_bars
from medseg.cli.context import options_of
from medseg.cli.data_options import DataRoot, root_of

if TYPE_CHECKING:
    from medseg.data import DataManifest

__all__ = ["data_app"]

data_app = typer.Typer(
    help="The data sets: list them, look at one, check one.", no_args_is_help=True, rich_markup_mode=None
)

Manifest = Annotated[
    str,
    typer.Argument(metavar="DATA", help="Name of a data set, a manifest, or a dataset.json (or the folder it is in)."),
]


@data_app.command("list")
def list_data(ctx: typer.Context) -> None:
    """List the data sets that medseg knows."""
    options = options_of(ctx)
    from medseg.data import load_manifest, manifest_names

    manifests = [load_manifest(name) for name in manifest_names()]
    if options.json:
        print_json([_facts(manifest) for manifest in manifests])
    elif not options.quiet:
        rows = [(one.name, one.title, str(len(one.labels)), one.licence) for one in manifests]
        print_table("name", "data set", "labels", "licence", rows=rows)


@data_app.command("info")
def info(ctx: typer.Context, data: Manifest) -> None:
    """Show where a data set is to be had, how its folder looks, and what its channels, labels and splits are."""
    options = options_of(ctx)
    from medseg.data import load_manifest

    manifest = load_manifest(data)
    facts = _facts(manifest)
    if options.json:
        print_json(facts | {"cases": manifest.splits.model_dump() if manifest.splits else None})
    elif not options.quiet:
        print_table(rows=[(key.replace("_", " "), _in_words(value)) for key, value in facts.items()])


@data_app.command("check")
def check(
    ctx: typer.Context,
    data: Manifest,
    data_root: DataRoot = None,
) -> None:
    """Read every case and tell each defect with its fix; exit code 1 where there is one.

    Looked for: missing files, image and labels on different grids, unknown label values, voxels that are not
    numbers, channels that look swapped, left taken for right, labels that look like another edition's.
    """
    options = options_of(ctx)
    from medseg.data import check_data, images_without_labels, load_manifest

    manifest = load_manifest(data)
    with progress_bars(shown=not options.quiet) as progress:
        bar = progress.add_task("checking", total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        result = check_data(manifest, root_of(data, data_root), on_case=show)
    if options.json:
        print_json(
            {
                "name": manifest.name,
                "cases": result.checked,
                "absent": list(result.absent),
                "unlabelled_test_images": list(result.unlabelled),
                "findings": [vars(finding) for finding in result.findings],
            }
        )
    else:
        for finding in result.findings:
            messages.print(f"{finding.case_id}: {finding.kind}: {finding.found}. Fix: {finding.fix}.", markup=False)
        if not options.quiet:
            if result.unlabelled:
                messages.print(f"{images_without_labels(manifest, 'test')}: not checked.", markup=False)
            absent = f", {len(result.absent)} of the manifest are not here" if result.absent else ""
            found = f"{len(result.findings)} defects" if result.findings else "no defect"
            messages.print(f"{manifest.name}: {result.checked} cases checked{absent}: {found}.", markup=False)
    if result.findings:
        raise typer.Exit(1)


def _facts(manifest: DataManifest) -> dict[str, Any]:
    splits = manifest.splits.model_dump() if manifest.splits else {}
    return {
        "name": manifest.name,
        "title": manifest.title,
        "licence": manifest.licence,
        "where": manifest.access.url if manifest.access else None,
        "needs_login": manifest.access.login if manifest.access else None,
        "how_to_get_it": manifest.access.how if manifest.access else None,
        "archive": manifest.archive.url if manifest.archive else None,
        "folder": manifest.folder,
        "image": manifest.image,
        "label": manifest.label,
        "channels": [f"{channel.name} ({channel.modality})" for channel in manifest.channels],
        "label_schema": manifest.label_schema,
        "labels": [f"{label.index} {label.name}" for label in manifest.label_table],
        "concepts": [
            f"{label.index} {label.concept.scheme} {label.concept.value} {label.concept.meaning}"
            for label in manifest.label_table
            if label.concept is not None
        ],
        "regions": [region.name for region in manifest.schema_of_labels.regions],
        "splits": {name: len(case_ids) for name, case_ids in splits.items()} or "drawn by the hash of the patient",
        "citation": manifest.citation,
        "notes": manifest.notes,
    }


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
