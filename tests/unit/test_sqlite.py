"""What is particular to SQLite."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from worklist.records import Database


def test_only_a_database_in_use_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody may write is told at once, and not after half a minute."""
    file = tmp_path / "firstread.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE empty (id)")

    sleep, here = time.sleep, threading.current_thread()

    def wait(seconds: float) -> None:
        assert threading.current_thread() is not here, "it is waited for"
        sleep(seconds)

    monkeypatch.setattr("worklist.records.database.time.sleep", wait)
    with (
        closing(Database(f"sqlite:///file:{file}?mode=ro&uri=true")) as database,
        pytest.raises(OperationalError, match="readonly"),
        database.read() as session,
    ):
        session.connection()
