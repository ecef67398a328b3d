"""What the command prints for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from worklist.person_name import person_name

_STYLES = {"critical": "bold red", "urgent": "yellow", "routine": "default"}
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
    """The reading list, sickest first."""
    table = Table(title=f"Reading list: {worklist['total']} studies", title_justify="left")
    for heading in ("#", "Urgency", "Patient", "Study", "State", "Reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "#" else "left")
    for item in worklist["items"]:
        urgency = item["urgency"] or ""
        stat = "STAT " if item["order_priority"] == "STAT" else ""
        table.add_row(
            str(item["rank"]),
            f"[{_STYLES[urgency]}]{stat}{urgency}[/]" if urgency else stat,
            _plain(f"{person_name(item['patient_name'])[0]} ({item['patient_id']})"),
            _plain(" ".join(filter(None, (item["modality"], item["study_description"])))),
            _STATES.get(item["state"], item["state"]),
            _plain(item["failure"]["message"] if item["failure"] else item["reason"]),
        )
    return table


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
