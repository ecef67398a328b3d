"""Opening a study in an emergency, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.lists import NOTHING, FilledList, uid_of
from tests.records import Clock
from worklist.errors import InvalidInput, NotPermitted
from worklist.reading import Actor, ActorSource
from worklist.records import Database, OpeningRecords
from worklist.records.openings import LASTS
from worklist.roles import Role

TECH = Actor(name="Tom", source=ActorSource.SESSION, roles=frozenset({Role.TECHNOLOGIST}), address="10.1.2.3")
REASON = "Asked for by Dr Roe on the phone"


def test_it_ends_by_itself_and_is_kept(database: Database, clock: Clock) -> None:
    """Four hours, for one person by one way of logging in; in the study's history for good."""
    listed, openings = FilledList(database), OpeningRecords(database=database)
    listed.add(1, "Roe^Jane", findings=NOTHING)
    study = uid_of(1)
    assert not openings.is_open(TECH, study)
    openings.open(TECH, study, f"  {REASON}\n ")
    assert openings.is_open(TECH, study)
    assert not openings.is_open(replace(TECH, name="Tim"), study)
    assert not openings.is_open(replace(TECH, source=ActorSource.KEY), study)
    clock.forward(LASTS + timedelta(seconds=1))
    assert not openings.is_open(TECH, study)
    (kept,) = openings.of(study)
    assert (kept.by, kept.reason) == ("Tom", REASON)
    event = listed.readings.history(study)[-1]
    assert (event.kind, event.actor, event.detail) == (
        "opened in an emergency",
        "Tom",
        {"reason": REASON, "address": "10.1.2.3"},
    )


def test_no_reason_and_no_right_open_nothing(database: Database) -> None:
    """Nor does a study that is not there."""
    openings = OpeningRecords(database=database)
    for study, reason in ((uid_of(1), "now"), ("1.2.3.4", REASON)):
        with pytest.raises(InvalidInput):
            openings.open(TECH, study, reason)
    with pytest.raises(NotPermitted):
        openings.open(replace(TECH, roles=frozenset({Role.SERVICE})), uid_of(1), REASON)
