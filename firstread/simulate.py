"""The command `simulate`: a reading room under several orders, printed as JSON or as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from firstread.settings import Settings
from firstread.tables import print_json
from models.evaluation.cells import finding_of
from models.evaluation.drawn import judged_films
from models.evaluation.films import URGENT
from models.evaluation.prevalence import read_prevalences
from models.evaluation.shipped import scorer_card, shipped_aucs, shipped_card
from worklist.card import ScorerCard
from worklist.errors import InvalidInput
from worklist.simulation.arrivals import StatedArrivals, read_arrivals
from worklist.simulation.comparison import Comparison, Spread, Waits, compare, group_titles
from worklist.simulation.department import Department, ReadingTimes, usual_arrivals
from worklist.simulation.films import Films
from worklist.simulation.orders import Order
from worklist.simulation.roc import Roc
from worklist.simulation.scenario import Scenario, made_up_films, supposing
from worklist.simulation.staffing import read_staffing


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What a user may choose of a simulation; None leaves what the default department has.

    Attributes:
        arrivals: CSV of times of arrival.
        predictions, labels: files that `firstread evaluate` reads, from which films are drawn.
        prevalence: FINDING=SHARE each.
        roc: FINDING=AUC or FINDING=SENSITIVITY/SPECIFICITY each; the finding then counts.
        readers: shifts.
        films_per_day, reading_min, stat_percent, days, seeds, longest_wait_h, flag_from: numbers.
    """

    arrivals: Path | None = None
    predictions: Path | None = None
    labels: Path | None = None
    prevalence: Sequence[str] = ()
    roc: Sequence[str] = ()
    readers: str | None = None
    films_per_day: float | None = None
    reading_min: float | None = None
    stat_percent: float | None = None
    days: int | None = None
    seeds: int | None = None
    longest_wait_h: float | None = None
    flag_from: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """A scenario, what it comes to, and what a reader must know of its films."""

    scenario: Scenario
    comparison: Comparison
    notes: tuple[str, ...]


def simulate(wishes: Wishes, settings: Settings, plots: Path | None = None) -> Simulated:
    """Run the scenario that a user wishes.

    Args:
        wishes: what differs from the default department.
        settings: the site's choices of the triage rule, and its scorer.
        plots: folder for pictures; None draws none.

    Raises:
        InvalidInput: a wish cannot be met, or more arrives than can be read.
    """
    if plots:
        from models.evaluation.wait_plots import save_wait_plots  # noqa: PLC0415 - of an extra
    scenario, notes = _scenario(wishes, settings)
    result = Simulated(scenario=scenario, comparison=compare(scenario), notes=notes)
    if plots:
        save_wait_plots(
            result.comparison, group_titles(result.scenario.films.findings), " ".join(_lines(result)[:1]), plots
        )
    return result


def print_simulation(result: Simulated, *, as_json: bool) -> None:
    """What a scenario comes to, as JSON or as tables."""
    if as_json:
        print_json(_as_json(result))
        return
    console = Console()
    for line in _lines(result):
        console.print(escape(line), highlight=False)
    for group, title in group_titles(result.scenario.films.findings).items():
        if group in next(iter(result.comparison.waits.values())):
            console.print(_table(result.comparison, group, title))


def _scenario(wishes: Wishes, settings: Settings) -> tuple[Scenario, tuple[str, ...]]:
    prevalence = read_prevalences(wishes.prevalence)
    if URGENT in prevalence:
        raise InvalidInput("bad_prevalence", "name the finding whose prevalence it is, such as pneumothorax=0.02")
    if wishes.predictions and wishes.roc:
        raise InvalidInput("bad_usage", "--roc makes films up and --predictions draws them: choose one")
    if wishes.labels and not wishes.predictions:
        raise InvalidInput("bad_usage", "--labels says what is true of the films of --predictions: name both")
    try:
        if wishes.predictions:
            films, card, notes = _drawn(wishes.predictions, wishes.labels, prevalence, settings)
        else:
            films, card, notes = _made_up(wishes.roc, prevalence, settings)
        scenario = Scenario(
            department=_department(wishes),
            films=films,
            card=supposing(card, flag_from=wishes.flag_from),
            site=settings.site_rules.triage,
        )
        if wishes.seeds is not None:
            scenario = replace(scenario, seeds=wishes.seeds)
        if wishes.longest_wait_h is not None:
            scenario = replace(scenario, longest_wait=timedelta(hours=wishes.longest_wait_h))
    except ValueError as error:
        raise InvalidInput("bad_usage", str(error)) from error
    return scenario, notes


def _department(wishes: Wishes) -> Department:
    usual = Department()
    if wishes.arrivals is not None:
        if wishes.films_per_day is not None or wishes.days is not None:
            raise InvalidInput("bad_usage", "--arrivals says when films come: leave --films-per-day and --days out")
        return _staffed(replace(usual, arrivals=_read_arrivals(wishes.arrivals)), wishes)
    if wishes.films_per_day is not None:
        usual = replace(usual, arrivals=usual_arrivals(wishes.films_per_day))
    if wishes.days is not None:
        usual = replace(usual, days=wishes.days)
    return _staffed(usual, wishes)


def _staffed(department: Department, wishes: Wishes) -> Department:
    if wishes.readers is not None:
        department = replace(department, staffing=read_staffing(wishes.readers))
    if wishes.reading_min is not None:
        reading = ReadingTimes(mean_min=wishes.reading_min, sick_min=wishes.reading_min)
        department = replace(department, reading=reading)
    if wishes.stat_percent is not None:
        department = replace(department, stat_share=wishes.stat_percent / 100)
    return department


