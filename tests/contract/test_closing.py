"""A database that is closed while somebody still uses it."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import event, select

from worklist.records import Database
from worklist.records.tables import StudyRow


def test_nothing_stays_open(database: Database) -> None:
    """What a thread has in hand then ends with its work, and so does what one opens that comes later."""
    another = Database(database.url.render_as_string(hide_password=False))
    opened: list[Any] = []
    event.listen(another.engine, "connect", lambda connection, _: opened.append(connection))
    event.listen(another.engine, "close", lambda connection, _: opened.remove(connection))
    began, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with another.read() as session:
            session.scalars(select(StudyRow)).all()
            began.set()
            may_end.wait(60)
            session.scalars(select(StudyRow)).all()

    worker = threading.Thread(target=work)
    worker.start()
    assert began.wait(60)
    with another.read() as session:
        session.scalars(select(StudyRow)).all()
    assert len(opened) == 2
    another.close()
    assert len(opened) == 1
    may_end.set()
    worker.join(60)
    assert not opened
    with another.write() as session:
        session.scalars(select(StudyRow)).all()
        assert len(opened) == 1
    assert not opened
