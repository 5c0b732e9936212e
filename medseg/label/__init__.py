"""MONAI Label: the server, its models and what they learn; only modules of this room import ``monailabel``."""

from medseg.label.installation import check_installation
from medseg.label.launch import ServerPlan, choose_bundles, prepare_process, work_folder_for
from medseg.label.versions import Version, WeightsVersions

__all__ = [
    "ServerPlan",
    "Version",
    "WeightsVersions",
    "check_installation",
    "choose_bundles",
    "prepare_process",
    "work_folder_for",
]
