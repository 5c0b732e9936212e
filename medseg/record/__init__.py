"""Run records, and the journal of reviews: what ran, who decided what, with no trace of the patient."""

from medseg.record.journal import Journal, JournalAction, JournalEntry, JournalRecord, verify_journal
from medseg.record.journal_chain import JournalProblem
from medseg.record.run_record import (
    GoldenWindow,
    InputChannel,
    Machine,
    OutputGrid,
    RunRecord,
    UsedBundle,
    UsedRuntime,
    UsedWindows,
    package_versions,
    write_record,
)
from medseg.record.stopwatch import Stopwatch, process_peak_memory_mb

__all__ = [
    "GoldenWindow",
    "InputChannel",
    "Journal",
    "JournalAction",
    "JournalEntry",
    "JournalProblem",
    "JournalRecord",
    "Machine",
    "OutputGrid",
    "RunRecord",
    "Stopwatch",
    "UsedBundle",
    "UsedRuntime",
    "UsedWindows",
    "package_versions",
    "process_peak_memory_mb",
    "verify_journal",
    "write_record",
]
