"""What the shipped model is worth in minutes of waiting, by itself with `python -m bench.simulation`, as Markdown.

The default department with the validation films in FILMS, judged by the product; then the site's choices, one at a
time, there and in a room that is busier; then other models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import fmean

from bench.embedded import UNMEASURED
from bench.figures import Figure
from bench.order import judged_films
from models.evaluation.films import FINDINGS
from models.evaluation.shipped import scorer_card, shipped_aucs
from models.training.judge import Judged
from worklist.card import ScorerCard
from worklist.finding import FindingType
from worklist.simulation.comparison import ALL, FLAGGED, MISSED, SICK, Comparison, Spread, compare, spread
from worklist.simulation.department import Department
from worklist.simulation.films import DrawnFilms, LabelledFilm
from worklist.simulation.judging import Judge
from worklist.simulation.judging import Judged as JudgedStudy
from worklist.simulation.orders import Order, queue_of
from worklist.simulation.roc import Roc
from worklist.simulation.room import wait_times
from worklist.simulation.scenario import USUAL_PREVALENCE, Scenario, made_up_films, supposing
from worklist.simulation.staffing import read_staffing
from worklist.triage import Urgency

TABLE = "The default department, simulated"

_SEEDS = 20
_CHOICE_SEEDS = 10
_PNEUMOTHORAX, _EFFUSION = FindingType.PNEUMOTHORAX.key, FindingType.PLEURAL_EFFUSION.key
_GROUPS = {
    ALL: "All",
    SICK: "Any finding",
    _PNEUMOTHORAX: "Pneumothorax",
    _EFFUSION: "Pleural effusion",
    MISSED: "A finding, no flag",
    FLAGGED: "An AI flag",
}
_BUSY_SHIFTS = "mon-fri 08-17 1, sat-sun 08-17 1"
_KEYS = tuple(kind.key for kind in FINDINGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """A department and what it is called."""

    name: str
    department: Department


def rooms() -> tuple[Room, Room]:
    """The default department, and one whose readers have a tenth of their hours to spare."""
    usual = Department()
    busy = replace(
        usual, staffing=read_staffing(_BUSY_SHIFTS), reading=replace(usual.reading, mean_min=4.0, sick_min=4.0)
    )
    return Room(name="default", department=usual), Room(name="busy", department=busy)


def drawn(films: Sequence[Judged], *, usual_prevalence: bool) -> DrawnFilms:
    """Judged films to draw from, as labelled or as frequent as in all of ChestX-ray14."""
    return DrawnFilms(
        films=tuple(
            LabelledFilm(
                present=frozenset(key for key in _KEYS if film.listed.label.truth[key]),
                probabilities=tuple((key, film.probability(key)) for key in _KEYS),
                patient=film.listed.label.patient or film.listed.label.file,
            )
            for film in films
        ),
        prevalence=dict(USUAL_PREVALENCE) if usual_prevalence else {},
    )


def made_up(card: ScorerCard, *, auc: float | None = None) -> Scenario:
    """Made-up films and the shipped model as it was measured, or one that sees every finding so well."""
    if auc is None:
        aucs = {key: area for key, area in shipped_aucs(card.sha256).items() if key in _KEYS}
    else:
        aucs, card = dict.fromkeys(_KEYS, auc), supposing(card, counted=_KEYS)
    films = made_up_films(card, {}, {key: Roc.of_auc(area) for key, area in aucs.items()})
    return Scenario(department=Department(), films=films, card=card, seeds=_SEEDS)


def measure_simulation() -> list[Figure]:
    """Minutes saved in the default department: of made-up films, and of the sharp validation films where they are."""
    scenarios = {"made-up films": made_up(scorer_card("embedded"))}
    if sharp := [film for film in judged_films() if film.is_sharp]:
        scenarios[f"{len(sharp)} films"] = replace(
            scenarios["made-up films"], films=drawn(sharp, usual_prevalence=True)
        )
    return [
        Figure(name=f"Wait saved, {title.lower()}, {name}", value=waits.saved.value, unit="min")
        for name, scenario in scenarios.items()
        for group, waits in compare(scenario, (Order.FIRSTREAD,)).waits[Order.FIRSTREAD].items()
        if (title := _GROUPS.get(group))
    ]


def orders_markdown(comparison: Comparison) -> str:
    """A row an order, the groups of interest one below another."""
    lines = ["| | Order | Mean | 95th percentile | Longest | Over 60 min | Saved |", "|---|---|---|---|---|---|---|"]
    for group, title in _GROUPS.items():
        for order, groups in comparison.waits.items():
            if group in groups:
                waits = groups[group]
                first = f"**{title}** ({waits.studies:,})" if order is Order.FIRST_COME else ""
                saved = "" if order is Order.FIRST_COME else _spread(waits.saved)
                cells = (_number(waits.mean), _number(waits.p95), f"{waits.longest:,.0f}", _percent(waits.late), saved)
                lines.append(f"| {first} | {order.label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def choices_markdown(scenario: Scenario) -> Iterator[str]:
    """What the shipped order does under other choices, a row a choice; all read the same studies."""
    groups: Mapping[str, Callable[[JudgedStudy], bool]] = {
        SICK: lambda each: bool(each.study.film.present),
        _PNEUMOTHORAX: lambda each: _PNEUMOTHORAX in each.study.film.present,
        _EFFUSION: lambda each: _EFFUSION in each.study.film.present,
        MISSED: lambda each: bool(each.study.film.present) and each.triage.urgency is Urgency.NONE,
    }
    heads = ("Flagged", "Weighted wait saved", *(f"{_GROUPS[group]}, saved" for group in groups), "Longest")
    yield f"| | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|"
    runs = [scenario.department.studies(scenario.films, seed) for seed in range(1, _CHOICE_SEEDS + 1)]
    weights = {found.type.key: found.weight for found in scenario.card.findings}
    before: list[list[float]] = []
    for name, each in (("As shipped", scenario), *choices(scenario)):
        judge = Judge(each.card, each.site, each.films)
        saved: dict[str, list[float]] = {group: [] for group in groups}
        flagged, weighed, longest = [], [], 0.0
        for number, studies in enumerate(runs):
            judged = judge.judged(studies)
            if len(before) == number:
                before.append(_waits(each, judged, Order.FIRST_COME))
            waits = _waits(each, judged, Order.FIRSTREAD)
            counted = [index for index, one in enumerate(judged) if one.study.is_counted]
            gained = {index: (before[number][index] - waits[index]) / 60 for index in counted}
            for group, belongs in groups.items():
                saved[group].append(fmean(gained[index] for index in counted if belongs(judged[index])))
            flagged.append(fmean(judged[index].triage.urgency is not Urgency.NONE for index in counted))
            harms = {index: max((weights[key] for key in studies[index].film.present), default=0) for index in counted}
            weighed.append(sum(harm * gained[index] for index, harm in harms.items()) / sum(harms.values()))
            longest = max(longest, *(waits[index] / 60 for index in counted))
        row = (
            _percent(spread(flagged)),
            _spread(spread(weighed)),
            *(_spread(spread(saved[group])) for group in groups),
        )
        yield f"| {name} | {' | '.join(row)} | {longest:,.0f} |"


def _waits(scenario: Scenario, judged: Sequence[JudgedStudy], order: Order) -> list[float]:
    queue = queue_of(order, judged, scenario.site, scenario.longest_wait)
    return wait_times([each.study for each in judged], scenario.department.staffing, queue)


def choices(scenario: Scenario) -> Iterator[tuple[str, Scenario]]:
    """The site's choices, one at a time."""
    site = scenario.site
    for hours in (2, 4, 8, 24, 48):
        other = replace(site, horizon=timedelta(hours=hours), high_head_start=timedelta(hours=min(4, hours)))
        yield f"H {hours} h", replace(scenario, site=other)
    for steepness in (0.5, 1.0, 3.0, 6.0):
        yield f"k {steepness:g}", replace(scenario, site=replace(site, steepness=steepness))
    for minutes in (5, 60, 120, 240):
        other = replace(site, least_head_start=timedelta(minutes=minutes))
        yield f"least head start {minutes} min", replace(scenario, site=other)
    for name, weigh in _WEIGHTS.items():
        card = scenario.card
        weighed = tuple(replace(found, weight=weigh(found.type.key, found.weight)) for found in card.findings)
        yield f"weights: {name}", replace(scenario, card=replace(card, findings=weighed))
    for harm in (0.3, 0.2, 0.1):
        yield f"flagged from {harm:g}", replace(scenario, card=supposing(scenario.card, flag_from=harm))


