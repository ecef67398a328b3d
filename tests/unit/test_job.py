"""A job's states, from its events."""

from __future__ import annotations

from itertools import product

import pytest

from worklist.errors import PermanentError
from worklist.job import JOB_TRANSITIONS, OPEN_JOBS, JobEvent, Queue, next_state
from worklist.procedure_step import ProcedureStepState

# What follows on each event in SCHEDULED, IN PROGRESS, COMPLETED and CANCELED; None where it is illegal.
FOLLOWING = {
    JobEvent.CLAIM: ("IN PROGRESS", "IN PROGRESS", None, None),
    JobEvent.COMPLETE: (None, "COMPLETED", None, None),
    JobEvent.POSTPONE: (None, "SCHEDULED", None, None),
    JobEvent.FAIL: ("CANCELED", "CANCELED", None, None),
    JobEvent.RERUN: (None, None, None, "SCHEDULED"),
}


@pytest.mark.parametrize(("state", "event"), list(product(ProcedureStepState, JobEvent)))
def test_every_event_in_every_state(state: ProcedureStepState, event: JobEvent) -> None:
    """Each pair of state and event leads where the table says, or is refused by name."""
    following = FOLLOWING[event][list(ProcedureStepState).index(state)]
    if following:
        assert next_state(state, event) == following
    else:
        with pytest.raises(PermanentError, match=f"a job that is {state} cannot {event}") as refusal:
            next_state(state, event)
        assert refusal.value.code == "illegal_transition"
        assert (state, event) not in JOB_TRANSITIONS


def test_the_words_are_those_of_ups_and_queues_are_four() -> None:
    """Scoring, reporting, uploads and speech share no queue; open is what is neither done nor given up."""
    assert set(ProcedureStepState) == {"SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"}
    assert set(OPEN_JOBS) == {"SCHEDULED", "IN PROGRESS"}
    assert set(Queue) == {"score", "report", "predict", "dictate"}
