"""What the page /simulate lets one choose, as data: each field with its bounds, and the scenario they make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from worklist.card import FindingCard, ScorerCard
from worklist.errors import InvalidInput
from worklist.simulation.department import COOL_DOWN_DAYS, DEFAULT_SHIFTS, Department, ReadingTimes, usual_arrivals
from worklist.simulation.roc import Roc
from worklist.simulation.scenario import LEAST_SEEDS, USUAL_PREVALENCE, Scenario, made_up_films
from worklist.simulation.staffing import read_staffing
from worklist.triage import TriagePolicy

MOST_FILMS = 60_000  # of all runs together: a few seconds of one core
LONGEST_SHIFTS = 400  # letters

_SUPPOSED_AUC = 0.8  # of a finding that nobody measured
_SUPPOSED_PREVALENCE = 0.03
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A number that may be chosen.

    Attributes:
        name: in the address.
        label: what it is called, with its unit.
        usual: where nothing is chosen.
        least, most: its bounds.
    """

    name: str
    label: str
    usual: float
    least: float
    most: float

    def read(self, chosen: Mapping[str, str]) -> float:
        """The number chosen, or the usual one.

        Raises:
            InvalidInput: bad_choice, it is no number or out of its bounds.
        """
        text = chosen.get(self.name, "").strip()
        try:
            number = float(text.replace(",", ".")) if text else self.usual
        except ValueError:
            number = math.nan
        if not self.least <= number <= self.most:  # a NaN never is
            raise InvalidInput(
                "bad_choice", f"{self.label}: {text[:40]!r} is no number from {self.least:g} to {self.most:g}"
            )
        return number

    def shown(self, chosen: Mapping[str, str]) -> str:
        """What stands in the field: what was typed, else the usual."""
        return chosen.get(self.name, f"{self.usual:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingFields:
    """What may be chosen of a finding: how often it is, how well it is seen, its weight, and whether it counts."""

    key: str
    label: str
    prevalence: Field
    auc: Field
    weight: Field
    counts_name: str
    counts: bool
    is_measured: bool

    def is_counted(self, chosen: Mapping[str, str]) -> bool:
        """Whether the triage rule looks at it. A form sends nothing of an empty box, so it says that it was sent."""
        return self.counts_name in chosen if "run" in chosen else self.counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """All fields, as a model and a site make them."""

    room: tuple[Field, ...]
    rule: tuple[Field, ...]
    findings: tuple[FindingFields, ...]
    policy: TriagePolicy

    @classmethod
    def of(cls, policy: TriagePolicy, aucs: Mapping[str, float]) -> Form:
        """The form for a triage policy.

        Args:
            policy: in force, or what would be.
            aucs: measured of its model, by finding, as far as they are known.
        """
        site = policy.site
        return cls(
            room=(
                Field(name="films_per_day", label="Films a day", usual=120, least=1, most=2000),
                Field(name="reading_min", label="Reading, minutes", usual=5, least=0.1, most=120),
                Field(name="stat_percent", label="STAT orders, %", usual=0, least=0, most=50),
                Field(name="days", label="Days that count", usual=28, least=1, most=180),
            ),
            rule=(
                Field(name="horizon_h", label="H, hours", usual=site.horizon / _HOUR, least=0, most=168),
                Field(name="steepness", label="k", usual=site.steepness, least=0.1, most=10),
                Field(
                    name="least_head_start_min",
                    label="Least head start, minutes",
                    usual=60 * (site.least_head_start / _HOUR),
                    least=1,
                    most=1440,
                ),
                Field(
                    name="flag_from", label="Flagged from a harm of", usual=policy.card.flag_from, least=0.01, most=0.99
                ),
                Field(
                    name="alert_budget_percent",
                    label="Alert budget, %",
                    usual=round(100 * site.alert_budget, 6),
                    least=0.1,
                    most=100,
                ),
                Field(
                    name="longest_wait_h",
                    label="Longest wait of the order by score, hours",
                    usual=4,
                    least=0.1,
                    most=168,
                ),
            ),
            findings=tuple(_finding_fields(found, aucs) for found in policy.card.findings),
            policy=policy,
        )

    def shifts(self, chosen: Mapping[str, str]) -> str:
        """The shifts as they were typed."""
        return chosen.get("readers", DEFAULT_SHIFTS.replace(", ", "\n"))

    def scenario(self, chosen: Mapping[str, str]) -> Scenario:
        """What is to be simulated.

        Raises:
            InvalidInput: a choice is none, two contradict each other, or it would take too long.
        """
        numbers = {field.name: field.read(chosen) for field in (*self.room, *self.rule)}
        shifts = self.shifts(chosen)
        if len(shifts) > LONGEST_SHIFTS:
            raise InvalidInput("bad_shift", f"the shifts take more than {LONGEST_SHIFTS} letters: write fewer")
        days = int(numbers["days"])
        films = numbers["films_per_day"] * (days + 2 * COOL_DOWN_DAYS) * LEAST_SEEDS
        if films > MOST_FILMS:
            most = int(MOST_FILMS / LEAST_SEEDS / numbers["films_per_day"]) - 2 * COOL_DOWN_DAYS
            advice = f"count at most {most} days" if most > 0 else "firstread simulate on the command line takes more"
            raise InvalidInput("too_much", f"{films:,.0f} films in {LEAST_SEEDS} runs are too many here: {advice}")
        try:
            card = self._card(chosen, numbers["flag_from"])
            department = Department(
                arrivals=usual_arrivals(numbers["films_per_day"]),
                staffing=read_staffing(shifts),
                reading=ReadingTimes(mean_min=numbers["reading_min"], sick_min=numbers["reading_min"]),
                stat_share=numbers["stat_percent"] / 100,
                days=days,
                warm_up_days=COOL_DOWN_DAYS,
            )
            horizon = numbers["horizon_h"] * _HOUR
            return Scenario(
                department=department,
                films=made_up_films(
                    card,
                    {each.key: each.prevalence.read(chosen) / 100 for each in self.findings},
                    {each.key: Roc.of_auc(each.auc.read(chosen)) for each in self.findings},
                ),
                card=card,
                site=replace(
                    self.policy.site,
                    horizon=horizon,
                    steepness=numbers["steepness"],
                    least_head_start=timedelta(minutes=numbers["least_head_start_min"]),
                    high_head_start=min(self.policy.site.high_head_start, horizon),
                    alert_budget=numbers["alert_budget_percent"] / 100,
                    weights=None,  # the card has them
                ),
                longest_wait=numbers["longest_wait_h"] * _HOUR,
            )
        except ValueError as error:
            raise InvalidInput("bad_choice", str(error)) from error

    def _card(self, chosen: Mapping[str, str], flag_from: float) -> ScorerCard:
        card = self.policy.card
        if not any(each.is_counted(chosen) and each.weight.read(chosen) > 0 for each in self.findings):
            raise InvalidInput("nothing_counts", "no finding counts: tick at least one whose weight is above 0")
        return replace(
            card,
            flag_from=flag_from,
            findings=tuple(
                replace(found, weight=fields.weight.read(chosen), is_shown=fields.is_counted(chosen))
                for found, fields in zip(card.findings, self.findings, strict=True)
            ),
        )


def _finding_fields(found: FindingCard, aucs: Mapping[str, float]) -> FindingFields:
    key, label = found.type.key, found.type.label
    share = 100 * USUAL_PREVALENCE.get(key, _SUPPOSED_PREVALENCE)
    return FindingFields(
        key=key,
        label=label,
        prevalence=Field(
            name=f"prevalence_{key}", label=f"{label}, films with it, %", usual=round(share, 6), least=0.01, most=90
        ),
        auc=Field(
            name=f"auc_{key}",
            label=f"{label}, AUC",
            usual=round(aucs.get(key, _SUPPOSED_AUC), 3),
            least=0.5,
            most=0.999,
        ),
        weight=Field(name=f"weight_{key}", label=f"{label}, weight", usual=found.weight, least=0, most=1),
        counts_name=f"counts_{key}",
        counts=found.is_shown,
        is_measured=key in aucs,
    )
