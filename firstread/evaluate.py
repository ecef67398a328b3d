"""The figures of the command `evaluate`, printed as JSON or as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from firstread.tables import print_json
from models.evaluation.boxes import OVERLAPS
from models.evaluation.figures import TITLES, TOO_FEW
from models.evaluation.films import URGENT
from models.evaluation.metrics import SENSITIVITIES, SPECIFICITY

_NAMED = 2  # files in a line for people
_TITLE_WIDTH = 13  # of Consolidation
_INTERVAL_WIDTH = 11  # of [0.69,0.81], which is not to be broken


def print_evaluation(result: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures as JSON, or as tables with the films that were left out."""
    if as_json:
        print_json(result)
        return
    console = Console()
    for line in _lines(result):
        console.print(escape(line), highlight=False)
    for table in _tables(result):
        console.print(table)
    notes: dict[str, list[str]] = {}
    for target, figures in result["targets"].items():
        for note in dict.fromkeys(_notes(figures)):
            notes.setdefault(note, []).append(TITLES[target])
    for note, titles in notes.items():
        console.print(f"{note.capitalize()}: {', '.join(titles)}", highlight=False)


def _notes(figures: Mapping[str, Any]) -> Iterator[str]:
    for value in figures.values():
        if isinstance(value, dict):
            yield from _notes(value)
    if figures.get("note"):
        yield figures["note"]


def _lines(result: Mapping[str, Any]) -> list[str]:
    films = result["films"]
    lines = [
        f"Films in both files: {films['matched']}, with a prediction: {films['scored']} "
        f"(coverage {films['coverage']:.1%})" + (f", patients: {result['patients']}" if result["patients"] else "")
    ]
    lines += [
        f"Abstained, {reason.replace('_', ' ')}: {_some(files)}"
        for reason, files in films["abstentions"].items()
        if files
    ]
    if films["abstention_codes"]:
        lines.append(f"Why: {', '.join(f'{code} {count}' for code, count in films['abstention_codes'].items())}")
    if films["abstained_urgent"]:
        lines.append(f"Urgent films without a prediction: {films['abstained_urgent']}")
    alone = [f"{side} {len(films[f'unmatched_{side}'])}" for side in ("predictions", "labels")]
    if films["unmatched_predictions"] or films["unmatched_labels"]:
        lines.append(f"In one file alone: {', '.join(alone)} (--json names them)")
    lines += _mixture_lines(result)
    lines += _list_lines(result["list"])
    draws = result["intervals"]["draws"]
    lines.append(f"In brackets 95 % intervals, {draws} taken as independent")
    lines.append("PPV, NPV and alarms (share of films called positive) hold at the prevalence of each finding below")
    return lines


