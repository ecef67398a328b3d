"""What the command prints for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worklist.person_name import person_name
from worklist.triage import NOT_ASSESSED, Urgency

_STYLES = {Urgency.CRITICAL: "bold red", Urgency.URGENT: "yellow", Urgency.NONE: "default"}
_STATES = {"out_of_scope": "out of scope"}
_OVERDUE = "bold red"


def print_json(value: object) -> None:
    """JSON alone on stdout."""
    Console(soft_wrap=True).print(json.dumps(value, indent=2, ensure_ascii=False), markup=False, highlight=False)


def print_worklist(worklist: Mapping[str, Any], *, as_json: bool) -> None:
    """The answer of GET /worklist, as JSON or as a table."""
    if as_json:
        print_json(worklist)
    else:
        Console().print(worklist_table(worklist))


def worklist_table(worklist: Mapping[str, Any]) -> Table:
    """One page of the reading list; its title counts what is to be read, what waits too long, and the priors."""
    table = Table(title=_title(worklist), caption=_caption(worklist), title_justify="left", caption_justify="left")
    for heading in ("#", "AI flag", "Patient", "Study", "AI", "Reading", "Reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "#" else "left")
    for item in worklist["items"]:
        table.add_row(
            f"[{_OVERDUE}]{item['rank']}[/]" if item["overdue"] else str(item["rank"]),
            _flag(item),
            escape(f"{person_name(item['patient_name'])[0]} ({item['patient_id']})"),
            escape(" ".join(filter(None, (item["modality"], item["study_description"])))),
            _STATES.get(item["state"], item["state"]),
            _reading(item["reading"]),
            escape(item["reason"]),
        )
    return table


def _title(worklist: Mapping[str, Any]) -> str:
    counts = worklist["counts"]
    parts = [f"Reading list: {counts['listed']} to be read"]
    if counts["overdue"]:
        parts.append(
            f"[{_OVERDUE}]{counts['overdue']} {'waits' if counts['overdue'] == 1 else 'wait'} beyond the target[/]"
        )
    if counts["priors"]:
        parts.append(f"{counts['priors']} {'prior' if counts['priors'] == 1 else 'priors'} aside")
    return ", ".join(parts)


def _caption(worklist: Mapping[str, Any]) -> str:
    shown, total = len(worklist["items"]), worklist["total"]
    return f"{shown} of {total} are shown." if shown < total else ""


def _flag(item: Mapping[str, Any]) -> str:
    stated = f"{item['order_priority']} " if item["order_priority"] in {"STAT", "HIGH"} else ""
    if item["urgency"] is None:
        return f"{stated}{NOT_ASSESSED}"
    urgency = Urgency(item["urgency"])
    return f"[{_STYLES[urgency]}]{stated}{urgency.label}[/]"


def _reading(reading: Mapping[str, Any]) -> str:
    by = f" by {reading['by']}" if reading["by"] else ""
    words = {"unread": "back" if reading["returned_for"] else "", "reading": f"being read{by}", "read": f"read{by}"}
    return escape(words.get(reading["state"], reading["state"]))
