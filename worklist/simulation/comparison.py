"""The orders compared: the same studies, from several seeds, read under each, and what their waits come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from worklist.errors import InvalidInput
from worklist.finding import KNOWN_FINDINGS
from worklist.simulation.judging import Judge, Judged
from worklist.simulation.orders import Order, queue_of
from worklist.simulation.room import wait_times
from worklist.simulation.scenario import Scenario
from worklist.triage import Urgency

ALL, SICK, MISSED, WELL, FLAGGED = "all", "sick", "missed", "well", "flagged"
LATE_MIN = 60.0

_BEFORE = {ALL: "All studies", SICK: "Studies with any finding"}
_AFTER = {
    MISSED: "Studies with a finding and no AI flag",
    WELL: "Studies without any finding",
    FLAGGED: "Studies with an AI flag",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A figure over the seeds: its mean with the 95 % interval of Student's t."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Waits:
    """How long studies of a group waited under an order, minutes.

    Attributes:
        studies: how many, in all seeds.
        mean: the mean wait.
        p95: the 95th percentile.
        worst: the longest of each seed.
        longest: the longest of all.
        late: share that waited over an hour.
        saved: by how much the mean is shorter than first come, first served, study for study.
    """

    studies: int
    mean: Spread
    p95: Spread
    worst: Spread
    longest: float
    late: Spread
    saved: Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a scenario comes to.

    Attributes:
        utilisation: hours of reading beside hours of readers.
        flag_from: harm from which studies were flagged, the alert budget in it.
        flagged: share of the counted studies that were flagged.
        waits: by order and group: `all`, `sick` (any finding), `missed` (sick and not flagged), `well` (none),
            `flagged`, and each finding by its key. A group without a study in every seed is left out.
        harm: minutes of waiting of the sick, weighed by the highest weight of their findings, by order.
    """

    utilisation: float
    flag_from: float
    flagged: Spread
    waits: Mapping[Order, Mapping[str, Waits]]
    harm: Mapping[Order, Spread]


def compare(scenario: Scenario, orders: Sequence[Order] = tuple(Order)) -> Comparison:
    """Run a scenario under each order.

    Raises:
        InvalidInput: overload, more arrives than can be read; or no_studies, nothing arrives in the days that count.
    """
    department, films = scenario.department, scenario.films
    department.require_time_enough(films)
    judge = Judge(scenario.card, scenario.site, films)
    runs = [_run(scenario, judge, seed, orders) for seed in range(1, scenario.seeds + 1)]
    weights = {found.type.key: found.weight for found in judge.policy.card.findings}
    groups = list(_groups(films.findings))
    return Comparison(
        utilisation=department.utilisation(films),
        flag_from=judge.policy.flag_from,
        flagged=spread([run.flagged for run in runs]),
        waits={
            order: {
                group: _waits([(run.of(order, group), run.of(Order.FIRST_COME, group)) for run in runs])
                for group in groups
                if all(run.members[group] for run in runs)
            }
            for order in orders
        },
        harm={order: spread([run.harm(order, weights) for run in runs]) for order in orders},
    )


def group_titles(findings: Iterable[str]) -> dict[str, str]:
    """What groups are called, by group, in the order in which they are shown.

    Args:
        findings: keys of what films may have.
    """
    kinds = {key: KNOWN_FINDINGS[key].label if key in KNOWN_FINDINGS else key for key in findings}
    return _BEFORE | kinds | _AFTER


def spread(values: Sequence[float]) -> Spread:
    """The mean of a figure over seeds, and its interval."""
    mean = fmean(values)
    half = _student(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Spread(value=mean, low=mean - half, high=mean + half)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One seed: its counted studies, which of them are in each group, and how long they waited under each order."""

    judged: Sequence[Judged]
    members: Mapping[str, Sequence[int]]
    waits: Mapping[Order, Sequence[float]]

    def of(self, order: Order, group: str) -> list[float]:
        """The waits of a group, minutes."""
        return [self.waits[order][index] / 60 for index in self.members[group]]

    @property
    def flagged(self) -> float:
        """Share of the counted studies that are flagged."""
        counted = self.members[ALL]
        return sum(self.judged[index].triage.urgency is not Urgency.NONE for index in counted) / len(counted)

    def harm(self, order: Order, weights: Mapping[str, float]) -> float:
        """Weighted minutes of waiting of the sick, beside their weights."""
        total = weighed = 0.0
        for index in self.members[SICK]:
            weight = max(weights.get(key, 0.0) for key in self.judged[index].study.film.present)
            total += weight
            weighed += weight * self.waits[order][index] / 60
        return weighed / total if total else 0.0


def _run(scenario: Scenario, judge: Judge, seed: int, orders: Sequence[Order]) -> _Run:
    studies = scenario.department.studies(scenario.films, seed)
    judged = judge.judged(studies)
    members = {
        group: [index for index, each in enumerate(judged) if each.study.is_counted and belongs(each)]
        for group, belongs in _groups(scenario.films.findings).items()
    }
    if not members[ALL]:
        raise InvalidInput("no_studies", "no film arrives in the days that count: simulate more days, or more films")
    staffing = scenario.department.staffing
    return _Run(
        judged=judged,
        members=members,
        waits={
            order: wait_times(studies, staffing, queue_of(order, judged, scenario.site, scenario.longest_wait))
            for order in dict.fromkeys((Order.FIRST_COME, *orders))
        },
    )


def _groups(findings: Sequence[str]) -> dict[str, Callable[[Judged], bool]]:
    def having(key: str) -> Callable[[Judged], bool]:
        return lambda each: key in each.study.film.present

    return {
        ALL: lambda _: True,
        SICK: lambda each: bool(each.study.film.present),
        **{key: having(key) for key in findings},
        MISSED: lambda each: bool(each.study.film.present) and each.triage.urgency is Urgency.NONE,
        WELL: lambda each: not each.study.film.present,
        FLAGGED: lambda each: each.triage.urgency is not Urgency.NONE,
    }


def _waits(runs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Waits:
    """The figures of a group.

    Args:
        runs: of each seed the waits, and those under first come, first served, minutes.
    """
    worst = [max(waits) for waits, _ in runs]
    return Waits(
        studies=sum(len(waits) for waits, _ in runs),
        mean=spread([fmean(waits) for waits, _ in runs]),
        p95=spread([_percentile(waits, 0.95) for waits, _ in runs]),
        worst=spread(worst),
        longest=max(worst),
        late=spread([sum(wait > LATE_MIN for wait in waits) / len(waits) for waits, _ in runs]),
        saved=spread([fmean(before) - fmean(waits) for waits, before in runs]),
    )


def _percentile(values: Sequence[float], share: float) -> float:
    """A percentile, between neighbours by their distance."""
    rising = sorted(values)
    place = share * (len(rising) - 1)
    below = int(place)
    return rising[below] + (place - below) * (rising[min(below + 1, len(rising) - 1)] - rising[below])


def _student(freedom: int) -> float:
    """The 97.5th percentile of Student's t (Abramowitz and Stegun 26.7.5), right to 0.001 from 4 on."""
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))
