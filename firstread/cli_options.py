"""What several commands share: the settings, and options that mean the same everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from firstread.settings import Settings

# Of one that cannot be read among many a line is told, as below a folder.
Films = Annotated[list[Path], typer.Argument(help="DICOM, PNG or JPEG files, or folders of them.", readable=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]


def cli_settings() -> Settings:
    """The settings; a line on stderr for each variable of an earlier version that is still set."""
    from firstread.settings import read_settings  # noqa: PLC0415 - pydantic takes a third of the time of --help

    settings, warnings = read_settings()
    for line in warnings:
        sys.stderr.write(f"firstread: warning: {line}\n")
    return settings
