"""What of the records is seen by whoever sees some sites, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import exists, func, literal, select
from sqlalchemy.orm import Session, aliased

from tests.records import Clock, MakeAnalysis, Records, received
from worklist.records import Database
from worklist.records.seen import tables
from worklist.records.tables import EventRow, InstanceRow, JobRow, StudyRow, WorkitemRow
from worklist.sight import Sight, seeing

NORTH, SOUTH = Sight(institutions=frozenset({"north"})), Sight(institutions=frozenset({"south"}))
BOTH, NONE = Sight(institutions=frozenset({"north", "south"})), Sight(institutions=frozenset())
OTHER = aliased(StudyRow, name="other")
JOINED = aliased(InstanceRow, name="joined")


@pytest.fixture
def records(database: Database, clock: Clock, make_analysis: MakeAnalysis) -> Records:
    """A study of each site, one of neither, and one of a version that kept no institution."""
    records = Records(database, clock, make_analysis)
    for study, institution in (("1.1", "north"), ("1.2", "south"), ("1.3", "west"), ("1.4", "")):
        records.ingest(received(study, institution=institution))
    with database.write() as session:
        row = session.get(StudyRow, "o1.4")
        assert row
        row.institution = None
    return records


QUESTIONS: dict[str, Callable[[Session], Any]] = {
    "rows": lambda session: {row.orthanc_id for row in session.scalars(select(StudyRow))},
    "a column": lambda session: set(session.scalars(select(StudyRow.orthanc_id))),
    "an alias": lambda session: set(session.scalars(select(OTHER.orthanc_id))),
    "by key": lambda session: {one for one in ("o1.1", "o1.2", "o1.3", "o1.4") if session.get(StudyRow, one)},
    "for update": lambda session: set(session.scalars(select(StudyRow.orthanc_id).with_for_update())),
    "of images": lambda session: set(session.scalars(select(InstanceRow.study_orthanc_id))),
    "of jobs": lambda session: set(session.scalars(select(JobRow.study_orthanc_id))),
    "of events": lambda session: set(session.scalars(select(EventRow.study_orthanc_id))),
    "an outer join": lambda session: set(
        session.scalars(select(OTHER.orthanc_id).outerjoin(StudyRow, literal(1) == 1).where(OTHER.orthanc_id != ""))
    ),
    "the right side of an outer join": lambda session: {
        one
        for (one,) in session.execute(
            select(OTHER.orthanc_id).select_from(StudyRow).outerjoin(OTHER, OTHER.orthanc_id != "")
        )
        if one
    },
    "an alias of images that is joined": lambda session: {
        one
        for (one,) in session.execute(
            select(JOINED.study_orthanc_id).select_from(StudyRow).outerjoin(JOINED, JOINED.sop_instance_uid != "")
        )
        if one
    },
    "a subquery": lambda session: set(session.scalars(select(select(StudyRow.orthanc_id).subquery().c.orthanc_id))),
    "a condition on another": lambda session: {
        one
        for one in ("o1.1", "o1.2", "o1.3", "o1.4")
        if session.scalar(select(literal(1)).where(exists().where(StudyRow.orthanc_id == one)))
    },
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_way_of_asking_is_held(records: Records, question: str) -> None:
    """Two sites in turn, both, none and all: each answer is theirs, whatever was asked before."""
    expected = {None: {"o1.1", "o1.2", "o1.3", "o1.4"}, NORTH: {"o1.1"}, SOUTH: {"o1.2"}, BOTH: {"o1.1", "o1.2"}}
    for seen in (NORTH, SOUTH, None, BOTH, NONE, SOUTH, NORTH):
        with seeing(seen), records.database.write() as session:
            assert QUESTIONS[question](session) == expected.get(seen, set()), seen
        with seeing(seen), records.database.read() as session:
            assert QUESTIONS[question](session) == expected.get(seen, set()), seen


def test_counts_and_places_are_those_of_the_sites(records: Records) -> None:
    """The second to arrive is the first of its own site, also right after all were counted."""
    for seen, places in ((None, [1, 2, 3, 4]), (SOUTH, [1]), (BOTH, [1, 2]), (None, [1, 2, 3, 4]), (NONE, [])):
        with seeing(seen):
            total, studies = records.worklist.page()
            assert (total, [one.rank for one in studies]) == (len(places), places)
            assert records.worklist.counts().listed == len(places)
            assert records.worklist.changed_after(0)[1:][1] == []
            assert len(records.worklist.changed_after(0)[1]) == len(places)


def test_workitems_of_others_are_nobodys(database: Database) -> None:
    """One of another system is told to who sees all."""
    with database.write() as session:
        now = database.now(session)
        made = {"transaction_uid": "", "document": "{}", "created_at": now, "updated_at": now}
        session.add(WorkitemRow(workitem_uid="1.2.3", state="SCHEDULED", **made))
    for seen, count in ((None, 1), (NORTH, 0), (NONE, 0)):
        with seeing(seen), database.read() as session:
            assert session.scalar(select(func.count()).select_from(WorkitemRow)) == count


def test_every_table_is_thought_of() -> None:
    """A table that is added is held by its study, or has been said to name none."""
    from worklist.records.seen import _OF_NO_STUDY  # noqa: PLC0415

    held = {row for row in tables() if "study_orthanc_id" in row.__table__.c}
    assert not held & _OF_NO_STUDY
    assert {*tables()} == held | _OF_NO_STUDY | {StudyRow, WorkitemRow}


def test_the_first_word_of_where_it_was_made_counts(records: Records) -> None:
    """No later film moves a study to another site; one that says it first does, and a study that comes back anew."""
    records.ingest(received("1.1", image="2", digest="b", institution="south"))
    records.ingest(received("1.4", image="2", digest="b", institution="south"))
    assert institutions(records) == {"o1.1": "north", "o1.2": "south", "o1.3": "west", "o1.4": "south"}
    records.intake.record_presence("o1.1", is_present=False)
    records.ingest(received("1.1", image="3", digest="c", institution="south"))
    assert institutions(records)["o1.1"] == "south"


def test_what_an_earlier_version_took_in_is_asked_later(records: Records) -> None:
    """Once, and what has been said meanwhile stays."""
    assert records.intake.without_institution(10) == ["o1.4"]
    records.intake.note_institutions({"o1.4": "north", "o1.2": "north"})
    assert institutions(records) == {"o1.1": "north", "o1.2": "south", "o1.3": "west", "o1.4": "north"}
    assert records.intake.without_institution(10) == []


def institutions(records: Records) -> dict[str, str | None]:
    """Where each study was made, as it is kept."""
    with records.database.read() as session:
        return {row.orthanc_id: row.institution for row in session.scalars(select(StudyRow))}
