"""`firstread restore`: a backup in place of the database, all of it or nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryFile

from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, OperationalError

import migrations
from firstread import postgres_programs
from firstread.backup import require_sound
from firstread.backup_file import Backup, open_backup, private
from firstread.compose import build_job_records, open_database
from firstread.schema import upgrade_database
from firstread.settings import Settings
from gateway.intake.feed import FEED
from worklist.errors import InvalidInput, PermanentError, TransientError
from worklist.records import Database, Lease, living_processes

_CHUNK = 1 << 20


def restore_backup(settings: Settings, file: Path, *, replace: bool) -> Iterator[str]:
    """Put a backup in place of the database and bring it to the newest revision; lines that say what was done.

    Args:
        settings: where the database is.
        file: what back_up wrote.
        replace: whether what the database holds may be lost.

    Raises:
        InvalidInput: no backup, a damaged one, one of another database or of a newer Firstread; not_empty, something
            would be lost, or is another program's.
        PermanentError: still_running; no_postgres_client.
        TransientError: database_unavailable.
    """
    backup = open_backup(file)
    with closing(open_database(settings)) as database:
        _require_fitting(backup, database)
        if database.is_sqlite:
            _restore_sqlite(backup, database, replace=replace)
        else:
            _restore_postgres(backup, database, replace=replace)
        yield f"restored {file}: {backup.manifest.words}"
        yield from upgrade_database(settings)
        build_job_records(settings, database).forget_enqueued()  # the broker knows nothing of what the copy waits for
    yield (
        "start gateway and workers: what Orthanc received since then is listed by itself; what people read since then "
        "is not known, and stands on the list again"
    )


def _require_fitting(backup: Backup, database: Database) -> None:
    kind = "sqlite" if database.is_sqlite else "postgresql"
    if backup.manifest.database != kind:
        raise InvalidInput(
            "other_database",
            f"{backup.path} is of {backup.manifest.database}, FIRSTREAD_DATABASE_URL names {kind}: make them the same",
        )
    known = {script.revision for script in ScriptDirectory.from_config(migrations.configure(database)).walk_revisions()}
    if backup.manifest.revision not in known:
        raise InvalidInput(
            "newer_backup",
            f"{backup.path} was made by Firstread {backup.manifest.firstread}, whose tables (revision "
            f"{backup.manifest.revision}) this version does not know: install that version",
        )


def _require_replaceable(database: Database, *, replace: bool) -> None:
    """Nobody works with the database, and it is empty or may be lost; from here on no gateway begins."""
    tables = set(inspect(database.engine).get_table_names())
    if tables and "alembic_version" not in tables:
        raise InvalidInput(
            "not_empty",
            f"the database holds {len(tables)} tables of another program: give Firstread a database of its own",
        )
    alive = living_processes(database) if "leases" in tables else []
    if alive:
        raise _still_running(", ".join(alive))
    if tables and not replace:
        _require_empty(database, tables)
    if "leases" in tables and not Lease(database, FEED).hold():
        raise _still_running("a gateway")


def _still_running(who: str) -> PermanentError:
    return PermanentError(
        "still_running",
        f"still running: {who}. Stop gateway and workers, everywhere; one that did not end by itself counts as "
        "running for half a minute",
    )


def _require_empty(database: Database, tables: set[str]) -> None:
    with database.read() as session:
        held = {
            table: session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - two of ours
            for table in ("studies", "policies")
            if table in tables
        }
    if any(held.values()):
        raise InvalidInput(
            "not_empty",
            f"the database holds {held.get('studies', 0):,} studies: --replace puts the backup in their place, "
            "and they are lost; firstread backup keeps them",
        )


def _restore_sqlite(backup: Backup, database: Database, *, replace: bool) -> None:
    place = Path(database.url.database or "")
    fresh = place.with_name(f".{place.name}.restoring")
    try:
        if place.exists():
            _vacate(place, database, replace=replace)
        fresh.unlink(missing_ok=True)
        with backup.copy() as source, private(fresh).open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        with closing(sqlite3.connect(fresh)) as connection:
            require_sound(connection)
        _give_to_owner(fresh, place)
        for beside in ("-wal", "-shm"):  # of a database that could not be opened
            place.with_name(f"{place.name}{beside}").unlink(missing_ok=True)
        fresh.replace(place)
    except OSError as error:
        raise InvalidInput("unwritable_file", f"{place} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _give_to_owner(fresh: Path, place: Path) -> None:
    """Root restores, and the gateway's own account reads: owner and mode are those of what is replaced."""
    replaced = place.stat() if place.exists() else None
    owner = replaced or place.parent.stat()
    with suppress(PermissionError):  # only root may give files away
        os.chown(fresh, owner.st_uid, owner.st_gid)
    if replaced:
        fresh.chmod(stat.S_IMODE(replaced.st_mode))


def _vacate(place: Path, database: Database, *, replace: bool) -> None:
    try:
        _require_replaceable(database, replace=replace)
    except DatabaseError as error:
        if not replace:
            raise InvalidInput(
                "not_empty", f"{place} is no readable database ({error.orig}): --replace puts the backup in its place"
            ) from error
        return
    finally:
        database.close()
    with closing(sqlite3.connect(place, timeout=1)) as connection, suppress(sqlite3.DatabaseError):
        try:
            connection.execute("PRAGMA journal_mode = DELETE")  # which nobody can do while another has it open
        except sqlite3.OperationalError as error:
            raise PermanentError(
                "still_running", f"a program has {place} open: stop gateway, workers and whatever else reads it"
            ) from error


def _restore_postgres(backup: Backup, database: Database, *, replace: bool) -> None:
    try:
        _require_replaceable(database, replace=replace)
        with database.read() as session:
            major = postgres_programs.server_version(session)
    except OperationalError as error:
        raise TransientError(
            "database_unavailable", f"the database does not answer ({error.orig}): check FIRSTREAD_DATABASE_URL"
        ) from error
    quote = database.engine.dialect.identifier_preparer.quote
    drops = [f"DROP TABLE {quote(table)} CASCADE;\n" for table in inspect(database.engine).get_table_names()]
    drops.append("DROP FUNCTION IF EXISTS audit_is_only_added_to();\n")
    database.close()
    unpack = [postgres_programs.find_program("pg_restore", major), "--no-owner", "--no-privileges", "--file=-"]
    psql = postgres_programs.find_program("psql", major)
    # In one transaction: until its end everybody sees what was there, and where it fails they go on seeing it.
    load = [psql, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", postgres_programs.address(database.url)]
    with TemporaryFile() as dump:
        with backup.copy() as source:
            shutil.copyfileobj(source, dump, _CHUNK)
        dump.seek(0)
        postgres_programs.pipe(unpack, load, database.url, stdin=dump, first="".join(drops).encode())
