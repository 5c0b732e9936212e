"""Inference: image → windows → network → logits → labels on the scan's own grid."""

from medseg.inference.average import ProbabilitySink
from medseg.inference.elsewhere import OnDevice
from medseg.inference.ladder import is_out_of_memory, more_memory, rungs
from medseg.inference.memory import keep_freed_memory, keep_memory_of_windows
from medseg.inference.mirror import MirrorInferer
from medseg.inference.on_scan import restore_blocks
from medseg.inference.passes import ManyPasses
from medseg.inference.postprocessing import label_postprocessing, region_threshold
from medseg.inference.predict import predict_logits
from medseg.inference.preprocessing import preprocess
from medseg.inference.restore import RestoreLabelsd, restore_labels, restore_regions, scan_geometry
from medseg.inference.runtime import (
    RUNTIMES,
    RuntimeChoice,
    WindowRuntime,
    batch_shape,
    check_runtime,
    golden_window,
    installed_runtimes,
)
from medseg.inference.segmenter import Segmenter, Stages, WindowCount
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.three_planes import ThreePlaneInferer
from medseg.inference.windows import count_windows, window_starts

__all__ = [
    "RUNTIMES",
    "ManyPasses",
    "MirrorInferer",
    "OnDevice",
    "ProbabilitySink",
    "RestoreLabelsd",
    "RuntimeChoice",
    "Segmenter",
    "SliceBySliceInferer",
    "Stages",
    "ThreePlaneInferer",
    "WindowCount",
    "WindowRuntime",
    "batch_shape",
    "check_runtime",
    "count_windows",
    "golden_window",
    "installed_runtimes",
    "is_out_of_memory",
    "keep_freed_memory",
    "keep_memory_of_windows",
    "label_postprocessing",
    "more_memory",
    "predict_logits",
    "preprocess",
    "region_threshold",
    "restore_blocks",
    "restore_labels",
    "restore_regions",
    "rungs",
    "scan_geometry",
    "window_starts",
]
