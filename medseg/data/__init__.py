"""Data sets: manifests that name cases, splits, labels and licences, and the files behind them."""

from typing import TYPE_CHECKING

from medseg.data.download import fetch_case
from medseg.data.fetch import OnBytes, fetch_file
from medseg.data.folds import k_folds
from medseg.data.label_schema import LabelSchema, Region, check_convertible, convert_labels, load_schema, schema_names
from medseg.data.manifest import Archive, Channel, DataCase, DataManifest, load_manifest, manifest_names
from medseg.data.splits import Split, SplitRule, Splits
from medseg.data.unlabelled import images_without_labels
from medseg.first_use import imported_at_first_use

if TYPE_CHECKING:
    from medseg.data.check import DataCheck, Finding, check_data
    from medseg.data.fingerprint import Fingerprint, data_fingerprint
else:
    __getattr__ = imported_at_first_use(
        __name__,
        {
            "check": ("DataCheck", "Finding", "check_data"),
            "fingerprint": ("Fingerprint", "data_fingerprint"),
        },
    )

__all__ = [
    "Archive",
    "Channel",
    "DataCase",
    "DataCheck",
    "DataManifest",
    "Finding",
    "Fingerprint",
    "LabelSchema",
    "OnBytes",
    "Region",
    "Split",
    "SplitRule",
    "Splits",
    "check_convertible",
    "check_data",
    "convert_labels",
    "data_fingerprint",
    "fetch_case",
    "fetch_file",
    "images_without_labels",
    "k_folds",
    "load_manifest",
    "load_schema",
    "manifest_names",
    "schema_names",
]
