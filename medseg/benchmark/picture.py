"""The picture of a comparison: seconds by stage, and memory, of each road."""

from pathlib import Path

from matplotlib.figure import Figure

from medseg.atomic import atomic_write
from medseg.benchmark.compare import Comparison

__all__ = ["draw_comparison"]

OUTSIDE = "start, imports, loading"
"""What a process takes beside the stages that it measures itself."""

COLORS = {
    "load": "#999999",
    "read and preprocess": "#56B4E9",
    "compile": "#CC79A7",
    "infer": "#0072B2",
    "restore and write": "#E69F00",
    "picture and statistics": "#F0E442",
    OUTSIDE: "#CCCCCC",
}
"""One colour a stage, told apart by colour-blind eyes too."""


def draw_comparison(comparison: Comparison, path: Path, *, overwrite: bool) -> None:
    """Draw the medians as bars, MONAI's road on top.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    paths = [comparison.stock, *comparison.peers, *comparison.ours]
    figure = Figure(figsize=(9, 2.2 + 0.6 * len(paths)), layout="constrained")
    times, memories = figure.subplots(1, 2, width_ratios=[3, 1], sharey=True)
    names = [result.name for result in paths]
    stages = list(dict.fromkeys(name for result in paths for name in result.median_stages()))
    left = [0.0] * len(paths)
    for stage in [*stages, OUTSIDE]:
        seconds = [
            result.median_stages().get(stage, 0.0)
            if stage != OUTSIDE
            else max(result.median("seconds") - sum(result.median_stages().values()), 0.0)
            for result in paths
        ]
        if any(seconds):
            times.barh(names, seconds, left=left, label=stage, color=COLORS[stage])
            left = [before + value for before, value in zip(left, seconds, strict=True)]
    times.invert_yaxis()
    times.set_xlabel("seconds, whole process")
    figure.legend(fontsize="small", loc="outside lower center", ncols=4)
    measure, whose = ("gpu_peak_mb", " of the GPU") if comparison.is_on_gpu else ("peak_mb", "")
    memories.barh(names, [result.median(measure) / 1000 for result in paths], color="#666666")
    memories.set_xlabel(f"GB{whose} at its fullest")
    figure.suptitle(f"{comparison.bundle_name} on {comparison.case_id}, {comparison.n_threads} threads")
    with atomic_write(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
