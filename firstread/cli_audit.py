"""`firstread audit`: whether the audit trail is whole, and who saw which patient."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from firstread.cli_options import Json, cli_settings
from worklist.errors import PermanentError

# ruff: noqa: PLC0415 - as in firstread.cli

audit = typer.Typer(no_args_is_help=True)


@audit.command()
def verify() -> None:
    """Look at every entry of the audit trail; exit 1 where one was changed or taken out."""
    from firstread.audit import open_trail

    with open_trail(cli_settings()) as trail:
        verified = trail.verify()
    if verified.broken_at is not None:
        raise PermanentError(
            "audit_broken",
            f"entry {verified.broken_at} of the audit trail is not as it was written, or one before it is missing: "
            "keep the database as it is, and compare it with the audit repository and the backups",
        )
    typer.echo(f"{verified.entries} entries, each as it was written; the last one's digest is {verified.digest or '-'}")


@audit.command()
def report(
    whom: Annotated[str, typer.Argument(metavar="PATIENT_ID|STUDY_INSTANCE_UID")],
    *,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on.")] = None,
    as_json: Json = False,
) -> None:
    """Who saw, changed or was refused what of a patient or a study."""
    from firstread.audit import open_trail, print_entries

    with open_trail(cli_settings()) as trail:
        print_entries(trail, whom, since, as_json=as_json)
