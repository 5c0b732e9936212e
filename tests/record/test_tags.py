"""Review states and the tags of a data store: one table, both ways."""

import pytest

from medseg.record import STATE_OF_TAG, TAG_OF_STATE, state_of, tag_of
from medseg.review.states import CASE_STATES


def test_every_review_state_has_a_tag_and_comes_back_from_it():
    assert set(TAG_OF_STATE) == set(CASE_STATES)
    assert [STATE_OF_TAG[tag_of(state)] for state in CASE_STATES] == list(CASE_STATES)


@pytest.mark.parametrize(
    ("tags", "state"), [((), "new"), (("original",), "new"), (("original", "final"), "accepted"), (("other",), "new")]
)
def test_the_strongest_tag_decides(tags, state):
    assert state_of(tags) == state
