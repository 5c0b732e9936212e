"""What the labels of a case mean once a model has proposed some: kept with the edits, or they would come back nameless.

In: a label table, the nested regions, the model. Out: the same as JSON, in the autosave and beside a version.
"""

from medseg.labels import LabelTable
from medseg.record import UsedBundle
from medseg.review.edits import NestedRegions
from medseg.settings import Settings

__all__ = ["LabelMeaning"]


class LabelMeaning(Settings):
    """What values mean: their table, which of their regions lie in one another, and the model that made them."""

    label_table: LabelTable
    regions: NestedRegions | None = None
    bundle: UsedBundle | None = None
