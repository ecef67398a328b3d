"""What a worker's process does with a task whose database fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from worker.heartbeat import Heartbeat
from worker.tasks import Service, build_worker
from worklist.job import Queue

FULL = OperationalError("UPDATE studies SET patient_name = ?", {"patient_name": "Doe^Jane"}, Exception("disk\nfull"))


class Outcomes:
    """What each task comes to, one after the other."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self._left: Iterator[Exception | None] = iter(outcomes)

    def __call__(self, _: str) -> None:
        """One task."""
        if outcome := next(self._left):
            raise outcome


def test_a_database_that_fails_is_told_in_a_line_and_once() -> None:
    """However many tasks it costs, the log has a line when it begins and one when it is over, and no values."""
    outcomes = Outcomes(FULL, FULL, None, None, FULL)
    heartbeat = Heartbeat(cast("Any", None), [], lambda: True)
    heartbeat.start = lambda: None  # type: ignore[method-assign] # there is no database to tell
    app = build_worker("memory://", {Queue.SCORE: Service(build=lambda: outcomes, time_limit_s=60)}, lambda: heartbeat)
    with capture_logs() as told:
        for _ in range(5):
            app.tasks[Queue.SCORE.task]("1")
    assert [(line["log_level"], line.get("error")) for line in told] == [
        ("warning", "disk full"),
        ("info", None),
        ("warning", "disk full"),
    ]


def test_whatever_else_fails_is_raised() -> None:
    """A fault of ours is Celery's to tell, with its place."""
    heartbeat = Heartbeat(cast("Any", None), [], lambda: True)
    heartbeat.start = lambda: None  # type: ignore[method-assign] # the same
    service = Service(build=lambda: Outcomes(ValueError("a fault")), time_limit_s=60)
    app = build_worker("memory://", {Queue.SCORE: service}, lambda: heartbeat)
    with pytest.raises(ValueError, match="a fault"):
        app.tasks[Queue.SCORE.task]("1")
