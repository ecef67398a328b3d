"""An explainer's account of its words: when and by what they were written, what it states, and how that was checked.

What a language model states stands here as its own, beside what the scorer found: nothing in an account ever reaches
the triage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from worklist.finding import Algorithm, Code, FindingType, Region, Side
from worklist.words import in_a_sentence, joined

CONFIRM: Final = "Unverified: a radiologist has to confirm it."
"""Stands beside every explanation, whoever wrote it."""


class Certainty(StrEnum):
    """How certain a language model may be: it excludes nothing and proves nothing."""

    PROBABLE = "probable"
    POSSIBLE = "possible"
    UNCERTAIN = "uncertain"


class Change(StrEnum):
    """What became of the findings since an earlier film or report."""

    IMPROVED = "improved"
    STABLE = "stable"
    WORSENED = "worsened"
    NEW = "new"


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A finding that a language model states.

    Attributes:
        type: what it states.
        certainty: how certain it is, at most as certain as the score allows.
        sides: none where it states none, both for both.
        is_supported: whether the scores support it; otherwise it is the language model's own.
        region: where on the image of the account it sees it, in source pixels.
    """

    type: FindingType
    certainty: Certainty
    sides: tuple[Side, ...] = ()
    is_supported: bool = False
    region: Region | None = None

    @property
    def words(self) -> str:
        """The statement for a reader: 'Pleural effusion possible, left'."""
        side = {0: "", 1: f", {self.sides[0]}" if self.sides else ""}.get(len(self.sides), ", both sides")
        return f"{self.type.label} {self.certainty}{side}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What changed, and since what: SOP Instance UIDs or names of the earlier film and reports."""

    change: Change
    compared_with: tuple[str, ...]


class Layer(StrEnum):
    """The layers that stand between a language model and a reader."""

    INPUT = "input gate"
    SCHEMA = "schema and token limit"
    LANGUAGE = "language"
    CONSISTENCY = "consistency"
    CONFIRMATION = "disclaimer and confirmation"


class Verdict(StrEnum):
    """What a layer did: let it pass, changed something, or refused it."""

    PASSED = "passed"
    CHANGED = "changed"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one layer did with one answer; attempt counts from 1, detail is one line without what the answer said."""

    layer: Layer
    attempt: int
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """How an explanation came about.

    Attributes:
        explained_at: when the words were ready.
        elapsed_ms: how long that took, in milliseconds, all attempts together.
        sop_instance_uid: the image that the language model looked at; "" where none did.
        instead_of: name and version of the model that was to explain; "" where the words are the configured one's.
        why: why that model did not, in one line.
        prompt_sha256: digest of prompt and schema; "" for a template.
        saw_film_alone: whether a language model was shown the film and the scores, and nothing that others wrote or
            took before.
        statements: what it states beside its sentence.
        comparison: with what was earlier; None where nothing was compared.
        uncertainty: what limits it, in its own words.
        checks: what each layer did.
    """

    explained_at: datetime
    elapsed_ms: float = 0.0
    sop_instance_uid: str = ""
    instead_of: str = ""
    why: str = ""
    prompt_sha256: str = ""
    statements: tuple[Statement, ...] = ()
    comparison: Comparison | None = None
    uncertainty: str = ""
    checks: tuple[Check, ...] = ()
    saw_film_alone: bool = False

    def __post_init__(self) -> None:
        """Refuse a naive time, and a replacement that does not say why."""
        if self.explained_at.utcoffset() is None:
            raise ValueError("explained_at needs a time zone")
        if bool(self.instead_of) != bool(self.why):
            raise ValueError("an explanation that stands in for another says why")

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the model adds to its line, for a reader: statements, comparison, uncertainty."""
        supported = [in_a_sentence(one.words) for one in self.statements if one.is_supported]
        own = [in_a_sentence(one.words) for one in self.statements if not one.is_supported]
        return tuple(
            filter(
                None,
                (
                    f"The language model states: {joined(supported)}." if supported else "",
                    f"Its own, not supported by the scores: {joined(own)}." if own else "",
                    f"Change, by the language model: {self.comparison.change}, compared with "
                    f"{joined(self.comparison.compared_with)}."
                    if self.comparison
                    else "",
                    f"Uncertainty, in its words: {self.uncertainty}" if self.uncertainty else "",
                ),
            )
        )


def explained_by(explainer: Algorithm, account: Account) -> str:
    """Who wrote the words, when, and in whose place; and that they are to be confirmed."""
    at = f"{account.explained_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    instead = f", in place of {account.instead_of}: {account.why}" if account.instead_of else ""
    return f"Explained by {explainer.name}, version {explainer.version}, at {at}{instead}. {CONFIRM}"


def account_digest(account: Account) -> str:
    """SHA-256 of an account as JSON."""
    return hashlib.sha256(json.dumps(account_to_json(account), sort_keys=True).encode()).hexdigest()


def account_to_json(account: Account) -> dict[str, Any]:
    """An account as JSON values; every number survives exactly."""
    values = asdict(account) | {"explained_at": account.explained_at.isoformat()}
    if not account.saw_film_alone:
        del values["saw_film_alone"]  # an account of before this was noted keeps its digest
    return values


def account_of_json(values: Mapping[str, Any]) -> Account:
    """The account of account_to_json; fields that a later version adds are passed over.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    comparison = values["comparison"]
    return Account(
        explained_at=datetime.fromisoformat(values["explained_at"]),
        elapsed_ms=values["elapsed_ms"],
        sop_instance_uid=values["sop_instance_uid"],
        instead_of=values["instead_of"],
        why=values["why"],
        prompt_sha256=values["prompt_sha256"],
        statements=tuple(_statement(entry) for entry in values["statements"]),
        comparison=Comparison(change=Change(comparison["change"]), compared_with=tuple(comparison["compared_with"]))
        if comparison
        else None,
        uncertainty=values["uncertainty"],
        checks=tuple(
            Check(
                layer=Layer(entry["layer"]),
                attempt=entry["attempt"],
                verdict=Verdict(entry["verdict"]),
                detail=entry["detail"],
            )
            for entry in values["checks"]
        ),
        saw_film_alone=values.get("saw_film_alone", False),
    )


def _statement(values: Mapping[str, Any]) -> Statement:
    kind, region = values["type"], values["region"]
    return Statement(
        type=FindingType(key=kind["key"], code=Code(**kind["code"]), label=kind["label"]),
        certainty=Certainty(values["certainty"]),
        sides=tuple(Side(side) for side in values["sides"]),
        is_supported=values["is_supported"],
        region=Region(**region) if region else None,
    )
