"""A simulated reading room: what the orders do to whom, and that runs are fair and can be repeated."""

# ruff: noqa: S311 - seeded, so that a test gives the same each time

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from math import isnan

import pytest

from tests.departments import DISEASE, always_open, card_of
from worklist.errors import InvalidInput
from worklist.finding import FindingType
from worklist.order import OrderPriority
from worklist.simulation.arrivals import StatedArrivals
from worklist.simulation.comparison import ALL, SICK, Comparison, compare
from worklist.simulation.department import Department, ReadingTimes, SimulatedStudy
from worklist.simulation.judging import Judge
from worklist.simulation.orders import Order, queue_of
from worklist.simulation.roc import Roc
from worklist.simulation.room import wait_times
from worklist.simulation.scenario import Scenario, made_up_films
from worklist.simulation.staffing import HOUR_S, read_staffing

pytestmark = pytest.mark.timeout(1800)  # many films, on a machine that may have much else to do

KINDS = tuple(
    map(
        FindingType.of,
        ("pneumothorax", "pleural_effusion", "consolidation", "pulmonary_edema", "atelectasis", "cardiomegaly", "mass"),
    )
)


def waits_of(scenario: Scenario, order: Order, seed: int = 1) -> list[float]:
    """The wait of each study of a seed, seconds."""
    studies = scenario.department.studies(scenario.films, seed)
    judged = Judge(scenario.card, scenario.site, scenario.films).judged(studies)
    return wait_times(studies, scenario.department.staffing, queue_of(order, judged, scenario.site, timedelta(hours=4)))


def hospital(auc: float = 0.9, seeds: int = 5) -> Scenario:
    """The default department with findings in descending order of urgency, seen equally well."""
    card = card_of(*KINDS, flag_from=0.05)
    shares = dict(zip((kind.key for kind in KINDS), (0.04, 0.15, 0.1, 0.08, 0.1, 0.15, 0.05), strict=True))
    films = made_up_films(card, shares, {key: Roc.of_auc(auc) for key in shares})
    site = replace(always_open(0.5, days=1).site, horizon=timedelta(hours=16), least_head_start=timedelta(minutes=30))
    return Scenario(department=Department(), films=films, card=card, site=site, seeds=seeds)


def test_order_by_score_shortens_the_mean_and_lengthens_the_worst() -> None:
    """As in Baltruschat 2021: a pneumothorax is read sooner on average, the last one much later, a limit mends that."""
    found = compare(hospital(), (Order.FIRST_COME, Order.SCORE, Order.SCORE_CAPPED, Order.FIRSTREAD))
    waits = {order: groups[DISEASE.key] for order, groups in found.waits.items()}
    assert waits[Order.SCORE].saved.low > 0
    assert waits[Order.SCORE].longest > waits[Order.SCORE_CAPPED].longest
    assert waits[Order.SCORE].longest > waits[Order.FIRST_COME].longest
    everybody = {order: groups[ALL] for order, groups in found.waits.items()}
    assert everybody[Order.SCORE].longest > 1.5 * everybody[Order.FIRST_COME].longest
    assert everybody[Order.SCORE_CAPPED].longest < everybody[Order.SCORE].longest
    assert waits[Order.SCORE].mean.value < waits[Order.SCORE_CAPPED].mean.value < waits[Order.FIRST_COME].mean.value
    assert everybody[Order.FIRSTREAD].longest < everybody[Order.SCORE].longest
    assert waits[Order.FIRSTREAD].saved.low > 0


def test_the_shipped_order_lies_between_arrival_and_classes() -> None:
    """Without a head start it is first come, first served, and without a bound two classes, wait for wait."""
    classes = always_open(0.8, days=10)
    assert waits_of(classes, Order.FIRSTREAD) == pytest.approx(waits_of(classes, Order.CLASSES), nan_ok=True)
    none = replace(classes, site=replace(classes.site, horizon=timedelta(0)))
    assert waits_of(none, Order.FIRSTREAD) == pytest.approx(waits_of(none, Order.FIRST_COME), nan_ok=True)
    assert waits_of(none, Order.FIRSTREAD) != waits_of(none, Order.CLASSES)


def test_nobody_is_overtaken_by_a_study_that_came_more_than_h_later() -> None:
    """The bound of the shipped order, in a busy room: whoever is read first came at most H later."""
    scenario = always_open(0.95, days=5, horizon=timedelta(minutes=90))
    studies = scenario.department.studies(scenario.films, 1)
    waits = waits_of(scenario, Order.FIRSTREAD)
    read = sorted(
        (study.at_s + wait, study.at_s) for study, wait in zip(studies, waits, strict=True) if not isnan(wait)
    )
    latest, overtakings = 0.0, 0
    for _, at_s in read:
        assert latest - at_s <= 90 * 60
        overtakings += latest > at_s
        latest = max(latest, at_s)
    assert overtakings > 100, "studies do overtake"


