"""`/settings/triage`: what the site has chosen of the triage rule and the scope, what a change does, and the change.

Nothing here names a patient but the rows of a preview, which are those of the reading list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.access.actors import Actors
from gateway.problems import MEDIA_TYPE
from worklist.choices import LONGEST_REASON, NAMES, differences
from worklist.records import Choice, ChoiceRecords, InForce, PlacedStudy, Preview
from worklist.triage import TriagePolicy

_MOST_ROWS = 500
_PROBLEMS = {
    400: "The body cannot be read.",
    409: "Somebody else has changed them meanwhile, or a scorer's own card is not known yet.",
    413: "The body is larger than 64 kB.",
    422: "A value is out of its range, contradicts another, or names what no scorer looks for; or nobody says why.",
    503: "The database does not answer; try again after `Retry-After` seconds.",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {MEDIA_TYPE: {}}} for status, words in _PROBLEMS.items()
}
_Values = Annotated[
    dict[str, Any],
    Field(description=f"What is to be another, by name; what is absent stays. Names: {', '.join(NAMES)}."),
]


class Wanted(BaseModel, extra="forbid"):
    """Settings as they might be."""

    values: _Values


class Change(BaseModel, extra="forbid"):
    """Settings as they are to be, from now on."""

    values: _Values
    why: str = Field(max_length=10 * LONGEST_REASON, description=f"The reason, at most {LONGEST_REASON} characters.")
    based_on: int = Field(ge=0, le=2**31 - 1, description="The number of the choice that whoever asks has seen.")
    by: str | None = Field(
        default=None,
        description="Who: at most 64 characters. Not looked at where a trusted proxy says so in X-Remote-User.",
    )


class FindingLimits(BaseModel, extra="forbid"):
    """What a scorer's own card says of a finding, before the site's choices."""

    key: str
    label: str
    scorer: str
    is_shown: bool
    weight: float
    named_from: float | None
    critical_from: float | None


class PolicyInForce(BaseModel, extra="forbid"):
    """A policy: whose scorer's, its digest, and from which harm it flags a study by what."""

    scorer: str
    sha256: str
    flag_from: float
    card_flag_from: float | None
    budget_basis: str


class ChoiceMade(BaseModel, extra="forbid"):
    """A choice; number 0 is what held before the first one, and `at` is null where there was none yet."""

    number: int
    at: datetime | None
    by: str
    why: str
    values: dict[str, Any]


class TriageSettings(ChoiceMade):
    """What holds now."""

    findings: list[FindingLimits]
    policies: list[PolicyInForce]


class Difference(BaseModel, extra="forbid"):
    """A setting that two choices have otherwise."""

    name: str
    before: Any
    after: Any


class PastChoice(ChoiceMade):
    """A choice, and what was different before it."""

    changes: list[Difference]


class History(BaseModel, extra="forbid"):
    """The last choices, newest first."""

    choices: list[PastChoice]


class Flagged(BaseModel, extra="forbid"):
    """How many studies are flagged now and would be then, and of how many that changes."""

    now: int
    then: int
    gained: int
    lost: int


class PlacedRow(BaseModel, extra="forbid"):
    """A study on the list, where it stands and where it would."""

    study_instance_uid: str
    orthanc_id: str
    patient_id: str
    patient_name: str
    accession_number: str
    place_now: int
    place_then: int
    urgency_now: str | None
    urgency_then: str | None


class PreviewAnswer(BaseModel, extra="forbid"):
    """What the list would look like; nothing was changed. `now` and `then` are the first rows of the two orders."""

    listed: int
    moved: int
    flagged: Flagged
    critical: Flagged
    changes: list[Difference]
    policies: list[PolicyInForce]
    now: list[PlacedRow]
    then: list[PlacedRow]


