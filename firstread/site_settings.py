"""The settings that may be changed while everything runs, in a terminal or a script; works while no gateway runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from firstread.compose import open_database
from firstread.failures import caller
from firstread.schema import require_current_database
from firstread.settings import Settings
from firstread.tables import cell, print_json
from gateway.choices.routes import history_json, preview_json, settings_json
from worklist.choices import WORDS
from worklist.errors import InvalidInput
from worklist.records import ChoiceRecords

_ROWS = 15


def show_settings(settings: Settings, *, as_json: bool) -> None:
    """What holds now."""
    with _choices(settings) as choices:
        answer = settings_json(choices.in_force())
    if as_json:
        print_json(answer)
        return
    _print_values(answer)


def change_settings(settings: Settings, chosen: Sequence[str], why: str, *, as_json: bool) -> None:
    """Choose, in the name of whoever calls, and show what holds then."""
    with _choices(settings) as choices:
        choices.change(caller(), why, read_values(chosen), choices.in_force().choice.number)
    show_settings(settings, as_json=as_json)


def preview_settings(settings: Settings, chosen: Sequence[str], *, as_json: bool) -> None:
    """What the present list would look like."""
    with _choices(settings) as choices:
        answer = preview_json(choices.in_force(), choices.preview(read_values(chosen)), _ROWS)
    if as_json:
        print_json(answer)
        return
    console = Console()
    console.print(f"{answer['moved']} of {answer['listed']} studies on the list would stand elsewhere.")
    for key, word in (("flagged", "Flagged"), ("critical", "Critical")):
        counts = answer[key]
        gained, lost = f"{counts['gained']} gain it", f"{counts['lost']} lose it"
        console.print(f"{word}: {counts['then']} instead of {counts['now']} ({gained}, {lost}).")
    table = Table("Then", "Now", "Study", "AI flag then", title="First rows", title_justify="left")
    for row in answer["then"]:
        study = cell(row["accession_number"] or row["study_instance_uid"])
        table.add_row(str(row["place_then"]), str(row["place_now"]), study, row["urgency_then"] or "not assessed")
    console.print(table)


def show_history(settings: Settings, *, as_json: bool) -> None:
    """Who changed what when, and why."""
    with _choices(settings) as choices:
        answer = history_json(choices.history())
    if as_json:
        print_json({"choices": answer})
        return
    table = Table("Choice", "When, UTC", "Who", "Why", "What")
    for choice in answer:
        what = "\n".join(f"{one['name']}: {_said(one['before'])} -> {_said(one['after'])}" for one in choice["changes"])
        when = (choice["at"] or "")[:16].replace("T", " ")
        table.add_row(str(choice["number"]), when, cell(choice["by"]), cell(choice["why"]), what)
    Console().print(table)


def read_values(chosen: Sequence[str]) -> dict[str, Any]:
    """Values by name, of NAME=VALUE: JSON, or words with commas between them.

    Raises:
        InvalidInput: bad_usage.
    """
    values: dict[str, Any] = {}
    for one in chosen:
        name, is_there, text = one.partition("=")
        if not is_there:
            raise InvalidInput("bad_usage", f"{one!r} is not NAME=VALUE, such as order_horizon_h=8")
        try:
            values[name] = json.loads(text)
        except ValueError:
            if name not in WORDS:
                raise InvalidInput(
                    "bad_usage", f"{name}: {text!r} is no number, true, false, null or JSON object"
                ) from None
            values[name] = [word for word in text.split(",") if word.strip()]
    return values


def _print_values(answer: dict[str, Any]) -> None:
    console = Console()
    by = f"choice {answer['number']} by {answer['by']} at {(answer['at'] or '')[:16]} UTC: {answer['why']}"
    console.print(by if answer["number"] else "Nobody has chosen yet: these are the environment's.", markup=False)
    table = Table("Setting", "Value")
    for name, value in answer["values"].items():
        table.add_row(name, cell(_said(value)))
    console.print(table)
    for policy in answer["policies"]:
        flags = f"flags from a harm of {policy['flag_from']:.2f}, by {policy['budget_basis']}"
        console.print(f"{policy['scorer']} {flags}; policy {policy['sha256'][:12]}", markup=False)


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def _choices(settings: Settings) -> Iterator[ChoiceRecords]:
    require_current_database(settings)
    with closing(open_database(settings)) as database:
        yield ChoiceRecords(database=database, rules=settings.site_rules)
