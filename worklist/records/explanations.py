"""What a slow explainer must know of a study and of the work that waits: read alone, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import case, func, or_, select

from worklist.finding import Analysis, merge
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.reading import ReadingState
from worklist.records.database import Database
from worklist.records.images import current_analyses
from worklist.records.priors import PriorStudy, newest_priors
from worklist.records.tables import OPEN, JobRow, StudyRow
from worklist.triage import Urgency

_COMES_FIRST: Final = or_(
    StudyRow.order_priority == OrderPriority.STAT, StudyRow.urgency.in_((Urgency.CRITICAL, Urgency.URGENT))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What the records know of a study beside its images.

    Attributes:
        reason: the reason for the study, as its order states it.
        comes_first: whether it is flagged or its order is STAT.
        identifiers: the patient's names and numbers, as the header has them.
    """

    reason: str
    comes_first: bool
    identifiers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportLoad:
    """What the slow path has to do.

    Attributes:
        waiting: reports that are to be written, those in work included.
        waiting_first: those of them of flagged and STAT studies.
    """

    waiting: int
    waiting_first: int


class ExplanationRecords:
    """The slow explainer's side of the records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, study_orthanc_id: str) -> StudyFacts:
        """What is known of a study; nothing of one that is gone."""
        with self._database.read() as session:
            row = session.get(StudyRow, study_orthanc_id)
            if row is None:
                return StudyFacts(reason="", comes_first=False, identifiers=())
            return StudyFacts(
                reason=row.question,
                comes_first=row.order_priority is OrderPriority.STAT
                or row.urgency in {Urgency.CRITICAL, Urgency.URGENT},
                identifiers=tuple(filter(None, (row.patient_name, row.patient_id, row.accession_number))),
            )

    def analysis(self, study_orthanc_id: str, scorer_sha256: str) -> Analysis | None:
        """What a scorer said of all images of a study as they are now; None where it has judged none of them."""
        with self._database.read() as session:
            found = [one for one in current_analyses(session, study_orthanc_id) if one.scorer.sha256 == scorer_sha256]
        return merge(found) if found else None

    def newest_prior(self, study_orthanc_id: str) -> tuple[PriorStudy | None, int]:
        """The newest earlier study under the same Patient ID, and how many there are; see priors.py."""
        with self._database.read() as session:
            return newest_priors(session, [study_orthanc_id]).get(study_orthanc_id, (None, 0))

    def load(self) -> ReportLoad:
        """What the slow path has to do at this moment."""
        with self._database.read() as session:
            waiting, first = session.execute(
                select(func.count(), func.coalesce(func.sum(case((_COMES_FIRST, 1), else_=0)), 0))
                .select_from(JobRow)
                .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
                .where(OPEN, JobRow.queue == Queue.REPORT)
            ).one()
        return ReportLoad(waiting=waiting, waiting_first=int(first))

    def why_unwanted(self, study_orthanc_id: str, revision: int) -> str:
        """Why nobody needs a revision's explanation any more, in one line; "" while somebody does."""
        with self._database.read() as session:
            row = session.get(StudyRow, study_orthanc_id)
            if row is None or row.withdrawn_at is not None:
                return "the study is no longer in the PACS"
            if row.revision > revision:
                return "a newer film of the study has arrived"
            if row.reading_state is ReadingState.READ:
                return "the study has been read"
            if row.reading_state is ReadingState.PRIOR:
                return "the study is taken for a prior"
            return ""
