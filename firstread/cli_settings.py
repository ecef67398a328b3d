"""The command `firstread settings`: what holds, what would, the change, and the history."""

from __future__ import annotations

from typing import Annotated

import typer

from firstread.cli_options import Json, cli_settings

# ruff: noqa: PLC0415 - as in firstread.cli

site_settings = typer.Typer(no_args_is_help=True)
_Values = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help='As in order_horizon_h=8 weights={"cardiomegaly":0.1}')
]


@site_settings.command()
def show(*, as_json: Json = False) -> None:
    """Show what holds now."""
    from firstread.site_settings import show_settings

    show_settings(cli_settings(), as_json=as_json)


@site_settings.command()
def preview(values: _Values, *, as_json: Json = False) -> None:
    """Show what the present list would look like; nothing is changed."""
    from firstread.site_settings import preview_settings

    preview_settings(cli_settings(), values, as_json=as_json)


@site_settings.command("set")
def change(
    values: _Values,
    *,
    why: Annotated[str, typer.Option(help="The reason, one line; it stands in the history.")],
    as_json: Json = False,
) -> None:
    """Change them, for the whole list and every process at once."""
    from firstread.site_settings import change_settings

    change_settings(cli_settings(), values, why, as_json=as_json)


@site_settings.command()
def history(*, as_json: Json = False) -> None:
    """Show who changed what when, and why."""
    from firstread.site_settings import show_history

    show_history(cli_settings(), as_json=as_json)
