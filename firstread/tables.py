"""What the command prints for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from worklist.person_name import person_name
from worklist.triage import NOT_ASSESSED, Urgency

_STYLES = {Urgency.CRITICAL: "bold red", Urgency.URGENT: "yellow", Urgency.NONE: "default"}
_STATES = {"out_of_scope": "out of scope"}


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
    """The answer of GET /worklist as a table, in its order."""
    table = Table(title=_title(worklist), title_justify="left")
    for heading in ("#", "AI flag", "Patient", "Study", "State", "Reading", "Reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "#" else "left")
    for item in worklist["items"]:
        table.add_row(
            str(item["rank"]),
            _flag(item),
            _plain(f"{person_name(item['patient_name'])[0]} ({item['patient_id']})"),
            _plain(" ".join(filter(None, (item["modality"], item["study_description"])))),
            _STATES.get(item["state"], item["state"]),
            _plain(_reading(item)),
            _plain(item["failure"]["message"] if item["failure"] else item["reason"]),
        )
    return table


def _title(worklist: Mapping[str, Any]) -> str:
    counts = worklist["counts"]
    return (
        f"{worklist['total']} studies shown; {counts['listed']} to be read, {counts['overdue']} of them overdue; "
        f"{counts['priors']} priors"
    )


def _flag(item: Mapping[str, Any]) -> str:
    stated = {"STAT": "STAT order. ", "HIGH": "HIGH order. "}.get(item["order_priority"], "")
    if item["urgency"] is None:
        return f"{stated}{NOT_ASSESSED}"
    urgency = Urgency(item["urgency"])
    return f"[{_STYLES[urgency]}]{stated}{urgency.label}[/]"


def _reading(item: Mapping[str, Any]) -> str:
    reading = item["reading"]
    who = " by ".join(filter(None, (reading["state"], reading["by"])))
    return f"{who}, overdue" if item["overdue"] else who


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
