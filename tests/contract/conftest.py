"""The records of one empty database, once on SQLite and once on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.records import Clock, MakeAnalysis, Records
from worklist.records import Database


@pytest.fixture
def records(database: Database, clock: Clock, make_analysis: MakeAnalysis) -> Records:
    """All sides of the records."""
    return Records(database=database, clock=clock, make_analysis=make_analysis)
