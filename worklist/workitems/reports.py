"""What subscribers hear of a workitem (PS3.4 Table CC.2.4-1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson, element, text, texts
from worklist.workitems.identity import UPS_EVENT


class ReportType(IntEnum):
    """Event Type ID (0000,1002)."""

    STATE = 1
    CANCEL_REQUESTED = 2
    PROGRESS = 3
    ASSIGNED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One event; said is its data set, without the UIDs."""

    type: ReportType
    said: DicomJson


_REASONS: Final = (rules.CANCEL_REASON, rules.DISCONTINUATION_CODES)
_CONTACT: Final = ("0074100A", "0074100C")  # Contact URI, Contact Display Name
_REQUESTING_AE: Final = "00741236"


def state_report(dataset: Mapping[str, Any]) -> Report:
    """Procedure Step State and Input Readiness State of a workitem, and why it was canceled."""
    said = {tag: dataset[tag] for tag in (rules.READINESS, rules.STATE) if tag in dataset}
    if text(dataset, rules.STATE) == "CANCELED":
        said |= _of_progress(dataset, _REASONS)
    return Report(type=ReportType.STATE, said=said)


def readiness_report(after: Mapping[str, Any], before: Mapping[str, Any]) -> Report | None:
    """A change of the Input Readiness State is told as the state is."""
    is_same = text(after, rules.READINESS) == text(before, rules.READINESS)
    return None if is_same else state_report(after)


def progress_report(after: Mapping[str, Any], before: Mapping[str, Any]) -> Report | None:
    """How far it has come, where that changed."""
    if after.get(rules.PROGRESS_SEQUENCE) == before.get(rules.PROGRESS_SEQUENCE):
        return None
    return Report(type=ReportType.PROGRESS, said={rules.PROGRESS_SEQUENCE: after[rules.PROGRESS_SEQUENCE]})


def assigned_report(after: Mapping[str, Any], before: Mapping[str, Any]) -> Report | None:
    """By what or by whom it is to be performed, where that is said or changed."""
    told = (rules.STATIONS, rules.PERFORMERS)
    values = {tag: after.get(tag, {}).get("Value", []) for tag in told}
    if all(held == before.get(tag, {}).get("Value", []) for tag, held in values.items()):
        return None
    return Report(type=ReportType.ASSIGNED, said={tag: after.get(tag, element("SQ")) for tag in told})


def cancel_requested(given: Mapping[str, Any], ae_title: str) -> Report:
    """Who wants it canceled, and why."""
    said = _given(given, (*_REASONS, *_CONTACT)) | {_REQUESTING_AE: element("AE", ae_title)}
    return Report(type=ReportType.CANCEL_REQUESTED, said=dict(sorted(said.items())))


def with_reason(dataset: DicomJson, given: Mapping[str, Any]) -> DicomJson:
    """A workitem whose progress says why it is canceled."""
    items = list(dataset.get(rules.PROGRESS_SEQUENCE, {}).get("Value", ())) or [{}]
    items[0] = {**items[0], **_given(given, _REASONS)}
    return {**dataset, rules.PROGRESS_SEQUENCE: {"vr": "SQ", "Value": items}}


def message(uid: str, report: Report, number: int) -> DicomJson:
    """An event as it is sent (PS3.18 section 11.13): the attributes of N-EVENT-REPORT, and the data set.

    Args:
        uid: of the workitem.
        report: what is said.
        number: Message ID (0000,0110), 16 bits.
    """
    return {
        "00000002": element("UI", UPS_EVENT),
        "00000110": {"vr": "US", "Value": [number % 65_536]},
        "00001000": element("UI", uid),
        "00001002": {"vr": "US", "Value": [int(report.type)]},
        **report.said,
    }


def _given(given: Mapping[str, Any], tags: Iterable[str]) -> DicomJson:
    return {tag: given[tag] for tag in tags if texts(given, tag) or given.get(tag, {}).get("Value")}


def _of_progress(dataset: Mapping[str, Any], tags: Iterable[str]) -> DicomJson:
    items = dataset.get(rules.PROGRESS_SEQUENCE, {}).get("Value", ())
    return _given(items[0], tags) if items else {}
