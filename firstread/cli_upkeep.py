"""The commands that keep an installation whole: what failed, backup and recovery, the database's revision."""

from __future__ import annotations

from pathlib import Path
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


@upkeep.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="The file, or a folder for one with the time.")],
) -> None:
    """Copy the database while everything runs, and check the copy."""
    from firstread.backup import back_up

    typer.echo(back_up(cli_settings(), target))


@upkeep.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What firstread backup wrote.")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="What the database holds now is lost.")] = False,
) -> None:
    """Put a backup in place of the database; gateway and workers must be stopped."""
    from firstread.restore import restore_backup

    for line in restore_backup(cli_settings(), file, replace=replace):
        typer.echo(line)


@upkeep.command()
def rebuild() -> None:
    """Fill the database again from Orthanc alone; gateway and workers must be stopped."""
    from firstread.rebuild import rebuild_database

    for line in rebuild_database(cli_settings()):
        typer.echo(line)


@upkeep.command()
def retention(
    days: Annotated[
        int | None, typer.Option(min=1, help="Try this number instead of FIRSTREAD_RETENTION_DAYS.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what would leave the database for being read and old; removes nothing."""
    from firstread.retention import print_retention

    print_retention(cli_settings(), days, as_json=as_json)


@db.command()
def upgrade() -> None:
    """Bring the database to the newest revision, and say what was done."""
    from firstread.schema import upgrade_database

    for line in upgrade_database(cli_settings()):
        typer.echo(line)
