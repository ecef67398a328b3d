"""Order and flag of the studies on the list, as metadata in Orthanc, and as labels where Orthanc has such (1.12).

Orthanc Explorer 2 sorts by metadata. A study's mark depends on no other study, so that a change costs one or two
requests, whatever the length of the list. How far the events have been followed is kept, so that after a pause what
has changed since is written and nothing else.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.intake.orthanc import OrthancClient
from worklist.errors import FirstreadError, PacsUnavailable
from worklist.records import FeedCursor, IntakeRecords, Lease, StudyMark, StudyMarks
from worklist.triage import Urgency

MARKS: Final = "marks"
"""Name of the cursor, and of the lease of the one process that writes."""
ORDER: Final = "FirstreadOrder"
FLAG: Final = "FirstreadFlag"
LABELS: Final = {Urgency.CRITICAL: "firstread-critical", Urgency.URGENT: "firstread-urgent"}
_FLAGS: Final = {Urgency.CRITICAL: "CRITICAL", Urgency.URGENT: "URGENT", Urgency.NONE: "NO AI FLAG"}
_EVERY_S: Final = 1.0
_AT_ONCE: Final = 50  # studies of one round: a PACS has other things to do
_NO_SUCH_NAME: Final = "inexistent item"  # in Orthanc's words; a study that is gone is an unknown resource

log = structlog.get_logger()


class Marker:
    """Writes the marks, in one thread, in one process at a time.

    Args:
        orthanc: where they are written.
        marks: what they are.
        records: keep how far the events have been followed.
        lease: held by the one process that writes.
    """

    def __init__(self, orthanc: OrthancClient, marks: StudyMarks, records: IntakeRecords, lease: Lease) -> None:
        self._orthanc = orthanc
        self._marks = marks
        self._records = records
        self._lease = lease
        self._pending: dict[str, StudyMark] = {}
        self._written: dict[str, StudyMark] = {}  # of studies on the list: most events change nothing of a mark
        self._number: int | None = None  # up to which the events have been followed
        self._kept: int | None = None  # the number that is kept: once all up to it is written
        self._has_labels: bool | None = None
        self._trouble = ""
        self._stop = threading.Event()

    def run(self) -> None:
        """Look every second, until stopped, or until Orthanc turns out not to have such metadata."""
        while not self._stop.wait(_EVERY_S):
            try:
                if self._lease.hold():
                    self.step()
                else:
                    self._pending, self._written, self._number = {}, {}, None  # another process goes on
                self._trouble = ""
            except (FirstreadError, SQLAlchemyError) as error:
                if str(error) != self._trouble:
                    log.warning("marks of studies will be tried again", error=str(error))
                self._trouble = str(error)
        self._lease.release()

    def stop(self) -> None:
        """End `run` after its present round."""
        self._stop.set()

    def step(self) -> None:
        """Write the marks of as many studies as one round may, and note how far the events are followed.

        Raises:
            PacsUnavailable: Orthanc does not answer.
        """
        if self._number is None:
            cursor = self._records.cursor(MARKS)
            self._number = self._kept = cursor.sequence if cursor else None
        number, marks = self._marks.listed() if self._number is None else self._marks.changed_after(self._number)
        self._pending |= {one.orthanc_id: one for one in marks if self._written.get(one.orthanc_id) != one}
        self._number = number
        for one in list(self._pending.values())[:_AT_ONCE]:
            self._write(one)
            del self._pending[one.orthanc_id]
            if one.order:
                self._written[one.orthanc_id] = one
            else:
                self._written.pop(one.orthanc_id, None)
        if not self._pending and self._kept != number:
            self._records.ingest([], [], feed=MARKS, cursor=FeedCursor(sequence=number, marks=()), lease=self._lease)
            self._kept = number

    def _write(self, mark: StudyMark) -> None:
        study = f"/studies/{mark.orthanc_id}"
        before = self._written.get(mark.orthanc_id)
        flag = _FLAGS.get(mark.urgency, "") if mark.urgency else ""
        for name, value in ((ORDER, mark.order), (FLAG, flag)):
            self._set(f"{study}/metadata/{name}", value)
        if self._has_labels is None:
            self._has_labels = bool(self._orthanc.system().get("HasLabels"))
        if not self._has_labels:
            return
        for urgency, label in LABELS.items():
            is_wanted = bool(mark.order) and mark.urgency is urgency
            if before is None or is_wanted or before.urgency is urgency:
                self._set(f"{study}/labels/{label}", " " if is_wanted else "")

    def _set(self, path: str, value: str) -> None:
        """Write a value, or remove what is there; what is said of a study that is gone is lost."""
        rest = self._orthanc.rest
        if value:
            answer = self._orthanc.ask(rest.put, path, content=value, absent_ok=True)
        else:
            answer = self._orthanc.ask(rest.delete, path, absent_ok=True)
        if answer.is_error and _NO_SUCH_NAME in answer.text:
            raise PacsUnavailable(
                "no_metadata",
                f'Orthanc takes no {path.rpartition("/")[2]}: give it "UserMetadata" as in orthanc/explorer-2.json, '
                "or set FIRSTREAD_MARK_STUDIES=false",
            )