def build_choices(choices: ChoiceRecords, actors: Actors) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/settings/triage", tags=["settings"], responses=_RESPONSES)

    @router.get("", response_model=TriageSettings)
    def settings() -> JSONResponse:
        """What holds now, since when, by whom and why."""
        return JSONResponse(settings_json(choices.in_force()))

    @router.put("", response_model=TriageSettings)
    def change(wanted: Change, request: Request) -> JSONResponse:
        """Choose; the whole list stands under it at once, in every process."""
        choices.change(actors.of(request, wanted.by), wanted.why, wanted.values, wanted.based_on)
        return JSONResponse(settings_json(choices.in_force()))

    @router.post("/preview", response_model=PreviewAnswer)
    def preview(wanted: Wanted, rows: Annotated[int, Query(ge=0, le=_MOST_ROWS)] = 20) -> JSONResponse:
        """What the present list would look like; nothing is written."""
        in_force = choices.in_force()
        return JSONResponse(preview_json(in_force, choices.preview(wanted.values), rows))

    @router.get("/history", response_model=History)
    def history(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JSONResponse:
        """Who changed what when, and why."""
        return JSONResponse({"choices": history_json(choices.history(limit + 1))[:limit]})

    return router


def settings_json(in_force: InForce) -> dict[str, Any]:
    """What holds now as JSON values."""
    return {
        **_choice_json(in_force.choice),
        "findings": [
            {
                "key": found.type.key,
                "label": found.type.label,
                "scorer": f"{card.name} {card.version}",
                "is_shown": found.is_shown,
                "weight": found.weight,
                "named_from": found.named_from,
                "critical_from": found.critical_from,
            }
            for card in in_force.cards.values()
            for found in card.findings
        ],
        "policies": [_policy_json(in_force, policy) for policy in in_force.policies.values()],
    }


def history_json(made: list[Choice]) -> list[dict[str, Any]]:
    """Choices, newest first, each with what was different before it."""
    earlier: list[Choice | None] = [*made[1:], None]
    return [
        _choice_json(choice) | {"changes": _differences(differences(before.choices, choice.choices) if before else ())}
        for choice, before in zip(made, earlier, strict=True)
    ]


def _choice_json(choice: Choice) -> dict[str, Any]:
    at = choice.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if choice.at else None
    return {
        "number": choice.number,
        "at": at,
        "by": choice.by.name,
        "why": choice.why,
        "values": choice.choices.to_values(),
    }


def _policy_json(in_force: InForce, policy: TriagePolicy) -> dict[str, Any]:
    card = in_force.cards.get(policy.card.sha256)
    return {
        "scorer": f"{policy.card.name} {policy.card.version}",
        "sha256": policy.digest,
        "flag_from": policy.flag_from,
        "card_flag_from": card.flag_from if card else None,
        "budget_basis": policy.budget_basis,
    }


def preview_json(in_force: InForce, preview: Preview, rows: int) -> dict[str, Any]:
    """What the list would look like as JSON values, with so many rows of each order."""
    changes = differences(in_force.choice.choices, preview.choices)
    return {
        "listed": len(preview.studies),
        "moved": preview.moved,
        "flagged": _flagged(preview, critical=False),
        "critical": _flagged(preview, critical=True),
        "changes": _differences(changes),
        "policies": [_policy_json(in_force, policy) for policy in preview.policies.values()],
        "now": [_row(study) for study in preview.now[:rows]],
        "then": [_row(study) for study in preview.studies[:rows]],
    }


def _flagged(preview: Preview, *, critical: bool) -> Mapping[str, int]:
    return {
        "now": preview.count(now=True, critical=critical),
        "then": preview.count(then=True, critical=critical),
        "gained": preview.count(now=False, then=True, critical=critical),
        "lost": preview.count(now=True, then=False, critical=critical),
    }


def _differences(found: Iterable[tuple[str, Any, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "before": before, "after": after} for name, before, after in found]


def _row(study: PlacedStudy) -> dict[str, Any]:
    return {
        "study_instance_uid": study.study_instance_uid,
        "orthanc_id": study.orthanc_id,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "accession_number": study.accession_number,
        "place_now": study.place_now,
        "place_then": study.place_then,
        "urgency_now": study.urgency_now,
        "urgency_then": study.urgency_then,
    }
