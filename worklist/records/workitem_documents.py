"""Workitems as data sets: read from studies, or from what is kept."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from worklist.records.deletion_locks import is_locked
from worklist.records.reading_steps import PRIORITY, ReadingStep, orthanc_id_of, step_of, whole
from worklist.records.tables import StudyRow, WorkitemRow
from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson
from worklist.workitems.identity import reading_name
from worklist.workitems.refusal import Refusal, WorkitemRefused

_LONGEST_KNOWN: Final = 16_384  # characters of a document that is kept in memory once it was read


def retrieved(session: Session, workitem_uid: str) -> DicomJson:
    """A workitem, within a transaction.

    Raises:
        WorkitemRefused: there is none, or its study has left the PACS and nobody keeps it by a deletion lock.
    """
    name = reading_name(workitem_uid)
    orthanc_id = orthanc_id_of(session, name) if name else None
    study = session.get(StudyRow, orthanc_id) if orthanc_id else None
    row = session.get(WorkitemRow, workitem_uid)
    if name and study:
        step = step_of(session, study, name.number)
        if step is None:
            raise rules.unknown(workitem_uid)
        if study.withdrawn_at is not None and not is_locked(session, workitem_uid):
            raise gone(workitem_uid)
        return reading_dataset(session, study, step, row)
    if row is None or row.state is None:  # what was said of a reading is nothing without its study
        raise rules.unknown(workitem_uid)
    return dict(dataset_of(row.document))


def reading_dataset(session: Session, study: StudyRow, step: ReadingStep, said: WorkitemRow | None) -> DicomJson:
    """The workitem of a reading, with what was said of it by UPS."""
    priority = session.scalars(select(PRIORITY).where(StudyRow.orthanc_id == study.orthanc_id)).one()
    return whole(study, step, priority, dataset_of(said.document) if said else {})


def dataset_of(document: str) -> DicomJson:
    """A kept data set; never changed, since it may be kept in memory."""
    return _known(document) if len(document) <= _LONGEST_KNOWN else _read(document)


def _read(document: str) -> DicomJson:
    dataset: DicomJson = json.loads(document)
    return dataset


_known = lru_cache(maxsize=4096)(_read)


def document_of(dataset: DicomJson) -> str:
    """A data set as it is kept."""
    return json.dumps(dict(sorted(dataset.items())), ensure_ascii=False, separators=(",", ":"))


def gone(workitem_uid: str) -> WorkitemRefused:
    """The refusal where the study of a reading has left the PACS."""
    return WorkitemRefused(Refusal.GONE, f"the study of workitem {workitem_uid[:64]} has left the PACS")
