"""Whether the database has the tables of this version, and how it gets them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

import migrations
from firstread.compose import open_database
from firstread.settings import Settings
from worklist.errors import PermanentError, TransientError
from worklist.records import Worklist


def require_current_database(settings: Settings) -> None:
    """Make sure that the tables are those of this version.

    Raises:
        PermanentError: they are not.
        TransientError: the database does not answer.
    """
    database = open_database(settings)
    try:
        current, newest = migrations.revisions(database)
    except OperationalError as error:
        raise TransientError(
            "database_unavailable", f"the database does not answer ({error.orig}): check FIRSTREAD_DATABASE_URL"
        ) from error
    finally:
        database.close()
    if current != newest:
        raise PermanentError(
            "database_outdated",
            f"the database {migrations.what_to_do(current, newest)}",
        )


def upgrade_database(settings: Settings) -> Iterator[str]:
    """Bring the database to the newest revision; a line for each that was applied, and one for what is there now.

    Raises:
        InvalidInput: the URL cannot be understood.
        PermanentError: it was made by a newer version.
    """
    database = open_database(settings)
    before, newest = migrations.revisions(database)
    if migrations.is_newer(before, newest):
        database.close()
        raise PermanentError("database_newer", f"the database {migrations.what_to_do(before, newest)}")
    started = time.monotonic()
    migrations.upgrade(database)
    took_s = time.monotonic() - started
    scripts = ScriptDirectory.from_config(migrations.configure(database))
    applied = [script for script in scripts.iterate_revisions("head", before or "base") if script.revision != before]
    for script in reversed(applied):
        yield f"applied {script.revision}: {script.doc}"
    current, counts = migrations.revisions(database)[0], Worklist(database, settings.site_rules).counts()
    did = f"upgraded from {before or 'nothing'} in {took_s:.1f} s" if applied else "nothing was to be done"
    yield (
        f"the database is at revision {current}, {did}; "
        f"{counts.listed} studies are to be read, {counts.priors} are taken for priors"
    )
    database.close()
