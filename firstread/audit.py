"""The audit trail on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from firstread.compose import open_database
from firstread.failures import caller
from firstread.schema import require_current_database
from firstread.settings import Settings
from firstread.tables import cell, print_json
from worklist.audit import AuditEntry, AuditKind
from worklist.reading import ActorSource
from worklist.records import AuditRecords


@contextmanager
def open_trail(settings: Settings) -> Iterator[AuditRecords]:
    """The trail of the database that the settings name.

    Raises:
        PermanentError: database_outdated.
    """
    require_current_database(settings)
    database = open_database(settings)
    try:
        yield AuditRecords(database=database)
    finally:
        database.close()


def print_entries(trail: AuditRecords, whom: str, since: datetime | None, *, as_json: bool) -> None:
    """What there is about a patient or a study, the oldest first; that somebody asked is an entry too."""
    entries = [kept.entry for kept in trail.concerning(whom, since.astimezone(UTC) if since else None)]
    trail.append([_asked(whom)])
    if as_json:
        print_json([asdict(entry) | {"at": entry.at.isoformat(), "outcome": int(entry.outcome)} for entry in entries])
        return
    if not entries:
        Console(highlight=False).print(f"nothing is known of {cell(whom)}")
        return
    table = Table(box=None, pad_edge=False, highlight=False)
    for heading in ("When", "Who", "From", "What", "Study"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        how = "" if not entry.outcome else " (refused)"
        table.add_row(
            entry.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            cell(f"{entry.actor}{f' ({entry.actor_source})' if entry.actor_source else ''}"),
            cell(entry.address or "this machine"),
            f"{entry.kind.value}{how}",
            cell(entry.study_instance_uid),
        )
    Console().print(table)


def _asked(whom: str) -> AuditEntry:
    return AuditEntry(
        at=datetime.now(UTC),
        kind=AuditKind.EXPORT,
        actor=caller().name,
        actor_source=ActorSource.COMMAND_LINE,
        detail={"of the audit trail": whom},
    )