def _mixture_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What should be one in all predictions and is not."""
    if len(result["models"]) > 1:
        yield f"Predictions of {len(result['models'])} models: evaluate them apart"
    if len(result["policies"]) > 1:
        yield f"Triage policies: {len(result['policies'])}, so flags and words do not follow one rule"
    mixed = [TITLES[target] for target, figures in result["targets"].items() if len(figures["thresholds"]) > 1]
    if mixed:
        yield f"More than one threshold: {', '.join(mixed)}"


def _list_lines(listed: Mapping[str, Any]) -> Iterator[str]:
    if listed["without_triage"]:
        yield f"Films whose place in the list is not known: {listed['without_triage']}"
    if listed["films"]:
        yield f"Films that the list moves up: {_cell(listed['moved'])}"
        yield f"Films that bear a flag: {_cell(listed['flagged'])}"
    if listed["flagged_without_reason"]:
        yield f"Of these, without a reason in words: {_cell(listed['flagged_without_reason'])}"


def _some(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more, see --json" if len(files) > _NAMED else ""
    return f"{len(files)} ({', '.join(files[:_NAMED])}{more})"


def _tables(result: Mapping[str, Any]) -> list[Table]:
    recall, aim = f"{SENSITIVITIES[0]:.2f}", f"{SPECIFICITY:.2f}"
    ranking = _table(
        "Ranking", ("Positive",), ("AUC", f"Sens. at spec. {aim}", f"Spec. at sens. {recall}", "Alarms there")
    )
    calls = _table("Operating point", ("Threshold",), ("Sensitivity", "Specificity"))
    worth = _table("Predictive values there", ("Prevalence", "from"), ("PPV", "NPV"))
    trust = _table("Calibration", ("Mean", "Positive", "Brier", "ECE"), ("Slope", "Intercept"))
    for target, figures in result["targets"].items():
        title, n, positives = TITLES[target], figures["n"], figures["positives"]
        high, low = figures["at_sensitivity"][recall], figures["at_specificity"][aim]
        shown = (figures["auc"], low["sensitivity"], high["specificity"], high["alarm_rate"])
        ranking.add_row(title, f"{positives} of {n}", *map(_cell, shown))
        point = figures["operating_point"]
        if point:
            threshold = "" if point["threshold"] is None else f"{point['threshold']:.3f}"
            calls.add_row(title, threshold, *(_cell(point[name]) for name in ("sensitivity", "specificity")))
            values = (_cell(point[f"{name}_at_prevalence"]) for name in ("ppv", "npv"))
            worth.add_row(title, *_prevalence(figures["prevalence"]), *values)
        else:
            calls.add_row(title, "not stated")
        mean, *others = (
            _cell(figures["calibration"][name]) for name in ("mean_probability", "brier", "ece", "slope", "intercept")
        )
        trust.add_row(title, mean, f"{positives / n:.2f}" if n else "", *others)
    subgroups = _table("Any urgent finding in subgroups", ("Positive",), ("AUC",))
    for key, groups in result["subgroups"].items():
        for group, figures in groups.items():
            urgent = figures[URGENT]
            name = escape(f"{key.replace('_', ' ')} {group}")
            subgroups.add_row(name, f"{urgent['positives']} of {urgent['n']}", _cell(urgent["auc"]))
    overlaps = (f"IoU >= {least}" for least in OVERLAPS)
    boxes = _table("Boxes", ("Boxes", "Without crop", "Mean IoU"), (*overlaps, "Pointing game"))
    for target, figures in result["localization"].items():
        shares = (figures["mean_iou"], *figures["overlapping"].values(), figures["pointing_game"])
        boxes.add_row(TITLES[target], str(figures["boxes"]), str(figures["without_crop"]), *map(_cell, shares))
    listed = _list_tables(result["list"])
    return [ranking, calls, worth, trust, *listed, *(table for table in (subgroups, boxes) if table.row_count)]


def _list_tables(listed: Mapping[str, Any]) -> list[Table]:
    """The reading list: how far up it brings films with a finding, and what it says of them."""
    if not listed["films"]:
        return []
    moved = _table("Reading list: what moves up", ("Positive",), ("Moved", "Of moved, right"))
    order = _table("Reading list: the order", ("Positive",), ("AUC of order", "In top quarter", "Lift, top quarter"))
    for target, figures in listed["order"].items():
        row = (TITLES[target], f"{figures['positives']} of {figures['n']}")
        moved.add_row(*row, *(_cell(figures[name]) for name in ("moved", "right")))
        order.add_row(*row, *(_cell(figures[name]) for name in ("auc", "top_quarter", "lift")))
    if listed["named"] is None:
        return [moved, order]
    words = _table("Findings in words", ("Named",), ("Right",))
    for target, figures in listed["named"].items():
        words.add_row(TITLES.get(target, "All"), str(figures["n"]), _cell(figures["right"]))
    return [moved, order, words]


def _table(title: str, numbers: Sequence[str], intervals: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", min_width=_TITLE_WIDTH)
    for heading in numbers:
        table.add_column(heading, justify="right")
    for heading in intervals:
        table.add_column(heading, justify="right", min_width=_INTERVAL_WIDTH)
    return table


def _prevalence(prevalence: Mapping[str, Any]) -> tuple[str, str]:
    value = "-" if prevalence["value"] is None else f"{prevalence['value']:.3g}"
    return value, "--prevalence" if prevalence["stated"] else "these films"


def _cell(estimate: Mapping[str, Any]) -> Text:
    if estimate["value"] is None:
        return Text(TOO_FEW if estimate["note"] == TOO_FEW else "-")
    value = f"{estimate['value']:.2f}"
    return Text(value if estimate["low"] is None else f"{value} [{estimate['low']:.2f},{estimate['high']:.2f}]")
