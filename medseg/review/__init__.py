"""Review: a person looks at a segmentation, corrects it and decides; no Qt outside ``widgets``."""

from medseg.review.autosave import Autosave, AutosaveHeader, Recovered, labels_sha256, read_autosave_header, recover
from medseg.review.background import StoppedError
from medseg.review.build_worklist import worklist_from_files, worklist_from_folder, worklist_from_manifest
from medseg.review.delta import Delta, delta_between
from medseg.review.display import PLANES, DisplayGrid, Plane
from medseg.review.editor import Change, ChangeKind, LabelEditor
from medseg.review.edits import Limits, NestedRegions, nested_regions
from medseg.review.export import TABLE_COLUMNS, DatasetChoices, ExportedDataset, export_dataset, export_table
from medseg.review.folder import REVIEW_FOLDER, ReviewFolder, folder_name
from medseg.review.history import History
from medseg.review.opening import CaseToReview
from medseg.review.saving import EditSaver
from medseg.review.segmenting import Proposal, SegmentationJob, Watcher
from medseg.review.server import ReviewServer, ServerJob
from medseg.review.session import ReviewSession
from medseg.review.states import CASE_STATES, CaseReview, CaseState, Decision, Flag, Remark, review_of, review_states
from medseg.review.strokes import StrokeRules
from medseg.review.tools import TOOLS, Amount, Tool, ToolUse, tool_named
from medseg.review.versions import (
    Origin,
    Version,
    VersionRecord,
    damaged_versions,
    file_sha256,
    latest_version,
    list_versions,
    save_version,
)
from medseg.review.windowing import IntensityWindow, presets
from medseg.review.worklist import CaseOrigin, Progress, Worklist, WorklistCase, natural_order

__all__ = [
    "CASE_STATES",
    "PLANES",
    "REVIEW_FOLDER",
    "TABLE_COLUMNS",
    "TOOLS",
    "Amount",
    "Autosave",
    "AutosaveHeader",
    "CaseOrigin",
    "CaseReview",
    "CaseState",
    "CaseToReview",
    "Change",
    "ChangeKind",
    "DatasetChoices",
    "Decision",
    "Delta",
    "DisplayGrid",
    "EditSaver",
    "ExportedDataset",
    "Flag",
    "History",
    "IntensityWindow",
    "LabelEditor",
    "Limits",
    "NestedRegions",
    "Origin",
    "Plane",
    "Progress",
    "Proposal",
    "Recovered",
    "Remark",
    "ReviewFolder",
    "ReviewServer",
    "ReviewSession",
    "SegmentationJob",
    "ServerJob",
    "StoppedError",
    "StrokeRules",
    "Tool",
    "ToolUse",
    "Version",
    "VersionRecord",
    "Watcher",
    "Worklist",
    "WorklistCase",
    "damaged_versions",
    "delta_between",
    "export_dataset",
    "export_table",
    "file_sha256",
    "folder_name",
    "labels_sha256",
    "latest_version",
    "list_versions",
    "natural_order",
    "nested_regions",
    "presets",
    "read_autosave_header",
    "recover",
    "review_of",
    "review_states",
    "save_version",
    "tool_named",
    "worklist_from_files",
    "worklist_from_folder",
    "worklist_from_manifest",
]
