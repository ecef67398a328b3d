"""`GET /settings`: what the site has chosen, drawn by the server; the script asks for previews and changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.access.actors import LONGEST_NAME, Actors
from gateway.choices.routes import history_json, settings_json
from gateway.list.pages import TEMPLATES, SiteFacts, security_headers
from gateway.list.words import FLAGS, UNASSESSED
from worklist.choices import LONGEST_REASON, NUMBERS
from worklist.finding import DISCLAIMER
from worklist.records import ChoiceRecords
from worklist.roles import UseCase

_PAST = 50  # choices that the page shows


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberField:
    """A number of the form, with its range and what it means."""

    name: str
    label: str
    hint: str

    @property
    def range(self) -> str:
        """In words."""
        return str(NUMBERS[self.name])


FIELDS: Final = (
    NumberField(
        name="order_horizon_h",
        label="Longest head start H, hours",
        hint="STAT orders aside, nobody is overtaken by a study that arrived more than this later; 0 leaves arrival.",
    ),
    NumberField(
        name="order_steepness", label="Steepness k", hint="How fast the head start grows with the harm of waiting."
    ),
    NumberField(
        name="least_head_start_min",
        label="Least head start, minutes",
        hint="What a study has that is just flagged.",
    ),
    NumberField(
        name="high_head_start_h", label="Head start of HIGH orders, hours", hint="Whatever the AI says of them."
    ),
    NumberField(
        name="alert_budget_percent",
        label="Alert budget, %",
        hint="At most so many of a hundred studies are flagged, by the site's own last 1,000.",
    ),
)
_NAMES: Final[Mapping[str, str]] = {
    **{field.name: field.label for field in FIELDS},
    "flag_from": "Flagged from a harm of",
    "weights": "Weights",
    "named_from": "Put into words from",
    "critical_from": "Critical from",
    "language_model_may_raise": "A language model's statement may flag",
    "prior_raises": "A change since an earlier film may flag",
    "accept_secondary_capture": "Secondary captures are looked at",
    "modalities": "Modalities",
    "chest_words": "Words for the chest",
}


def build_settings_page(choices: ChoiceRecords, site: SiteFacts, actors: Actors) -> APIRouter:
    """The router of the page.

    Args:
        choices: what the site has chosen.
        site: what the pages tell about this installation.
        actors: knows who is signed in at a proxy.
    """
    templates = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(said=said)
    router = APIRouter()

    @router.get("/settings", response_class=HTMLResponse, include_in_schema=False)
    def settings_page(request: Request) -> HTMLResponse:
        actor, settings = actors.signed_in(request), settings_json(choices.in_force())
        html = templates.get_template("settings.html").render(
            settings=settings,
            findings=list({found["key"]: found for found in reversed(settings["findings"])}.values())[::-1],
            history=history_json(choices.history(_PAST)),
            fields=FIELDS,
            names=_NAMES,
            flags={word.key: word for word in FLAGS},
            unassessed=UNASSESSED,
            reader=actor.name if actor else "",
            may_change=actor is None or actor.may(UseCase.CHANGE_TRIAGE),
            longest_name=LONGEST_NAME,
            longest_reason=LONGEST_REASON,
            disclaimer=DISCLAIMER,
            site=site,
        )
        return HTMLResponse(html, headers=security_headers())

    return router


def said(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A setting's value in words."""
    if value is None:
        return "as the card has it"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {one:g}" for key, one in value.items()) or "as the card has them"
    return ", ".join(map(str, value)) if value else "none"
