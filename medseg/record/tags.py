"""What a label's tag in the data store says of its review, and the other way round.

A label in a MONAI Label data store has a tag; Slicer, OHIF and the server know ``original`` and ``final``. A review
has more states. One table translates, so that a case accepted in napari is ``final`` for Slicer::

    review state          tag             what the others make of it
    new                   original        a model's proposal, open to be labelled
    in_review             edited          work in progress: not learned from, still offered by active learning
    accepted              final           learned from, no longer offered
    rejected              rejected        kept to be looked at, not learned from, offered again
    needs_second_reader   second_reader   likewise
"""

from collections.abc import Collection

from medseg.record.journal import JournalAction

__all__ = ["ACTION_OF_TAG", "SHOWN_FIRST", "STATE_OF_TAG", "TAG_OF_STATE", "state_of", "tag_of"]

TAG_OF_STATE = {
    "new": "original",
    "in_review": "edited",
    "accepted": "final",
    "rejected": "rejected",
    "needs_second_reader": "second_reader",
}
"""The data store's tag for each review state."""

STATE_OF_TAG = {tag: state for state, tag in TAG_OF_STATE.items()}

ACTION_OF_TAG: dict[str, JournalAction] = {
    "final": "accept",
    "rejected": "reject",
    "second_reader": "second_reader",
}
"""What a person who saves a label with this tag has done; other tags decide nothing."""

PRECEDENCE = ("final", "rejected", "second_reader", "edited", "original")
"""The tag that decides where an image has labels with several."""

SHOWN_FIRST = ("final", "edited", "second_reader", "rejected", "original")
"""The label to look at where an image has several: what was accepted, else what was worked on last."""


def tag_of(state: str) -> str:
    """The tag of a review state; other states are kept under their own name."""
    return TAG_OF_STATE.get(state, state)


def state_of(tags: Collection[str]) -> str:
    """The review state of an image whose labels have these tags; without any it is ``new``."""
    return next((STATE_OF_TAG[tag] for tag in PRECEDENCE if tag in tags), "new")
