"""Reading rooms for tests of the simulation, and the closed forms that they must come to."""

from __future__ import annotations

from datetime import timedelta

from worklist.card import FindingCard, ScorerCard
from worklist.finding import FindingType
from worklist.simulation.arrivals import RandomArrivals
from worklist.simulation.department import Department, ReadingTimes
from worklist.simulation.films import FindingModel, MadeUpFilms
from worklist.simulation.roc import Roc
from worklist.simulation.scenario import Scenario
from worklist.simulation.staffing import Staffing
from worklist.triage import SiteChoices

DISEASE = FindingType.PNEUMOTHORAX
PREVALENCE, SENSITIVITY, SPECIFICITY = 0.1, 0.9, 0.9
FLAGGED_SHARE = PREVALENCE * SENSITIVITY + (1 - PREVALENCE) * (1 - SPECIFICITY)
READING_MIN = 10.0


def card_of(*kinds: FindingType, flag_from: float = 0.3) -> ScorerCard:
    """A card on which these findings weigh 1, 0.5, 0.25 and so on."""
    return ScorerCard(
        name="test",
        version="1",
        sha256="0" * 64,
        findings=tuple(FindingCard(type=kind, weight=0.5**index) for index, kind in enumerate(kinds)),
        not_looked_for=(),
        flag_from=flag_from,
        reference="none",
        reference_harms=(0.0, 1.0),
    )


def always_open(  # noqa: PLR0913 - what a closed form depends on
    load: float,
    *,
    readers: int = 1,
    days: int,
    variation: float = 1.0,
    stat_share: float = 0.0,
    horizon: timedelta = timedelta(days=100_000),
) -> Scenario:
    """QuCAD's room: one disease, a model that says yes or no, arrivals and readers around the clock, 10 min a reading.

    Args:
        load: utilisation.
        readers: how many.
        days: that count.
        variation: of reading times.
        stat_share: share of STAT orders.
        horizon: H; without end, the shipped order is that of two classes.
    """
    per_day = load * readers * 24 * 60 / READING_MIN
    return Scenario(
        department=Department(
            arrivals=RandomArrivals(per_day=per_day),
            staffing=Staffing.always(readers),
            reading=ReadingTimes(mean_min=READING_MIN, sick_min=READING_MIN, variation=variation),
            stat_share=stat_share,
            days=days,
        ),
        films=MadeUpFilms(
            models=(FindingModel(key=DISEASE.key, prevalence=PREVALENCE, roc=Roc.at(SENSITIVITY, SPECIFICITY)),)
        ),
        card=card_of(DISEASE),
        site=SiteChoices(
            horizon=horizon,
            alert_budget=1,
            least_head_start=horizon / 2 if horizon else timedelta(minutes=30),
            high_head_start=timedelta(0),
        ),
    )


def cobham(loads: list[float], *, readers: int = 1, variation: float = 1.0) -> list[float]:
    """Mean waits of non-preemptive priority classes, minutes (Cobham, Operations Research 1954), most urgent first.

    Of one reader with any reading times, and of several with exponential ones.

    Args:
        loads: utilisation by each class.
        readers: how many.
        variation: of reading times, alike in all classes.
    """
    total = sum(loads)
    if readers == 1:
        residual = total * READING_MIN * (1 + variation**2) / 2
    else:
        residual = _erlang_c(readers, total) * READING_MIN / readers
    before, waits = 0.0, []
    for load in loads:
        waits.append(residual / ((1 - before) * (1 - before - load)))
        before += load
    return waits


def _erlang_c(readers: int, load: float) -> float:
    """The share of studies that find every reader busy."""
    offered, blocked = readers * load, 1.0
    for count in range(1, readers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - load + load * blocked)
