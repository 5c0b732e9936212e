"""``medseg bundle``: the models at hand, what each is, and whether it is whole."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import messages, print_json, print_table, progress_bars, working
from medseg.cli.context import options_of
from medseg.cli.data_options import DataRoot, manifest_of, root_of
from medseg.cli.ending import tidied_when_ended
from medseg.cli.loading import are_brought_along, import_monai_alone, without_garbage_collection

__all__ = ["bundle_app"]

bundle_app = typer.Typer(
    help="The models: list them, look at one, check one.", no_args_is_help=True, rich_markup_mode=None
)

NameOrFolder = Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of the model.")]


@bundle_app.command("list")
def list_bundles(ctx: typer.Context) -> None:
    """List the models that medseg brings along."""
    options = options_of(ctx)
    from medseg.bundle.found import find_bundles, found_bundle

    bundles = [found_bundle(folder) for folder in find_bundles().values()]
    if options.json:
        print_json(
            [
                {
                    "name": entry.name,
                    "version": entry.version,
                    "task": entry.task,
                    "has_weights": entry.weights_path.is_file(),
                }
                for entry in bundles
            ]
        )
    elif not options.quiet:
        rows = [
            (entry.name, entry.version, entry.task, "here" if entry.weights_path.is_file() else "missing")
            for entry in bundles
        ]
        print_table("name", "version", "task", "weights", rows=rows)


@bundle_app.command("info")
def info(ctx: typer.Context, bundle: NameOrFolder) -> None:
    """Show what a model takes, what it finds, how large it is and how well it does."""
    options = options_of(ctx)
    with working("building the network", shown=not options.quiet), without_garbage_collection():
        if are_brought_along([bundle]):
            import_monai_alone()
        from medseg.bundle import bundle_facts, load_bundle

        facts = bundle_facts(load_bundle(bundle))
    if options.json:
        print_json(facts)
    elif not options.quiet:
        print_table(rows=[(key.replace("_", " "), _in_words(value)) for key, value in facts.items()])


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {entry}" for key, entry in value.items())
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)


@bundle_app.command("create")
def create(
    ctx: typer.Context,
    data: Annotated[
        str, typer.Argument(metavar="MANIFEST", help="Name of a data set, a manifest, or a folder with dataset.json.")
    ],
    network: Annotated[str, typer.Option(help="swin_unetr, transunet, ds_transunet, dformer or att_swin_unet.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the new bundle. [default: NETWORK_MANIFEST in this folder]")
    ] = None,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="What it will be trained on: auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Make a new model for a data set: its settings follow from the training cases, each with its reason."""
    options = options_of(ctx)
    from medseg.bundle import choose_device, create_bundle

    manifest = manifest_of(data, options=options)
    folder = output or Path(f"{network}_{manifest.name.lower().replace(' ', '_')}")
    with tidied_when_ended(), progress_bars(shown=not options.quiet) as progress:
        bar = progress.add_task("reading the data", total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        plan = create_bundle(
            manifest,
            data_root=root_of(data, data_root),
            network=network,
            output=folder,
            device=choose_device(device),
            on_case=show,
        )
    if options.json:
        print_json({"folder": str(folder), **vars(plan)})
    elif not options.quiet:
        messages.print(
            f"{folder}: {plan.network_class} with {plan.parameters / 1e6:.1f} million parameters, window "
            f"{'×'.join(str(size) for size in plan.roi_size)} at {'×'.join(f'{mm:g}' for mm in plan.spacing_mm)} mm. "
            f"Read configs/inference.yaml and configs/train.yaml, then: medseg train {folder} --data {data}",
            markup=False,
        )


@bundle_app.command("verify")
def verify(ctx: typer.Context, bundle: NameOrFolder) -> None:
    """Check that a model is whole: metadata, labels, parts, weights, one pass of the network, licence."""
    options = options_of(ctx)
    from medseg.bundle import load_bundle, verify_bundle

    checks = verify_bundle(load_bundle(bundle))
    if options.json:
        print_json([{"check": check.name, "passed": check.is_passed, "found": check.found} for check in checks])
    elif not options.quiet:
        rows = [(check.name, "passed" if check.is_passed else "FAILED", check.found) for check in checks]
        print_table("check", "", "found", rows=rows)
    if not all(check.is_passed for check in checks):
        raise typer.Exit(2)


@bundle_app.command("import-weights")
def import_released_weights(
    ctx: typer.Context,
    network: Annotated[str, typer.Argument(help="swin_unetr, transunet, ds_transunet, dformer or att_swin_unet.")],
    weights: Annotated[Path, typer.Argument(help="The published file: .pt, .pth, .zip, .safetensors or .npz.")],
    output: Annotated[Path, typer.Option(help="Folder for models/, configs/network.yaml and the report.")],
    config: Annotated[
        str | None,
        typer.Option(help="The released code's settings (JSON, YAML), or a published setting such as btcv."),
    ] = None,
    merging: Annotated[
        Literal["legacy", "current"] | None,
        typer.Option(help="Swin UNETR: order of patch merging. [default: legacy]"),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="The file is a published start for part of the network, such as imagenet.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
) -> None:
    """Bring weights that others published under medseg's names, and account for every key."""
    options = options_of(ctx)
    from medseg.bundle import import_weights

    with tidied_when_ended():
        imported = import_weights(
            network, weights, output, config=config, merging=merging, start=start, overwrite=overwrite
        )
    if options.json:
        print_json({**imported.as_json(), "files": [str(path) for path in imported.files]})
    elif not options.quiet:
        counts = imported.report.counts.items()
        print_table("keys", "number", rows=[(name, str(number)) for name, number in counts])
        if imported.merging is not None:
            messages.print(f"patch merging: {imported.merging}")
        for path in imported.files:
            messages.print(f"  {path}", markup=False)


@bundle_app.command("download")
def download(ctx: typer.Context, bundle: NameOrFolder) -> None:
    """Fetch the weights that a model names but does not carry; what broke off goes on."""
    options = options_of(ctx)
    from medseg.bundle import download_large_files, load_bundle

    with progress_bars(shown=not options.quiet) as progress:
        bar = progress.add_task("download", total=None)
        files = download_large_files(
            load_bundle(bundle).folder,
            on_bytes=lambda done, total: progress.update(bar, completed=done, total=total or None),
        )
    if options.json:
        print_json([str(path) for path in files])
    elif not options.quiet:
        for path in files:
            messages.print(f"{path}", markup=False)
