"""The commands that keep an installation whole: what failed, and the database's revision."""

from __future__ import annotations

from typing import Annotated

import typer

from firstread.cli_options import Json, cli_settings
from worklist.errors import InvalidInput

# ruff: noqa: PLC0415 - as in firstread.cli

upkeep = typer.Typer(no_args_is_help=True)
db = typer.Typer(no_args_is_help=True)
upkeep.add_typer(db, name="db", help="The database.")


@upkeep.command()
def failures(*, as_json: Json = False) -> None:
    """Show what failed, why, and what to do."""
    from firstread.failures import print_failures, read_failures

    print_failures(read_failures(cli_settings()), as_json=as_json)


@upkeep.command()
def retry(
    study_instance_uids: Annotated[
        list[str] | None, typer.Argument(help="Which studies; all failed ones if none.")
    ] = None,
) -> None:
    """Run failed jobs again."""
    from firstread.failures import retry_failures

    count = retry_failures(cli_settings(), study_instance_uids or [])
    if study_instance_uids and not count:
        raise InvalidInput("nothing_failed", "none of these studies has a failed job: see firstread failures")
    typer.echo(f"{count} failed job{'' if count == 1 else 's'} scheduled again")


@db.command()
def upgrade() -> None:
    """Bring the database to the newest revision, and say what was done."""
    from firstread.schema import upgrade_database

    for line in upgrade_database(cli_settings()):
        typer.echo(line)
