"""Runs migrations on the database that `migrations.configure` was given, one process at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from worklist.records import Database
from worklist.records.tables import Base

_LOCK = 7_319_001  # advisory lock of this project's migrations on PostgreSQL


def run() -> None:
    """Run online; SQL scripts without a connection are not offered."""
    database: Database = context.config.attributes["database"]
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # years of studies take their time
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=database.is_sqlite,
            compare_type=True,
        )
        context.run_migrations()


run()
