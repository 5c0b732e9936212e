"""The global options, which every command finds in ``ctx.obj``."""

from dataclasses import dataclass

import typer

__all__ = ["GlobalOptions", "options_of"]


@dataclass(frozen=True)
class GlobalOptions:
    """``--json`` prints results for programs, ``--quiet`` prints no progress, ``--debug`` shows stack traces."""

    json: bool = False
    quiet: bool = False
    debug: bool = False


def options_of(ctx: typer.Context) -> GlobalOptions:
    """The global options of this call."""
    return ctx.obj if isinstance(ctx.obj, GlobalOptions) else GlobalOptions()
