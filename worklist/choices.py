"""What a site may choose while everything runs: of the triage rule and of the scope, as a JSON document with a version.

Each value has the name and the unit of its environment setting, which is its start value until the first choice. The
harm from which a study is flagged and the thresholds by finding have none: they start as the scorer's card has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from worklist.card import FindingCard, ScorerCard
from worklist.errors import InvalidInput
from worklist.scope import ScopeRules
from worklist.triage import SiteChoices

VERSION: Final = 1
LONGEST_REASON: Final = 300  # characters
_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_A_YEAR_H = 366 * 24
_MOST_WORDS, _LONGEST_WORD = 100, 64
_MOST_NAMES = 10
_LARGEST = 1e9
_DIGITS = 9  # of percent: 0.07 is 7.000000000000001 hundredths


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Between what a number lies; is_open leaves the least one out."""

    least: float
    most: float
    is_open: bool = False

    def __str__(self) -> str:
        """In words."""
        return (
            f"above {self.least:g} and at most {self.most:g}"
            if self.is_open
            else f"from {self.least:g} to {self.most:g}"
        )

    def hold(self, value: float) -> bool:
        """Whether a value lies between them."""
        return math.isfinite(value) and self.least <= value <= self.most and not (self.is_open and value == self.least)


NUMBERS: Final[Mapping[str, Limits]] = {
    "order_horizon_h": Limits(least=0, most=_A_YEAR_H),
    "order_steepness": Limits(least=0, most=100, is_open=True),
    "least_head_start_min": Limits(least=0, most=60 * _A_YEAR_H),
    "high_head_start_h": Limits(least=0, most=_A_YEAR_H),
    "alert_budget_percent": Limits(least=0, most=100, is_open=True),
}
_FLAG_FROM: Final = Limits(least=0.01, most=0.99)
BY_FINDING: Final[Mapping[str, Limits]] = {
    "weights": Limits(least=0, most=1),
    "named_from": Limits(least=0, most=1, is_open=True),
    "critical_from": Limits(least=0, most=1, is_open=True),
}
WORDS: Final = ("modalities", "chest_words")
_SWITCHES: Final = ("language_model_may_raise", "prior_raises", "accept_secondary_capture")
NAMES: Final = (*NUMBERS, "flag_from", *BY_FINDING, *_SWITCHES, *WORDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What may be chosen at run time: how far what moves a study, and which images are looked at."""

    triage: SiteChoices = field(default_factory=SiteChoices)
    scope: ScopeRules = field(default_factory=ScopeRules)

    def to_values(self) -> dict[str, Any]:
        """Every choice as a JSON value, by name."""
        triage, scope = self.triage, self.scope
        return {
            "order_horizon_h": triage.horizon / _HOUR,
            "order_steepness": triage.steepness,
            "least_head_start_min": triage.least_head_start / _MINUTE,
            "high_head_start_h": triage.high_head_start / _HOUR,
            "alert_budget_percent": round(triage.alert_budget * 100, _DIGITS),
            "flag_from": triage.flag_from,
            "weights": dict(sorted((triage.weights or {}).items())),
            "named_from": dict(sorted((triage.named_from or {}).items())),
            "critical_from": dict(sorted((triage.critical_from or {}).items())),
            "language_model_may_raise": triage.language_model_may_raise,
            "prior_raises": triage.prior_raises,
            "accept_secondary_capture": scope.accept_secondary_capture,
            "modalities": sorted(scope.modalities),
            "chest_words": sorted(word for word in scope.chest_words if word.strip()),
        }

    def changed(self, values: Mapping[str, Any]) -> Choices:
        """These choices with some others in their place, by name.

        Raises:
            InvalidInput: unknown_setting, bad_value or contradiction.
        """
        unknown = sorted(set(values) - set(NAMES))
        if unknown:
            raise InvalidInput(
                "unknown_setting", f"there is no setting {_listed(unknown)}: choose from {', '.join(NAMES)}"
            )
        return _choices(self.to_values() | {name: _READERS[name](name, value) for name, value in values.items()})

    def to_document(self) -> dict[str, Any]:
        """As it is kept."""
        return {"version": VERSION, **self.to_values()}


def choices_of_document(document: Mapping[str, Any]) -> Choices:
    """The choices of to_document; what only a later version knows is passed over.

    Raises:
        InvalidInput: it is none that this version can read.
    """
    return Choices().changed({name: value for name, value in document.items() if name in NAMES})


def check_against(choices: Choices, cards: Sequence[ScorerCard]) -> None:
    """Refuse what no scorer of the site could follow.

    Args:
        choices: to be checked.
        cards: the scorers' own.

    Raises:
        InvalidInput: unknown_finding, no_weights or below_the_card.
    """
    triage = choices.triage
    for name in BY_FINDING:
        chosen: Mapping[str, float] = getattr(triage, name) or {}
        known = [found for card in cards for found in card.findings]
        unknown = sorted(set(chosen) - {found.type.key for found in known})
        if unknown:
            keys = ", ".join(dict.fromkeys(found.type.key for found in known)) or "nothing yet: start firstread worker"
            raise InvalidInput("unknown_finding", f"{name}: no scorer here looks for {_listed(unknown)}; known: {keys}")
        if name != "weights":
            for key, value in chosen.items():
                _check_threshold(name, value, [found for found in known if found.type.key == key])
    for card in cards:
        try:
            triage.known_to(card).laid_over(card)
        except ValueError as error:
            raise InvalidInput("no_weights", f"weights: {error}: give at least one that is shown above 0") from error


def differences(before: Choices, after: Choices) -> list[tuple[str, Any, Any]]:
    """Name, value before and value after of each choice that differs."""
    was, now = before.to_values(), after.to_values()
    return [(name, was[name], now[name]) for name in NAMES if was[name] != now[name]]


def one_line(why: str) -> str:
    """A reason as it is kept.

    Raises:
        InvalidInput: no_reason, there is none; bad_reason, it is too long.
    """
    line = " ".join(why.split())
    if not line or not line.isprintable():
        raise InvalidInput("no_reason", 'say why, in one line: {"why": "..."}')
    if len(line) > LONGEST_REASON:
        raise InvalidInput("bad_reason", f"a reason has at most {LONGEST_REASON} characters")
    return line


def _check_threshold(name: str, value: float, found: Sequence[FindingCard]) -> None:
    label = found[0].type.label
    own = [limit for one in found if one.is_shown and (limit := getattr(one, name)) is not None]
    if not own:
        what = "put into words" if name == "named_from" else "called critical"
        raise InvalidInput("below_the_card", f"{name}: {label} is never {what}: its card knows no threshold for it")
    if value < min(own):
        raise InvalidInput(
            "below_the_card",
            f"{name}: {value:g} for {label} is below the card's {min(own):g}, and nobody knows how often that is right",
        )


def _choices(values: Mapping[str, Any]) -> Choices:
    try:
        triage = SiteChoices(
            horizon=timedelta(hours=values["order_horizon_h"]),
            steepness=values["order_steepness"],
            least_head_start=timedelta(minutes=values["least_head_start_min"]),
            high_head_start=timedelta(hours=values["high_head_start_h"]),
            alert_budget=values["alert_budget_percent"] / 100,
            weights=values["weights"],
            language_model_may_raise=values["language_model_may_raise"],
            prior_raises=values["prior_raises"],
            flag_from=values["flag_from"],
            named_from=values["named_from"],
            critical_from=values["critical_from"],
        )
    except ValueError as error:
        raise InvalidInput("contradiction", str(error)) from error
    scope = ScopeRules(
        modalities=frozenset(values["modalities"]),
        chest_words=frozenset(values["chest_words"]),
        accept_secondary_capture=values["accept_secondary_capture"],
    )
    return Choices(triage=triage, scope=scope)


def _number(name: str, value: object, limits: Limits) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > _LARGEST or not limits.hold(float(value)):  # type: ignore[arg-type]  # a number
        raise InvalidInput("bad_value", f"{name} must be a number {limits}, got {_shown(value)}")
    return float(value)  # type: ignore[arg-type]


def _plain_number(name: str, value: object) -> float:
    return _number(name, value, NUMBERS[name])


def _flag_from(name: str, value: object) -> float | None:
    return None if value is None else _number(name, value, _FLAG_FROM)


def _by_finding(name: str, value: object) -> dict[str, float]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput("bad_value", f'{name} must be numbers by finding, such as {{"mass": 0.5}}')
    return {key: _number(f"{name} of {_listed([key])}", one, BY_FINDING[name]) for key, one in sorted(value.items())}


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("bad_value", f"{name} must be true or false, got {_shown(value)}")
    return value


def _words(name: str, value: object) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > _MOST_WORDS:
        raise InvalidInput("bad_value", f"{name} must be a list of at most {_MOST_WORDS} words")
    words = []
    for word in value:
        if not isinstance(word, str) or not word.strip() or len(word) > _LONGEST_WORD or not word.isprintable():
            raise InvalidInput("bad_value", f"{name}: each is a word of at most {_LONGEST_WORD} characters")
        words.append(word.strip())
    if name == "modalities":
        words = [word.upper() for word in words]
        if not words:
            raise InvalidInput("bad_value", "modalities: name at least one, such as CR, or no image would be looked at")
    return words


def _listed(names: Sequence[str]) -> str:
    """Names from outside, cut, and in letters that every answer can hold."""
    shown = ", ".join(name[:_LONGEST_WORD] for name in names[:_MOST_NAMES])
    return shown.encode("ascii", "backslashreplace").decode()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]}..."


_READERS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    **dict.fromkeys(NUMBERS, _plain_number),
    "flag_from": _flag_from,
    **dict.fromkeys(BY_FINDING, _by_finding),
    **dict.fromkeys(_SWITCHES, _switch),
    **dict.fromkeys(WORDS, _words),
}
