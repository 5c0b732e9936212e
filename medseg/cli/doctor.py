"""``medseg doctor``: what this installation can do, and how to mend what it cannot."""

import typer

from medseg.cli.console import print_json, print_table
from medseg.cli.context import options_of

__all__ = ["doctor"]


def doctor(ctx: typer.Context) -> None:
    """Check Python, torch, devices, memory, disk, optional parts and models; say how to mend what is missing."""
    options = options_of(ctx)
    from medseg.bundle.health import examine

    findings = examine()
    if options.json:
        print_json(
            [{"part": entry.part, "state": entry.state, "found": entry.found, "fix": entry.fix} for entry in findings]
        )
    elif not options.quiet:
        rows = [(entry.part, entry.state, entry.found, entry.fix) for entry in findings]
        print_table("part", "", "found", "fix", rows=rows)
    if any(entry.state == "missing" for entry in findings):
        raise typer.Exit(2)
