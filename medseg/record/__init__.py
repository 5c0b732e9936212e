"""Run records, the journal of reviews and locks: what ran, who decided what, who is at work; no trace of patients."""

from medseg.record.journal import Journal, JournalAction, JournalEntry, JournalRecord, verify_journal
from medseg.record.journal_chain import JournalProblem
from medseg.record.locks import STALE_AFTER_S, LockHolder, WorkLock, holder_of
from medseg.record.processes import ProcessMark
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
    plain_settings,
    write_record,
)
from medseg.record.stopwatch import Stopwatch, process_peak_memory_mb
from medseg.record.tags import ACTION_OF_TAG, SHOWN_FIRST, STATE_OF_TAG, TAG_OF_STATE, state_of, tag_of

__all__ = [
    "ACTION_OF_TAG",
    "SHOWN_FIRST",
    "STALE_AFTER_S",
    "STATE_OF_TAG",
    "TAG_OF_STATE",
    "GoldenWindow",
    "InputChannel",
    "Journal",
    "JournalAction",
    "JournalEntry",
    "JournalProblem",
    "JournalRecord",
    "LockHolder",
    "Machine",
    "OutputGrid",
    "ProcessMark",
    "RunRecord",
    "Stopwatch",
    "UsedBundle",
    "UsedRuntime",
    "UsedWindows",
    "WorkLock",
    "holder_of",
    "package_versions",
    "plain_settings",
    "process_peak_memory_mb",
    "state_of",
    "tag_of",
    "verify_journal",
    "write_record",
]