def test_a_limit_on_the_wait_holds_where_the_room_can_hold_it() -> None:
    """By score with a longest wait, a study that has waited so long is next, and only STAT goes before it."""
    scenario = always_open(0.9, days=10, stat_share=0.1)
    studies = scenario.department.studies(scenario.films, 1)
    judged = Judge(scenario.card, scenario.site, scenario.films).judged(studies)
    queue = queue_of(Order.SCORE_CAPPED, judged, scenario.site, timedelta(minutes=30))
    waiting: list[int] = []
    rng, checked = random.Random(1), 0
    for index in range(500):
        queue.push(index)
        waiting.append(index)
        if rng.random() < 0.9:
            now_s = studies[index].at_s
            chosen = queue.pop(now_s)
            stat = [each for each in waiting if studies[each].order_priority is OrderPriority.STAT]
            if stat:
                assert chosen == stat[0] or judged[chosen].triage.harm > judged[stat[0]].triage.harm
            elif now_s - studies[waiting[0]].at_s > 30 * 60:
                assert chosen == waiting[0]
                checked += 1
            waiting.remove(chosen)
    assert len(queue) == len(waiting)
    assert checked


def test_all_orders_read_the_same_studies_and_work_alike() -> None:
    """The mean wait of all is that of arrival under any order, since no order knows how long a reading takes."""
    found = compare(always_open(0.7, days=60))
    means = [groups[ALL].mean.value for groups in found.waits.values()]
    assert max(means) < 1.04 * min(means)
    assert {groups[ALL].studies for groups in found.waits.values()} == {found.waits[Order.SCORE][ALL].studies}


def test_the_same_seeds_give_the_same_figures() -> None:
    """A comparison is repeated to the last digit, and one more order changes none of the others."""
    scenario = always_open(0.5, days=5)
    assert compare(scenario) == compare(scenario)
    alone = compare(scenario, (Order.SCORE,))
    assert alone.waits[Order.SCORE] == compare(scenario).waits[Order.SCORE]


def test_a_better_model_leaves_films_and_times_as_they_were() -> None:
    """Random numbers are shared: another ROC curve changes what is said of films, and nothing else."""
    good, poor = (_studies(hospital(auc)) for auc in (0.95, 0.6))
    assert [(each.at_s, each.reading_s, each.film.present) for each in good] == [
        (each.at_s, each.reading_s, each.film.present) for each in poor
    ]
    assert [each.film.probabilities for each in good] != [each.film.probabilities for each in poor]


def _studies(scenario: Scenario) -> list[SimulatedStudy]:
    return scenario.department.studies(scenario.films, 1)


def test_overload_is_refused_at_once() -> None:
    """More reading than readers is said with both figures, before anything is run."""
    with pytest.raises(InvalidInput, match=r"utilisation 1\.10.*grows without end") as refused:
        compare(always_open(1.1, days=3000))
    assert refused.value.code == "overload"


def test_a_room_is_read_by_its_shifts() -> None:
    """Nothing is begun outside the shifts, a reading that has begun is ended, and two readers read two at once."""
    department = Department(
        arrivals=StatedArrivals(at_s=(5 * HOUR_S, 6 * HOUR_S, 7 * HOUR_S, 30 * HOUR_S)),
        staffing=read_staffing("mon 08-09 2, tue 12-13 1"),
        reading=ReadingTimes(mean_min=90, sick_min=90, variation=0),
    )
    scenario = replace(always_open(0.5, days=1), department=department)
    waits = [wait / 3600 for wait in waits_of(scenario, Order.FIRST_COME)]
    assert waits == [3, 2, 29, 7 * 24 - 22], "the last one waits for the Monday after"


def test_intervals_hold_the_spread_between_seeds() -> None:
    """An interval lies around its figure, and that of the wait saved is narrow because the runs are paired."""
    found: Comparison = compare(hospital())
    for groups in found.waits.values():
        for waits in groups.values():
            for spread in (waits.mean, waits.p95, waits.worst, waits.late, waits.saved):
                assert spread.low <= spread.value <= spread.high
    sick = found.waits[Order.SCORE][SICK]
    assert sick.saved.high - sick.saved.low < sick.mean.high - sick.mean.low
