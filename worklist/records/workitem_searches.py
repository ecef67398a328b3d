"""The search for workitems: readings in reading order, then what other systems have scheduled, then what has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from worklist.matching import Key, Match
from worklist.procedure_step import ProcedureStepState
from worklist.records.among import Texts, among
from worklist.records.database import Database
from worklist.records.places import BY_READING
from worklist.records.reading_steps import COLUMNS, CONSTANTS, PRIORITY, canceled_since, light, whole
from worklist.records.tables import ON_THE_LIST, READ, StudyRow, WorkitemRow
from worklist.records.workitem_documents import dataset_of
from worklist.records.workitems import KEPT
from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson, element, moment, text, texts
from worklist.workitems.identity import reading_uid


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemPage:
    """A part of what was found; remaining counts what follows it, None where nobody asked."""

    workitems: Sequence[DicomJson]
    remaining: int | None = None


class _Found:
    """One workitem: a study's present reading, or one that is told already."""

    __slots__ = ("dataset", "number", "orthanc_id")

    def __init__(self, *, orthanc_id: str = "", number: int = 0, dataset: DicomJson | None = None) -> None:
        self.orthanc_id = orthanc_id
        self.number = number
        self.dataset = dataset or {}


class WorkitemSearches:
    """Searches of workitems.

    Args:
        database: where the records are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, keys: Sequence[Key], *, offset: int, limit: int, is_counted: bool = False) -> WorkitemPage:
        """Some of the workitems that meet all keys.

        Args:
            keys: made by worklist.workitems.keys.
            offset: how many are passed over.
            limit: how many are told at most.
            is_counted: whether to count those that follow.
        """
        with self._database.read() as session:
            end = offset + limit
            found: list[_Found] = []
            if is_counted or end:
                found += _readings(session, keys, (ON_THE_LIST,), BY_READING, most=None if is_counted else end)
            for search in (_others_open, self._ended):
                if is_counted or len(found) < end:
                    found += search(session, keys)
            told = _told(session, found[offset:end])
            return WorkitemPage(workitems=told, remaining=max(0, len(found) - end) if is_counted else None)

    def _ended(self, session: Session, keys: Sequence[Key]) -> list[_Found]:
        since = self._database.now(session) - KEPT
        by_end = (StudyRow.reading_since.desc(), StudyRow.study_instance_uid.desc(), StudyRow.orthanc_id.desc())
        found = _readings(session, keys, (READ, StudyRow.reading_since >= since), by_end)
        rows = session.scalars(select(WorkitemRow).where(WorkitemRow.final_at >= since))
        others = sorted(rows, key=lambda row: (row.final_at or row.updated_at, row.workitem_uid), reverse=True)
        return found + _canceled(session, keys, since) + _matched(others, keys)


def _canceled(session: Session, keys: Sequence[Key], since: datetime) -> list[_Found]:
    ended = canceled_since(session, since)
    if not ended:
        return []
    said = _said(session, [reading_uid(row.orthanc_id, step.number) for row, _, step in ended])
    told = [whole(row, step, of, said.get(reading_uid(row.orthanc_id, step.number), {})) for row, of, step in ended]
    return [_Found(dataset=dataset) for dataset in told if all(_is_met(key, dataset) for key in keys)]


def _is_met(key: Key, dataset: DicomJson) -> bool:
    path = key.attribute.tag
    held = [CONSTANTS[path]] if path in CONSTANTS else texts(dataset, path)
    return any(map(key.matches, held))


def _readings(
    session: Session,
    keys: Sequence[Key],
    conditions: Sequence[ColumnElement[bool]],
    order: Sequence[ColumnElement[Any] | InstrumentedAttribute[Any]],
    *,
    most: int | None = None,
) -> list[_Found]:
    columns: list[ColumnElement[Any] | InstrumentedAttribute[Any]] = []
    checks: list[tuple[int, Match]] = []
    for key in keys:
        path = key.attribute.tag
        if path in COLUMNS:
            checks.append((len(columns), _remembering(key.matches)))
            columns.append(COLUMNS[path])
        elif path == rules.SOP_INSTANCE:
            checks.append((-1, key.matches))
        elif not key.matches(CONSTANTS.get(path, "")):
            return []  # the same of all readings, or nothing
    asked = select(StudyRow.orthanc_id, StudyRow.reading_number, *columns).where(*conditions).order_by(*order)
    if not checks and most is not None:
        asked = asked.limit(most)
    rows = session.execute(asked).all()
    if not checks:
        return [_Found(orthanc_id=row[0], number=row[1]) for row in rows]
    return [
        _Found(orthanc_id=row[0], number=row[1])
        for row in rows
        if all(_meets(row, column, matches) for column, matches in checks)
    ]


def _remembering(matches: Match) -> Match:
    """Of thousands of rows most have one of a few states and priorities."""
    known: dict[str, bool] = {}

    def remembered(held: str) -> bool:
        if held not in known:
            known[held] = matches(held)
        return known[held]

    return remembered


def _meets(row: Sequence[Any], column: int, matches: Match) -> bool:
    if column < 0:
        return matches(reading_uid(row[0], row[1]))
    held = row[column + 2]
    return matches(moment(held) if isinstance(held, datetime) else str(held))


def _others_open(session: Session, keys: Sequence[Key]) -> list[_Found]:
    rows = session.scalars(select(WorkitemRow).where(WorkitemRow.final_at.is_(None), WorkitemRow.state.is_not(None)))
    return _matched(sorted(rows, key=_place), keys)


def _place(row: WorkitemRow) -> tuple[int, str, str]:
    dataset = dataset_of(row.document)
    return rules.PRIORITIES.index(text(dataset, rules.PRIORITY)), text(dataset, rules.START), row.workitem_uid


def _matched(rows: Sequence[WorkitemRow], keys: Sequence[Key]) -> list[_Found]:
    return [
        _Found(dataset=dataset_of(row.document))
        for row in rows
        if all(any(map(key.matches, texts(dataset_of(row.document), key.attribute.tag))) for key in keys)
    ]


def _told(session: Session, found: Sequence[_Found]) -> list[DicomJson]:
    ids = [one.orthanc_id for one in found if one.orthanc_id]
    studies = {}
    said: dict[str, DicomJson] = {}
    if ids:
        is_meant = among(StudyRow.orthanc_id, literal(ids, Texts()))
        studies = {
            row.orthanc_id: (row, priority)
            for row, priority in session.execute(select(StudyRow, PRIORITY).where(is_meant))
        }
        said = _said(session, [reading_uid(one.orthanc_id, one.number) for one in found if one.orthanc_id])
    told = []
    for one in found:
        if not one.orthanc_id:
            told.append(dict(one.dataset))
            continue
        row, priority = studies[one.orthanc_id]
        uid = reading_uid(one.orthanc_id, one.number)
        state = row.reading.state.step_state or ProcedureStepState.SCHEDULED
        dataset = light(row, state, priority) | said.get(uid, {})
        dataset[rules.SOP_INSTANCE] = element("UI", uid)
        told.append(dict(sorted(dataset.items())))
    return told


def _said(session: Session, uids: Sequence[str]) -> dict[str, DicomJson]:
    """What was said by UPS of the workitems of readings, by UID."""
    of_them = among(WorkitemRow.workitem_uid, literal(list(uids), Texts()))
    return {row.workitem_uid: dataset_of(row.document) for row in session.scalars(select(WorkitemRow).where(of_them))}
