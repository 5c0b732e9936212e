"""The authors' released weights, renamed for our networks; one file per network."""

from medseg.networks.checkpoints.release import load_released, load_start, open_weights, read_settings
from medseg.networks.checkpoints.report import (
    LoadReport,
    RenamedState,
    WeightsError,
    check_derived,
    fill,
    rename_keys,
)

__all__ = [
    "LoadReport",
    "RenamedState",
    "WeightsError",
    "check_derived",
    "fill",
    "load_released",
    "load_start",
    "open_weights",
    "read_settings",
    "rename_keys",
]
