"""What the command prints for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worklist.person_name import person_name
from worklist.triage import NOT_ASSESSED, Urgency
from worklist.words import printable

_STYLES = {Urgency.CRITICAL: "bold red", Urgency.URGENT: "yellow", Urgency.NONE: "default"}
_STATES = {"out_of_scope": "out of scope"}
_OVERDUE = "bold red"
_WIDE = 120  # columns of a terminal from which on there is room for sex, age and view
_AGE = re.compile(r"(\d{3})([DWMY])")  # AS, PS3.5 section 6.2


def print_json(value: object) -> None:
    """JSON alone on stdout, in UTF-8; an octet of a name that is none becomes an escape, as Python holds it."""
    document = json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
    Console(soft_wrap=True).print(document, markup=False, highlight=False)


def print_worklist(worklist: Mapping[str, Any], *, as_json: bool) -> None:
    """The answer of GET /worklist, as JSON or as a table."""
    if as_json:
        print_json(worklist)
    else:
        console = Console()
        console.print(worklist_table(worklist, console.width))


def cell(text: object) -> str:
    """What a file, a header or a person says, safe to print: no markup, nothing that a terminal obeys, one line."""
    return escape(printable(text))


def worklist_table(worklist: Mapping[str, Any], width: int) -> Table:
    """One page of the reading list, for a terminal of so many columns.

    Its title counts what is to be read, what waits too long, and the priors.
    """
    is_wide = width >= _WIDE
    table = Table(title=_title(worklist), caption=_caption(worklist), title_justify="left", caption_justify="left")
    wide = ("Sex, age", "View") if is_wide else ()
    for heading in ("#", "AI flag", "Patient", *wide[:1], "Study", *wide[1:], "AI", "Reading", "Reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "#" else "left")
    for item in worklist["items"]:
        table.add_row(
            f"[{_OVERDUE}]{item['rank']}[/]" if item["overdue"] else str(item["rank"]),
            _flag(item),
            cell(f"{person_name(item['patient_name'])[0]} ({item['patient_id']})"),
            *([cell(_sex_and_age(item))] if is_wide else []),
            cell(" ".join(filter(None, (item["modality"], item["study_description"])))),
            *([cell(item["view"])] if is_wide else []),
            _STATES.get(item["state"], item["state"]),
            cell(_reading(item["reading"])),
            cell(item["reason"]),
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
    return words.get(reading["state"], str(reading["state"]))


def _sex_and_age(item: Mapping[str, Any]) -> str:
    stated = _AGE.fullmatch(item["patient_age"])
    age = f"{int(stated[1])} {stated[2].lower()}" if stated else item["patient_age"]
    return " ".join(filter(None, (item["patient_sex"], age)))
