"""Reports on one segmentation: numbers for each label, and a picture for a person."""

from medseg.report.picture import draw_segmentation, write_picture
from medseg.report.statistics import LabelStatistics, label_statistics, write_statistics

__all__ = ["LabelStatistics", "draw_segmentation", "label_statistics", "write_picture", "write_statistics"]
