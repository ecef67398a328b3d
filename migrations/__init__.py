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


def is_newer(current: str | None, newest: str | None) -> bool:
    """Whether a database at one revision was made by a later version than this, whose newest is the other."""
    return bool(current and newest and current > newest)  # revisions are numbered


def what_to_do(current: str | None, newest: str | None) -> str:
    """What is wrong with a database at another revision than the newest, and what is to be done."""
    if is_newer(current, newest):
        return (
            f"is at revision {current}, of a newer Firstread than this one, which ends at {newest}: run that version, "
            "or restore the backup that was made before its upgrade"
        )
    return f"is at revision {current or 'none'}, not {newest}: run firstread db upgrade"
