"""The states of a Unified Procedure Step: every pair of PS3.4 Table CC.1.1-2, and every one of a reading."""

from __future__ import annotations

from itertools import product

import pytest

from worklist.procedure_step import STEP_TRANSITIONS, ProcedureStepEvent, ProcedureStepState, Status

# The table as the standard prints it: no step yet, SCHEDULED, IN PROGRESS, COMPLETED, CANCELED. A word is the state
# that follows, a code is what the step answers instead.
TABLE = {
    "create": ("SCHEDULED", "0111", "0111", "0111", "0111"),
    "start, owned": ("C307", "IN PROGRESS", "C302", "C300", "C300"),
    "start, foreign": ("C307", "C301", "C301", "C301", "C301"),
    "schedule": ("C307", "C303", "C303", "C303", "C303"),
    "complete, owned": ("C307", "C310", "COMPLETED", "B306", "C300"),
    "complete, foreign": ("C307", "C301", "C301", "C301", "C301"),
    "request cancel": ("C307", "CANCELED", "IN PROGRESS", "C311", "B304"),
    "cancel, owned": ("C307", "C310", "CANCELED", "C300", "B304"),
    "cancel, foreign": ("C307", "C301", "C301", "C301", "C301"),
}
STATES = (None, *ProcedureStepState)


@pytest.mark.parametrize(("event", "state"), list(product(ProcedureStepEvent, STATES)))
def test_every_event_in_every_state(event: ProcedureStepEvent, state: ProcedureStepState | None) -> None:
    """Each of the 45 pairs leads to the state, or to the status code, that the standard gives."""
    outcome = STEP_TRANSITIONS[state, event]
    assert outcome == TABLE[event.value][STATES.index(state)]
    assert isinstance(outcome, ProcedureStepState) == (outcome in set(ProcedureStepState))


def test_there_are_45_pairs_and_10_codes() -> None:
    """Nothing is missing, and no code stands there that the table does not use."""
    assert len(STEP_TRANSITIONS) == 45 == sum(map(len, TABLE.values()))
    assert {outcome for outcome in STEP_TRANSITIONS.values() if isinstance(outcome, Status)} == set(Status)
