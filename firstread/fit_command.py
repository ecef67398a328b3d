"""What `firstread models fit` prints: what was used, what became of each output, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import track

from firstread.settings import Settings
from firstread.tables import print_json
from models.evaluation.intervals import Estimate
from worklist.errors import ModelUnavailable


def fit_model(settings: Settings, *, films: Path, labels: Path, out: Path, as_json: bool) -> None:
    """Fit the shipped model's last layer to a site's films, and say what came of it.

    Args:
        settings: which images are in scope.
        films: folder of the films.
        labels: what is true of them.
        out: where the model goes.
        as_json: JSON alone instead of lines for people.

    Raises:
        ModelUnavailable: fitting_not_installed, the extra `fitting` is not there; or as fit_site.
        InvalidInput: as fit_site.
        PermanentError: as fit_site.
    """
    try:
        from models.fitting.fit import fit_site  # noqa: PLC0415 - it needs an extra
        from models.fitting.report import tell, verdict, write_card  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModelUnavailable(
            "fitting_not_installed", f"{error.name} is not installed: pip install 'firstread[fitting]'"
        ) from error
    model = fit_site(films=films, labels=labels, out=out, scope=settings.scope_rules, shown=_shown)
    told = tell(model)
    card = write_card(model, told)
    rows = [
        {
            "output": row.output.key,
            "became": row.became,
            "shipped": _json(row.area.old if row.area else None),
            "own": _json(row.area.new if row.area else None),
            "difference": _json(row.area.difference if row.area else None),
        }
        for row in told
    ]
    fitted = model.sidecar["fitted"]
    if as_json:
        print_json(
            {
                "folder": str(out),
                "version": model.card.version,
                "sha256": model.card.sha256,
                "fitted": fitted,
                "refused": dict(model.films.refused),
                "without_label": model.films.without_label,
                "without_film": list(model.films.without_film),
                "outputs": rows,
            }
        )
        return
    typer.echo(
        f"Taught by {fitted['n_teaching']} films of {fitted['n_teaching_patients']} patients, judged by "
        f"{fitted['n_judging']} of {fitted['n_judging_patients']} others"
    )
    if model.films.without_label:
        typer.echo(f"Files without a label: {model.films.without_label}")
    if model.films.without_film:
        typer.echo(f"Labels without a film: {len(model.films.without_film)} ({model.films.without_film[0]} ...)")
    for code, count in model.films.refused.most_common():
        typer.echo(f"Not used, {code.replace('_', ' ')}: {count}")
    for row in told:
        areas = f", AUC shipped {_words(row.area.old)}, now {_words(row.area.new)}" if row.area else ""
        typer.echo(f"{row.title}: {row.became}{areas}")
    typer.echo(verdict(told))
    typer.echo(f"{card}: read it, and let the model score beside the present one before it decides any order")


def _shown(files: Sequence[Path]) -> Iterable[Path]:
    console = Console(stderr=True)
    return track(files, "looking at films", console=console, transient=True, disable=not console.is_terminal)


def _json(estimate: Estimate | None) -> dict[str, Any] | None:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high} if estimate else None


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
