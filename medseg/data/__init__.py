"""Data sets: manifests that name cases, splits, labels and licences, and the files behind them."""

from medseg.data.download import fetch_case
from medseg.data.fetch import OnBytes, fetch_file
from medseg.data.manifest import Archive, Channel, DataCase, DataManifest, Split, load_manifest
from medseg.data.shared_folder import shared_folder

__all__ = [
    "Archive",
    "Channel",
    "DataCase",
    "DataManifest",
    "OnBytes",
    "Split",
    "fetch_case",
    "fetch_file",
    "load_manifest",
    "shared_folder",
]
