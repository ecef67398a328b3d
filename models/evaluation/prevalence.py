"""The prevalence at which predictive values and alarm rates of a finding are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.evaluation.cells import finding_of
from models.evaluation.films import TARGETS, URGENT
from worklist.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Prevalence:
    """Share of films with a finding; `stated` where somebody said it, else it is the share in the films themselves."""

    value: float | None
    stated: bool


def read_prevalences(texts: Sequence[str]) -> dict[str, float]:
    """Prevalences by target: `0.1` is that of any urgent finding, `pneumothorax=0.02` that of a finding.

    Raises:
        InvalidInput: bad_prevalence, a finding is unknown or said twice, or a share is not between 0 and 1.
    """
    stated: dict[str, float] = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        target = _target(name) if "=" in text else URGENT
        if target in stated:
            raise InvalidInput("bad_prevalence", f"the prevalence of {target} is said twice: say it once")
        stated[target] = _share(target, share)
    return stated


def prevalence_of(target: str, stated: Mapping[str, float], positives: int, films: int) -> Prevalence:
    """What is stated, else the share of positive films; None where there is no film."""
    if target in stated:
        return Prevalence(value=stated[target], stated=True)
    return Prevalence(value=positives / films if films else None, stated=False)


def _target(name: str) -> str:
    plain = name.strip().lower()
    target = plain if plain in TARGETS else finding_of(plain)
    if target is None:
        raise InvalidInput(
            "bad_prevalence", f"--prevalence names {name!r}, which is not judged: name one of {', '.join(TARGETS)}"
        )
    return target


def _share(target: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:  # a NaN is never between
        raise InvalidInput(
            "bad_prevalence", f"the prevalence of {target} is {text.strip()!r}: write a number between 0 and 1"
        )
    return share
