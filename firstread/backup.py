"""`firstread backup`: a copy of the database at one moment, made while everything runs, and read before it counts.

What is of the moment is left out: what POST /predict is asked, who is alive, and who is logged in.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import migrations
from firstread import postgres_programs
from firstread.backup_file import FORMAT, Manifest, digest_of, manifest_of, open_backup, private, write_backup
from firstread.compose import open_database
from firstread.settings import Settings
from worklist.errors import InvalidInput, PermanentError, TransientError
from worklist.records import Database

PASSING: Final = ("predictions", "leases", "sessions")
"""Tables whose rows are of the moment; the first refers to the second."""


def back_up(settings: Settings, target: Path) -> str:
    """Write a backup and check it; a line that says what was done.

    Args:
        settings: where the database is.
        target: the file, replaced once the new one is whole; or a folder for a file named by the time.

    Raises:
        InvalidInput: unwritable_file; not_a_backup, something else lies there.
        PermanentError: no_database; no_postgres_client; bad_copy, it is not what the database holds.
        TransientError: database_unavailable.
    """
    started = time.monotonic()
    now = datetime.now(UTC)
    try:
        path = target / f"firstread-{now:%Y%m%dT%H%M%SZ}.backup" if target.is_dir() else target
    except OSError as error:
        raise _unwritable(target, error) from error
    with closing(open_database(settings)) as database:
        partial, copy = (path.with_name(f".{path.name}.{part}") for part in ("part", "copy"))
        try:
            _require_place(path, database)
            for leftover in (partial, copy):
                leftover.unlink(missing_ok=True)
            manifest = _copy(database, private(copy), now)
            write_backup(partial, copy, manifest)
            open_backup(partial)
            partial.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            with suppress(OSError):  # where the folder is not there
                partial.unlink(missing_ok=True)
                copy.unlink(missing_ok=True)
    megabytes, took_s = path.stat().st_size / 1e6, time.monotonic() - started
    return f"backed up to {path}: {manifest.words}; {megabytes:.1f} MB in {took_s:.1f} s, checked"


def _unwritable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput("unwritable_file", f"{path} cannot be written: {error.strerror or error}")


def _require_place(path: Path, database: Database) -> None:
    if not path.exists():
        return
    own = Path(database.url.database or "")
    if database.is_sqlite and own.exists() and path.samefile(own):
        raise InvalidInput("not_a_backup", f"{path} is the database itself: name another file")
    try:
        manifest_of(path)
    except InvalidInput as error:
        raise InvalidInput("not_a_backup", f"{path} is no backup and is not replaced: name another file") from error


def _copy(database: Database, copy: Path, now: datetime) -> Manifest:
    try:
        revision, _ = migrations.revisions(database)
        if revision is None:
            raise PermanentError(
                "no_database", "there is nothing to back up: check FIRSTREAD_DATABASE_URL, or run firstread db upgrade"
            )
        copied = _copy_sqlite if database.is_sqlite else _copy_postgres
        counts = copied(database, copy)
    except OperationalError as error:
        raise TransientError(
            "database_unavailable", f"the database does not answer ({error.orig}): check FIRSTREAD_DATABASE_URL"
        ) from error
    with copy.open("rb") as stream:
        digest = digest_of(stream)
    return Manifest(
        format=FORMAT,
        firstread=version("firstread"),
        revision=revision,
        made_at=now.isoformat(timespec="seconds"),
        database="sqlite" if database.is_sqlite else "postgresql",
        counts=counts,
        sha256=digest,
    )


def _copy_sqlite(database: Database, copy: Path) -> dict[str, int]:
    try:
        with closing(sqlite3.connect(database.url.database or "", timeout=30)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))  # within one read transaction: of one moment
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            connection.execute("PRAGMA secure_delete = ON")
            erased = [
                connection.execute(f"DELETE FROM {table}").rowcount  # noqa: S608 - one of ours
                for table in PASSING
                if table in tables
            ]
            if any(erased):
                connection.execute("VACUUM")
            require_sound(connection)
            ours = [table for table in tables if not table.startswith("sqlite_") and table not in PASSING]
            return {
                table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608 - as it says
                for table in sorted(ours)
            }
    except sqlite3.Error as error:
        raise PermanentError(
            "bad_copy", f"SQLite cannot copy the database ({error}): is a disk full? The last backup stands"
        ) from error


def require_sound(connection: sqlite3.Connection) -> None:
    """Make sure that a database of SQLite is whole.

    Raises:
        PermanentError: bad_copy, it is not.
    """
    faults = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
    if faults != ["ok"] or connection.execute("PRAGMA foreign_key_check").fetchone():
        why = faults[0] if faults != ["ok"] else "rows refer to others that are not there"
        raise PermanentError("bad_copy", f"the copy is not sound ({why}): the database itself may be damaged")


def _copy_postgres(database: Database, copy: Path) -> dict[str, int]:
    with _snapshot(database) as (snapshot, major, counts):
        dump = postgres_programs.find_program("pg_dump", major)
        check = postgres_programs.find_program("pg_restore", major)
        left_out = [f"--exclude-table-data={table}" for table in PASSING]
        postgres_programs.run(
            [
                *(dump, "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", *left_out),
                *("--file", str(copy), "--dbname", postgres_programs.address(database.url)),
            ],
            database.url,
        )
    postgres_programs.run([check, "--file=/dev/null", str(copy)], database.url)  # reads and unpacks all of it
    return counts


@contextmanager
def _snapshot(database: Database) -> Iterator[tuple[str, int, dict[str, int]]]:
    """One moment that another connection can read too: its name, the server's version, and rows by table."""
    moment = database.engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(moment) as session, session.begin():
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        session.execute(text("SET LOCAL statement_timeout = 0"))
        name = session.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        tables = sorted(set(inspect(session.connection()).get_table_names()) - set(PASSING))
        counts = {
            table: session.execute(text(f'SELECT count(*) FROM "{table}"')).scalar_one()  # noqa: S608 - its own tables
            for table in tables
        }
        yield name, postgres_programs.server_version(session), counts
