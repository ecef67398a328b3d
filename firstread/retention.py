"""What retention would remove from the database now, for a terminal or a script; it removes nothing itself."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import typer

from firstread.compose import open_database
from firstread.schema import require_current_database
from firstread.settings import Settings
from firstread.tables import print_json
from worklist.errors import InvalidInput
from worklist.records import Removed, RetentionRecords
from worklist.records.retention import day_of


def preview_retention(settings: Settings, days: int | None) -> tuple[int, Removed]:
    """After how many days, and what would go.

    Args:
        settings: the site's.
        days: to try, instead of the setting's.

    Raises:
        InvalidInput: retention_off, no days are set and none are given.
    """
    chosen = days or settings.retention_days
    if not chosen:
        raise InvalidInput(
            "retention_off", "FIRSTREAD_RETENTION_DAYS is 0, so nothing is removed: try a number with --days"
        )
    require_current_database(settings)
    with closing(open_database(settings)) as database:
        return chosen, RetentionRecords(database=database, keep_for=timedelta(days=chosen)).due()


def print_retention(settings: Settings, days: int | None, *, as_json: bool) -> None:
    """The preview, as JSON or in words."""
    chosen, due = preview_retention(settings, days)
    first, last = day_of(due.earliest), day_of(due.latest)
    if as_json:
        counts = {"studies": due.studies, "read": due.read, "priors": due.priors, "left_the_pacs": due.withdrawn}
        print_json({"days": chosen, **counts, "arrived_from": first or None, "arrived_to": last or None})
        return
    if not due.studies:
        typer.echo(f"Nothing is read, or a prior, and older than {chosen} days: nothing would go.")
        return
    kinds = f"{due.read:,} read, {due.priors:,} priors, {due.withdrawn:,} that left the PACS"
    count = f"{due.studies:,} studies" if due.studies > 1 else "1 study"
    typer.echo(f"After {chosen} days {count} would leave the database now: {kinds}; arrived from {first} to {last}.")
    typer.echo("Nothing leaves the PACS or the audit trail.")
