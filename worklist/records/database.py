"""The engine, and transactions on it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError, StatementError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from worklist.records.events import write_events
from worklist.records.seen import limit
from worklist.sight import sight

_BUSY_S = 30
_AGAIN_S = 0.02  # between two tries where it does not wait by itself
_STATEMENT_S = 60  # no statement of ours takes nearly as long, but for migrations, which lift the limit
_SILENT_S, _PROBE_S, _PROBES, _UNANSWERED_S = 10, 5, 3, 20  # so half a minute after a host is gone its locks are free
_LOOK_EVERY_S = 0.05  # SQLite tells nobody: one read of a counter in shared memory each time
_CHANNEL = "firstread_events"
_SLOW_LOOK_S = 1.0  # where PostgreSQL's notice was lost
_OF_THE_DATABASE = (OperationalError, ProgrammingError, InterfaceError)
_TOO_LARGE = "54"  # class of PostgreSQL's SQLSTATE: a value that is beyond its limits, such as those of an index


def is_of_the_database(error: Exception) -> bool:
    """Whether an error is a trouble of the database itself, which no single value makes."""
    if isinstance(error, StatementError) and str(getattr(error.orig, "sqlstate", "")).startswith(_TOO_LARGE):
        return False
    return isinstance(error, _OF_THE_DATABASE)


class Database:
    """SQLite in WAL mode, or PostgreSQL.

    Args:
        url: an SQLAlchemy URL; plain "postgresql://" is read as psycopg 3.
        clock: tells the moment within a transaction; the database's own clock where None.
    """

    def __init__(self, url: str, clock: Callable[[Session], datetime] | None = None) -> None:
        self._clock = clock or self._database_time
        parsed = make_url(url)
        if parsed.drivername in {"postgresql", "postgres"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url: URL = parsed
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        arguments = {"timeout": _BUSY_S} if self.is_sqlite else _patience(parsed)
        # Parameters are hidden because they hold patients' names, and errors are logged.
        self.engine = create_engine(
            parsed, connect_args=arguments, pool_pre_ping=not self.is_sqlite, hide_parameters=True
        )
        self._reading = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "handle_error", _hide_detail)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may write; SQLite takes its one write lock at once, so that none can fail half way."""
        with (
            self.engine.connect().execution_options(writes=True) as connection,
            Session(connection) as session,
            session.begin(),
        ):
            _hold_to_sight(session)
            yield session
            session.flush()
            if write_events(session, self.now, is_sqlite=self.is_sqlite) and not self.is_sqlite:
                session.execute(text(f"NOTIFY {_CHANNEL}"))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Only reads. SQLite reads it all as of one moment, PostgreSQL each statement as of its own.

        That is so in a transaction of PostgreSQL's usual isolation too, and one costs two ways there and back.
        """
        with Session(self._reading, expire_on_commit=False) as session, session.begin():
            _hold_to_sight(session)
            yield session

    def now(self, session: Session) -> datetime:
        """The present moment by the one clock that all processes share."""
        return self._clock(session)

    def _database_time(self, session: Session) -> datetime:
        if self.is_sqlite:
            return datetime.now(UTC)  # one host, one clock
        moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)

    def commits(self, should_stop: Callable[[], bool], gathered_s: float = 0.0) -> Iterator[None]:
        """Yields after each time that somebody committed events, this process included, until told to stop.

        It may yield once too often, never once too seldom: whoever waits asks for what is new by its sequence number.

        Args:
            should_stop: asked between two looks, at least once a second.
            gathered_s: how long to wait for further commits, which are then told as one.
        """
        if self.is_sqlite:
            return self._sqlite_commits(should_stop, gathered_s)
        return self._postgres_commits(should_stop, gathered_s)

    def _sqlite_commits(self, should_stop: Callable[[], bool], gathered_s: float) -> Iterator[None]:
        if self.url.database in {None, "", ":memory:"}:  # another connection would see another database
            while not should_stop():
                yield
                time.sleep(_SLOW_LOOK_S)
            return
        # data_version tells of the commits of all other connections, and this one commits nothing.
        with closing(sqlite3.connect(self.url.database or "", check_same_thread=False)) as connection:
            seen = None
            while not should_stop():
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != seen:
                    time.sleep(gathered_s)
                    seen = connection.execute("PRAGMA data_version").fetchone()[0]
                    yield
                time.sleep(_LOOK_EVERY_S)

    def _postgres_commits(self, should_stop: Callable[[], bool], gathered_s: float) -> Iterator[None]:
        import psycopg  # noqa: PLC0415 - 5 MB in each process, which SQLite has no need of

        address = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        patience: dict[str, Any] = _patience(self.url)
        while not should_stop():
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(address, autocommit=True, **patience) as connection,
            ):
                connection.execute(f"LISTEN {_CHANNEL}")
                while not should_stop():
                    yield
                    has_heard = bool(list(connection.notifies(timeout=_SLOW_LOOK_S, stop_after=1)))
                    if has_heard and gathered_s:
                        for _ in connection.notifies(timeout=gathered_s):
                            pass
                return
            time.sleep(_SLOW_LOOK_S)

    def close(self) -> None:
        """End every connection; one that somebody uses meanwhile or later ends when it is given back."""
        event.listen(self.engine, "checkin", _end)  # the pool that follows takes it over
        self.engine.dispose()


def _end(connection: object, entry: ConnectionPoolEntry) -> None:
    del connection
    entry.invalidate()


def _hold_to_sight(session: Session) -> None:
    seen = sight()
    if seen is not None:
        limit(session, seen)


def _patience(url: URL) -> dict[str, object]:
    """How a connection to PostgreSQL ends where the other side has vanished without a word, on both sides.

    What the URL says itself comes first.
    """
    options = {
        "statement_timeout": _STATEMENT_S * 1000,
        "idle_in_transaction_session_timeout": _STATEMENT_S * 1000,
        "tcp_keepalives_idle": _SILENT_S,
        "tcp_keepalives_interval": _PROBE_S,
        "tcp_keepalives_count": _PROBES,
        "tcp_user_timeout": _UNANSWERED_S * 1000,
    }
    arguments: dict[str, object] = {
        "connect_timeout": 5,
        "keepalives_idle": _SILENT_S,
        "keepalives_interval": _PROBE_S,
        "keepalives_count": _PROBES,
        "tcp_user_timeout": _UNANSWERED_S * 1000,
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
    }
    return {name: value for name, value in arguments.items() if name not in url.query}


def _prepare_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    del record
    connection.isolation_level = None  # the begin event below decides, not the driver
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _write_ahead(connection: sqlite3.Connection) -> None:
    # SQLite does not wait by itself where another process does the same to a new file at this moment.
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _hide_detail(context: ExceptionContext) -> None:
    # PostgreSQL adds "DETAIL: Failing row contains (...)", which holds a patient's name and gets logged.
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error and error.args and isinstance(error.args[0], str):
            error.args = (error.args[0].partition("\nDETAIL:")[0], *error.args[1:])
