"""GET /ready while a film is taken in."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import event

from gateway.health import Health
from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.feed import FEED
from gateway.intake.orthanc import OrthancClient
from gateway.room import Room
from tests.hospitals import Site, film
from tests.servers import OrthancServer
from worklist.records import Database, IntakeRecords


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_is_taken_in_meanwhile_is_a_change_or_a_job(
    orthanc: OrthancServer, database: Database, redis_url: str
) -> None:
    """Whoever waits for no change behind and no open job is not told so between the two."""
    with ExitStack() as stack:
        site = Site(orthanc, database, redis_url, stack)
        intake = site.intake()
        intake.look()
        health = Health(
            version="1",
            database=database,
            records=IntakeRecords(database, site.rules),
            jobs=site.jobs,
            dispatcher=Dispatcher(site.jobs, build_sender(redis_url)),
            orthanc=stack.enter_context(closing(OrthancClient(orthanc.url, auth=None))),
            intake=intake,
            room=Room(folders={"the database": Path(__file__)}, least_bytes=0),
        )
        site.send(film())

        taken: list[object] = []

        def take_in(*asked: object) -> None:
            is_asked = "FROM feeds" in str(asked[2]) and FEED in str(asked[3])  # up to which change they are read
            if is_asked and not taken:
                taken.append(asked)
                intake.look()

        event.listen(database.engine, "before_cursor_execute", take_in)
        told = health.readiness()
        assert taken
        assert (told.changes_behind is not None, told.open_jobs) == (True, 1)
