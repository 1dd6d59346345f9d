"""Convergence: the stored state does not depend on the order in which changes arrive."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.record_state import RecordState
from tests.support.builders.changes import RUN, RUN_1, change

FIELDS = ("State", "OwnerId", "CurrentStepId", "ErrorMessage", "CompletionReason", "Custom__c")
values = st.dictionaries(
    st.sampled_from(FIELDS), st.sampled_from([None, "Running", "Processing", "x", "y"]), max_size=4
)
kinds = st.sampled_from(["CREATE", "UPDATE", "UPDATE", "UPDATE", "DELETE", "UNDELETE"])


@st.composite
def histories(draw):
    steps = draw(st.lists(st.tuples(kinds, values), min_size=1, max_size=8))
    history = []
    for commit, (kind, fields) in enumerate(steps, start=1):
        body = {} if kind == "DELETE" else fields
        history.append(((0, commit, 1), change(kind, RUN, RUN_1, body, commit=commit)))
    return history, draw(st.permutations(history))


def known(state: RecordState):
    return state.fields, state.image, state.deleted, state.announced


@given(histories())
def test_any_arrival_order_gives_the_state_of_in_order_arrival(history_and_shuffle):
    history, shuffled = history_and_shuffle
    in_order = shuffle = RecordState(RUN, RUN_1)
    for key, one in history:
        in_order = in_order.with_change(one, key)
    for key, one in shuffled:
        shuffle = shuffle.with_change(one, key)
    assert known(shuffle) == known(in_order)


@given(histories())
def test_what_is_stored_is_what_was_known(history_and_shuffle):
    state = RecordState(RUN, RUN_1)
    for key, one in history_and_shuffle[1]:
        state = state.with_change(one, key).with_highest_key(key, one.header.commit_ms)
    again = RecordState.decode(state.encode())
    assert known(again) == known(state)
    assert (again.highest_key, again.seen, again.entity, again.record_id) == (
        state.highest_key,
        state.seen,
        RUN,
        RUN_1,
    )


@given(histories())
def test_a_change_never_touches_the_state_it_was_applied_to(history_and_shuffle):
    state = RecordState(RUN, RUN_1)
    for key, one in history_and_shuffle[1]:
        before = state.encode()
        after = state.with_change(one, key)
        assert state.encode() == before
        state = after


def test_a_state_of_the_first_format_is_read():
    state = RecordState(RUN, RUN_1).with_fired("run.resume_due", 5)
    stored = orjson.loads(state.encode())
    first = orjson.dumps({**stored, "v": 1, "t": {"run.resume_due": 5}})
    assert RecordState.decode(first).fired == state.fired == {"run.resume_due": (5,)}
    assert RecordState.decode(first).encode() == state.encode()
