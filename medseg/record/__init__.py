"""Run records: what ran, on what, with which weights and how long, with no trace of the patient."""

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
    "Machine",
    "OutputGrid",
    "RunRecord",
    "Stopwatch",
    "UsedBundle",
    "UsedRuntime",
    "UsedWindows",
    "package_versions",
    "process_peak_memory_mb",
    "write_record",
]
