"""The commands of `firstread models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firstread.cli_options import Json, cli_settings

# Each command imports what it needs when it runs.
# ruff: noqa: PLC0415

models = typer.Typer(no_args_is_help=True)


@models.command("list")
def models_list(*, as_json: Json = False) -> None:
    """Show each model, and what of it is here."""
    from firstread.models_command import print_models

    print_models(cli_settings().model_dir, as_json=as_json)


@models.command()
def verify(name: Annotated[str, typer.Argument(help="Which; all that are here if left out.")] = "") -> None:
    """Hold every byte against the manifest."""
    from firstread.models_command import verify_models

    verify_models(cli_settings().model_dir, name)


@models.command()
def pin(
    name: Annotated[str, typer.Argument(help="Which model was downloaded.")],
    revision: Annotated[str, typer.Option(help="The hub's commit, where the download does not say it.")] = "",
) -> None:
    """Write the manifest of a download: from then on only these very files load."""
    from firstread.models_command import pin_model

    pin_model(cli_settings().model_dir, name, revision)


@models.command()
def export(
    name: Annotated[str, typer.Argument(help="medsiglip")] = "medsiglip",
    *,
    again: Annotated[bool, typer.Option("--again", help="Even where it is done: on another machine.")] = False,
) -> None:
    """Make what this CPU runs of MedSigLIP: embed the sentences, measure the candidates, keep the fastest."""
    from firstread.models_command import export_model

    export_model(cli_settings(), name, again=again)


@models.command()
def warm(name: Annotated[str, typer.Argument(help="Which model.")]) -> None:
    """Read a model into memory, and let it judge a simulated film."""
    from firstread.models_command import warm_model

    warm_model(cli_settings(), name)


@models.command()
def stand_in(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What FIRSTREAD_MODEL_DIR will name.")],
) -> None:
    """Make tiny random checkpoints, to try the wiring without licensed weights."""
    from firstread.models_command import make_stand_ins

    make_stand_ins(cli_settings(), folder)


@models.command()
def fit(
    films: Annotated[Path, typer.Argument(help="Folder of the site's films.")],
    labels: Annotated[Path, typer.Argument(help="What is true of them: CSV, see docs/fitting.md.")],
    out: Annotated[Path, typer.Argument(help="Folder for the new model and its card.")],
    *,
    as_json: Json = False,
) -> None:
    """Fit the shipped model's last layer to a site's own films, and measure what came of it."""
    from firstread.fit_command import fit_model

    fit_model(cli_settings(), films=films, labels=labels, out=out, as_json=as_json)