def _read_arrivals(path: Path) -> StatedArrivals:
    try:
        return read_arrivals(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("unreadable_file", f"{path} is no readable text file ({error}): choose another") from error


def _made_up(
    rocs: Sequence[str], prevalence: Mapping[str, float], settings: Settings
) -> tuple[Films, ScorerCard, tuple[str, ...]]:
    card = scorer_card(settings.scorer, settings.model_dir)
    stated = dict(_roc(text) for text in rocs)
    measured = {key: Roc.of_auc(auc) for key, auc in shipped_aucs(card.sha256).items() if key != URGENT}
    notes = [f"Films are made up; {card.name} {card.version} is taken to be calibrated, its findings to be independent"]
    if stated:
        notes.append(f"Supposed, not measured: how well it sees {', '.join(stated)}")
    films = made_up_films(card, prevalence, measured | stated)
    return films, supposing(card, counted=stated), tuple(notes)


def _drawn(
    predictions: Path, labels: Path | None, prevalence: Mapping[str, float], settings: Settings
) -> tuple[Films, ScorerCard, tuple[str, ...]]:
    judged = judged_films(predictions, labels, prevalence)
    notes = [f"Films are drawn from {len(judged.films.films)} of {predictions}, patients weighed anew for each seed"]
    if judged.left_out:
        notes.append(f"Left out, for want of a prediction or a label: {judged.left_out}")
    if labels is None:
        notes.append("No labels: what films show is drawn by their probabilities, which takes the model at its word")
    card = shipped_card(judged.sha256)
    if card is None:
        card = supposing(scorer_card(settings.scorer, settings.model_dir), counted=judged.films.findings)
        notes.append(f"No card of this model ships: that of {card.name} is taken, with every finding of the file")
    return judged.films, card, tuple(notes)


def _roc(text: str) -> tuple[str, Roc]:
    """`pneumothorax=0.9` is an AUC, `pneumothorax=0.9/0.95` sensitivity and specificity."""
    name, _, figures = text.partition("=")
    key = finding_of(name.strip()) or name.strip().lower().replace(" ", "_")
    try:
        numbers = [float(figure) for figure in figures.split("/")]
        return key, Roc.of_auc(*numbers) if len(numbers) == 1 else Roc.at(*numbers)
    except (ValueError, TypeError) as error:
        hint = "write pneumothorax=0.9 for an AUC, or pneumothorax=0.85/0.95 for sensitivity and specificity"
        raise InvalidInput("bad_roc", f"--roc {text}: {hint} ({error})") from error


def _lines(result: Simulated) -> list[str]:
    scenario, comparison = result.scenario, result.comparison
    department, site = scenario.department, scenario.site
    arrivals = department.arrivals
    come = (
        f"{len(arrivals.at_s)} films at the times of the file"
        if isinstance(arrivals, StatedArrivals)
        else f"{arrivals.per_day:g} films a day, {department.days} days"
    )
    reading = department.reading
    return [
        f"{come}, {reading.mean_min:g} min a reading, utilisation {comparison.utilisation:.2f}, {scenario.seeds} seeds",
        *result.notes,
        f"Flagged from a harm of {comparison.flag_from:.3f}: {100 * comparison.flagged.value:.1f} % of studies",
        f"H {_hours(site.horizon)}, k {site.steepness:g}, least head start {_hours(site.least_head_start)}",
        f"Longest wait of the order by score: {_hours(scenario.longest_wait)}",
        "Waits in minutes, from arrival until the reading begins; in brackets the 95 % interval over the seeds",
    ]


def _table(comparison: Comparison, group: str, title: str) -> Table:
    studies = next(iter(comparison.waits.values()))[group].studies
    table = Table(
        title=f"{title}: {studies} studies",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", min_width=29)
    for heading in ("Mean", "95th pct.", "Worst", "Over 60", "Saved"):
        table.add_column(heading, justify="right")
    for order, groups in comparison.waits.items():
        waits = groups[group]
        late = f"{100 * waits.late.value:.0f} %"
        saved = "" if order is Order.FIRST_COME else _minutes(waits.saved)
        table.add_row(
            order.label, f"{waits.mean.value:.0f}", f"{waits.p95.value:.0f}", f"{waits.longest:.0f}", late, saved
        )
    return table


def _minutes(spread: Spread) -> str:
    return escape(f"{spread.value:z.1f} [{spread.low:z.1f},{spread.high:z.1f}]")


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"


def _as_json(result: Simulated) -> dict[str, Any]:
    scenario, comparison = result.scenario, result.comparison
    return {
        "notes": list(result.notes),
        "seeds": scenario.seeds,
        "utilisation": comparison.utilisation,
        "flag_from": comparison.flag_from,
        "flagged": asdict(comparison.flagged),
        "horizon_h": scenario.site.horizon / timedelta(hours=1),
        "steepness": scenario.site.steepness,
        "least_head_start_min": scenario.site.least_head_start / timedelta(minutes=1),
        "longest_wait_h": scenario.longest_wait / timedelta(hours=1),
        "orders": {
            order: {
                "label": order.label,
                "weighted_wait_min": asdict(comparison.harm[order]),
                "groups": {group: _waits_json(waits) for group, waits in groups.items()},
            }
            for order, groups in comparison.waits.items()
        },
    }


def _waits_json(waits: Waits) -> dict[str, Any]:
    return {
        "studies": waits.studies,
        "mean_min": asdict(waits.mean),
        "p95_min": asdict(waits.p95),
        "worst_min": asdict(waits.worst),
        "longest_min": waits.longest,
        "over_60_min": asdict(waits.late),
        "saved_min": asdict(waits.saved),
    }