_WEIGHTS: Mapping[str, Callable[[str, float], float]] = {
    "all 1": lambda _key, _weight: 1.0,
    "effusion 1": lambda key, weight: 1.0 if key == _EFFUSION else weight,
    "effusion 0.6": lambda key, weight: 0.6 if key == _EFFUSION else weight,
    "cardiomegaly 0.8": lambda key, weight: 0.8 if key == FindingType.CARDIOMEGALY.key else weight,
}


def _number(spread: Spread) -> str:
    return f"{spread.value:.0f}"


def _percent(spread: Spread) -> str:
    return f"{100 * spread.value:.0f} %"


def _spread(spread: Spread) -> str:
    return f"{spread.value:z.1f} ({spread.low:z.1f} to {spread.high:z.1f})"


def main() -> None:
    """Print the tables of docs/simulation.md, or some of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="of the tables; all where none is named")
    chosen = parser.parse_args().parts or _PARTS
    films = judged_films()
    if not films:
        sys.exit(UNMEASURED)
    for part in chosen:
        _PARTS[part](films)


def _print_orders(films: Sequence[Judged]) -> None:
    usual = made_up(scorer_card("embedded"))
    for is_sharp, size in ((True, "512 px"), (False, "128 px")):
        chosen = [film for film in films if film.is_sharp is is_sharp]
        scenario = replace(usual, films=drawn(chosen, usual_prevalence=True))
        print(f"\n### {len(chosen)} films of {size}\n\n{orders_markdown(compare(scenario))}", flush=True)
    print(f"\n### Made-up films\n\n{orders_markdown(compare(usual))}", flush=True)


def _print_choices(films: Sequence[Judged], room: Room) -> None:
    blurred = [film for film in films if not film.is_sharp]
    scenario = replace(made_up(scorer_card("embedded")), films=drawn(blurred, usual_prevalence=True))
    print(f"\n### Choices, {room.name} room, {len(blurred)} films of 128 px\n")
    for line in choices_markdown(replace(scenario, department=room.department)):
        print(line, flush=True)


def _print_models(films: Sequence[Judged]) -> None:
    del films
    for auc in (0.8, 0.9):
        found = compare(replace(made_up(scorer_card("embedded"), auc=auc), seeds=_CHOICE_SEEDS))
        print(f"\n### A model with an AUC of {auc:g} for each finding\n\n{orders_markdown(found)}", flush=True)


_PARTS: Mapping[str, Callable[[Sequence[Judged]], None]] = {
    "orders": _print_orders,
    "choices": lambda films: _print_choices(films, rooms()[0]),
    "busy": lambda films: _print_choices(films, rooms()[1]),
    "models": _print_models,
}


if __name__ == "__main__":
    main()
