"""The ``medseg`` command: global options, the commands, and how errors end.

Nothing heavy is imported here or at the top of a command's file, so that ``medseg --help`` answers at once.
"""

import logging
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medseg import __version__
from medseg.cli.benchmark import benchmark
from medseg.cli.bundle import bundle_app
from medseg.cli.console import error_line
from medseg.cli.context import GlobalOptions
from medseg.cli.cross_validate import cross_validate
from medseg.cli.data import data_app
from medseg.cli.demo import demo
from medseg.cli.doctor import doctor
from medseg.cli.ending import SIGNAL_EXIT
from medseg.cli.evaluate import evaluate
from medseg.cli.journal import journal_app
from medseg.cli.label import label_app
from medseg.cli.review import review
from medseg.cli.segment import segment
from medseg.cli.train import train
from medseg.errors import MedsegError
from medseg.openmp import wait_briefly

__all__ = ["app", "run"]

GLOBAL_FLAGS = ("--json", "--quiet", "--debug")
INTERRUPTED = SIGNAL_EXIT + signal.SIGINT
"""Exit code after Ctrl-C."""


class _GlobalFlagsAnywhere(TyperGroup):
    """Lets ``medseg segment … --json`` mean ``medseg --json segment …``, up to a ``--``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        flags = [word for word in args[:end] if word in GLOBAL_FLAGS]
        others = [word for word in args[:end] if word not in GLOBAL_FLAGS]
        parsed: list[str] = super().parse_args(ctx, [*flags, *others, *args[end:]])
        return parsed


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"medseg {__version__}\n")
        raise typer.Exit


app = typer.Typer(
    cls=_GlobalFlagsAnywhere,
    name="medseg",
    help="Segment medical images with transformer networks; labels come back on the scan's own grid.",
    epilog="First time here? Run: medseg demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def global_options(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress and no tables.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
    version: Annotated[  # noqa: ARG001  read by its callback
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Keep the global options for the command."""
    if not debug:
        _quieten_libraries()
    ctx.obj = GlobalOptions(json=json, quiet=quiet, debug=debug)


app.command()(segment)
app.command()(train)
app.command(name="cross-validate")(cross_validate)
app.command()(evaluate)
app.add_typer(bundle_app, name="bundle")
app.add_typer(data_app, name="data")
app.add_typer(journal_app, name="journal")
app.command()(review)
app.add_typer(label_app, name="label")
app.command()(benchmark)
app.command()(doctor)
app.command()(demo)


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 our fault or some failed, 2 the user can fix it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us, as services do
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  as long as the process
    wait_briefly()
    debug = "--debug" in arguments
    try:
        app(args=arguments, prog_name="medseg")
    except MedsegError as error:
        _explain(error, debug=debug)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as leaving:  # typer turns Ctrl-C into an exit without a word
        code = INTERRUPTED if isinstance(leaving, KeyboardInterrupt) else leaving.code
        if isinstance(code, int) and code > SIGNAL_EXIT:
            error_line("interrupted: nothing half-written was left behind.")
        sys.exit(code)
    except Exception as error:  # noqa: BLE001  the last line of defence: a person gets one line, not a trace
        _explain(error, debug=debug)
        sys.exit(1)


def _quieten_libraries() -> None:
    """Warnings of libraries are for developers: what a person must know, medseg says itself."""
    warnings.simplefilter("ignore")
    for name in ("monai", "nibabel", "pydicom", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _explain(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, MedsegError):
        error_line(str(error))
    else:
        error_line(f"unexpected {type(error).__name__}: {error}. Please report it with the output of --debug.")
