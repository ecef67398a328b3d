"""The audit trail: only ever added to, and what was changed all the same is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.records import NOON, SECOND, Records, received
from worklist.audit import AuditEntry, AuditKind, Outcome, link
from worklist.records import AuditRecords

ENTRY = AuditEntry(
    at=NOON,
    kind=AuditKind.ACCESS,
    actor="Jörg",
    actor_source="session",
    roles=("radiologist",),
    address="10.1.2.3",
    study_instance_uid="1.2",
    detail={"method": "GET"},
)
CHANGES = [
    "UPDATE audit SET actor = 'Somebody else' WHERE number = 2",
    "UPDATE audit SET patient_id = '1' WHERE number = 2",
    "UPDATE audit SET outcome = 0 WHERE number = 2",
    "DELETE FROM audit WHERE number = 2",
    "DELETE FROM audit WHERE number = 1",
]


@pytest.fixture
def trail(records: Records) -> AuditRecords:
    """The trail of a site with one study, of which three entries tell."""
    records.ingest(received("1.2"))
    trail = AuditRecords(database=records.database)
    trail.append([ENTRY, replace(ENTRY, at=NOON + SECOND, outcome=Outcome.MINOR_FAILURE, kind=AuditKind.REFUSED)])
    trail.append([replace(ENTRY, at=NOON + 2 * SECOND, study_instance_uid="", detail={})])
    return trail


def test_entries_come_back_as_they_were_written(trail: AuditRecords) -> None:
    """In their order, each with the patient of its study, and bound to the one before it."""
    kept = list(trail.after(0))
    assert [one.number for one in kept] == [1, 2, 3]
    assert kept[0].entry == replace(ENTRY, patient_id="4711")
    assert (kept[1].entry.kind, kept[1].entry.outcome) == (AuditKind.REFUSED, Outcome.MINOR_FAILURE)
    assert (kept[2].entry.study_instance_uid, kept[2].entry.patient_id) == ("", "")
    assert kept[1].digest == link(kept[0].digest, kept[1].entry)
    assert [one.number for one in trail.after(1, 1)] == [2]
    assert [one.number for one in trail.concerning("4711")] == [1, 2]
    assert [one.number for one in trail.concerning("1.2", since=NOON + SECOND)] == [2]
    assert list(trail.concerning("1.3")) == []


def test_a_trail_that_nobody_touched_is_whole(trail: AuditRecords) -> None:
    """All entries, and the digest of the last, which somebody may note."""
    verified = trail.verify()
    assert (verified.entries, verified.broken_at) == (3, None)
    assert verified.digest == next(iter(trail.after(2))).digest


@pytest.mark.parametrize("change", CHANGES)
def test_the_database_itself_refuses_to_change_it(trail: AuditRecords, change: str) -> None:
    """By a trigger, whoever asks with the product's own login."""
    with pytest.raises(DBAPIError, match="only ever added to"), trail.database.write() as session:
        session.execute(text(change))
    assert trail.verify().broken_at is None


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_all_the_same_is_found(trail: AuditRecords, change: str) -> None:
    """By who owns the database and took the trigger away: at the entry, or where one is missing before it."""
    taken_away = (
        ["DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"]
        if trail.database.is_sqlite
        else ["SET LOCAL session_replication_role = replica"]
    )
    with trail.database.write() as session:
        for statement in taken_away:
            session.execute(text(statement))
        session.execute(text(change))
    assert trail.verify().broken_at == (1 if "= 1" in change and change.startswith("DELETE") else 2)


def test_what_no_database_and_no_message_can_hold_holds_up_nothing(trail: AuditRecords) -> None:
    """Control characters and halves of characters, which whoever asks can send, are kept as what they are not."""
    trail.append([replace(ENTRY, study_instance_uid="1.\x00", actor="\x1b[2J", detail={"path": "/\x00\ud800\uffff"})])
    entry = next(trail.after(3)).entry
    assert (entry.study_instance_uid, entry.actor) == ("1.\ufffd", "\ufffd[2J")
    assert entry.detail == {"path": "/\ufffd\ufffd\ufffd"}
    assert trail.verify().broken_at is None


def test_an_empty_trail_is_whole(records: Records) -> None:
    """Nothing has happened yet, and nothing is missing."""
    trail = AuditRecords(database=records.database)
    trail.append([])
    assert trail.verify().entries == trail.newest() == trail.told() == 0
