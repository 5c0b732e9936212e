"""The authors' released weights, renamed for our networks; one file per network."""

from medseg.networks.checkpoints.release import (
    known_importers,
    load_released,
    load_start,
    open_weights,
    read_settings,
    released_settings,
    settings_told_by,
)
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
    "known_importers",
    "load_released",
    "load_start",
    "open_weights",
    "read_settings",
    "released_settings",
    "rename_keys",
    "settings_told_by",
]
