"""Sessions of browsers, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.records import Clock
from worklist.records import Database, LoginSession, SessionRecords
from worklist.records.tables import SessionRow
from worklist.roles import Role

ADA = LoginSession(name="ada", roles=frozenset({Role.RADIOLOGIST, Role.QA}))
IDLE, LONGEST = timedelta(hours=1), timedelta(hours=12)


@pytest.fixture
def sessions(database: Database) -> SessionRecords:
    """Sessions that last an hour without a request, and twelve in any case."""
    return SessionRecords(database=database, idle=IDLE, longest=LONGEST)


def test_a_session_is_found_by_its_secret_until_it_is_ended(sessions: SessionRecords, database: Database) -> None:
    """Name and roles come back; the database does not hold what the cookie does."""
    secret = sessions.begin(ADA.name, ADA.roles)
    assert sessions.find(secret) == ADA
    assert sessions.find(secret[:-1]) is None
    with database.read() as session:
        row = session.scalars(select(SessionRow)).one()
    assert secret not in (row.session_sha256, row.name, row.roles)
    sessions.end(secret)
    assert sessions.find(secret) is None


def test_sites_are_as_of_the_login(sessions: SessionRecords, database: Database) -> None:
    """What is seen comes back with the session; one by a version that knew of no sites sees none."""
    secret = sessions.begin("ada", ADA.roles, {"north", "south"})
    assert sessions.find(secret) == replace(ADA, sites=frozenset({"north", "south"}))
    with database.write() as session:
        session.scalars(select(SessionRow)).one().sites = None
    assert sessions.find(secret) == ADA


def test_a_session_ends_without_requests(sessions: SessionRecords, clock: Clock) -> None:
    """Each request gives it another hour, and an hour without one ends it for good."""
    secret = sessions.begin(ADA.name, ADA.roles)
    for _ in range(3):
        clock.forward(IDLE - timedelta(minutes=1))
        assert sessions.find(secret) == ADA
    clock.forward(IDLE - timedelta(minutes=1))
    assert sessions.find(secret, is_seen=False) == ADA  # a list that is merely open
    clock.forward(timedelta(minutes=2))
    assert sessions.find(secret) is None
    assert sessions.find(secret) is None


def test_a_session_ends_in_any_case(sessions: SessionRecords, clock: Clock) -> None:
    """However busy it is."""
    secret = sessions.begin(ADA.name, ADA.roles)
    for _ in range(23):
        clock.forward(timedelta(minutes=30))
        assert sessions.find(secret) == ADA
    clock.forward(timedelta(minutes=30))
    assert sessions.find(secret) is None


def test_what_has_ended_is_deleted(sessions: SessionRecords, database: Database, clock: Clock) -> None:
    """And what goes on is not."""
    sessions.begin(ADA.name, ADA.roles)
    clock.forward(IDLE)
    goes_on = sessions.begin("ben", ())
    sessions.sweep()
    with database.read() as session:
        assert [row.name for row in session.scalars(select(SessionRow))] == ["ben"]
    assert sessions.find(goes_on) == LoginSession(name="ben", roles=frozenset())


def test_a_role_that_only_a_later_version_knows_permits_nothing(sessions: SessionRecords, database: Database) -> None:
    """After a step back its holder has the other roles."""
    secret = sessions.begin(ADA.name, ADA.roles)
    with database.write() as session:
        session.scalars(select(SessionRow)).one().roles = "king qa"
    assert sessions.find(secret) == LoginSession(name="ada", roles=frozenset({Role.QA}))
