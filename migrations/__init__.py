"""Alembic: the database's history, and the way to its present shape."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from worklist.records import Database


def configure(database: Database) -> Config:
    """Alembic's configuration for a database, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database"] = database
    return config


def upgrade(database: Database) -> None:
    """Bring a database to the newest revision; safe to run from several processes at once."""
    command.upgrade(configure(database), "head")


def revisions(database: Database) -> tuple[str | None, str | None]:
    """The database's revision and the newest one; equal where nothing is to be done."""
    current = None
    if not (database.is_sqlite and not Path(database.url.database or "").exists()):  # looking must not create the file
        with database.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory.from_config(configure(database)).get_current_head()
