"""The parts of the review that a person sees: layout and signals. The only room that knows Qt."""

from medseg.review.widgets.panel import ReviewPanel

__all__ = ["ReviewPanel"]
