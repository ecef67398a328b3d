"""`firstread keys`: the API keys of machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firstread.cli_options import Json, cli_settings
from worklist.errors import InvalidInput
from worklist.roles import Role

# ruff: noqa: PLC0415 - as in firstread.cli

keys = typer.Typer(no_args_is_help=True)


@keys.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The machine that the key is for.")],
    *,
    role: Annotated[Role, typer.Option(help="What it may do: see docs/security.md.")],
) -> None:
    """Make a key and print it, this once; the file keeps its digest alone."""
    from gateway.access.keys import make_key

    typer.echo(make_key(_file(), name, role))


@keys.command("list")
def listed(*, as_json: Json = False) -> None:
    """Show whose keys there are, and since when."""
    from firstread.tables import print_json
    from gateway.access.keys import read_keys

    holders = read_keys(_file())
    if as_json:
        print_json([{"name": one.name, "role": one.role, "made_at": one.made_at} for one in holders])
        return
    for one in holders:
        typer.echo(f"{one.name}: {one.role}, since {one.made_at}")


@keys.command("remove")
def remove(name: Annotated[str, typer.Argument(help="The machine whose key is good no longer.")]) -> None:
    """Have a key be good no longer, at once."""
    from gateway.access.keys import remove_key

    remove_key(_file(), name)
    typer.echo(f"{name} has no key any more")


def _file() -> Path:
    path = cli_settings().api_keys_file
    if path is None:
        raise InvalidInput("no_api_keys_file", "set FIRSTREAD_API_KEYS_FILE to the file that shall hold the keys")
    return path
