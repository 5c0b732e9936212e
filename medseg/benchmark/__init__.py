"""medseg measured against MONAI's stock path: same bundle, weights, scan and machine, each in a fresh process.

In: a bundle and one case. Out: a ``Comparison`` of whole processes run in turn, with medians and ratios.
"""

from medseg.benchmark.compare import Comparison, PathResult, compare
from medseg.benchmark.measure import ProcessRun
from medseg.benchmark.picture import draw_comparison

__all__ = ["Comparison", "PathResult", "ProcessRun", "compare", "draw_comparison"]
