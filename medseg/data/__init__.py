"""Data sets: manifests that name cases, splits, labels and licences, and the files behind them."""

from medseg.data.download import fetch_archive, fetch_case
from medseg.data.manifest import Archive, Channel, DataCase, DataManifest, Split, load_manifest
from medseg.data.shared_folder import shared_folder

__all__ = [
    "Archive",
    "Channel",
    "DataCase",
    "DataManifest",
    "Split",
    "fetch_archive",
    "fetch_case",
    "load_manifest",
    "shared_folder",
]
