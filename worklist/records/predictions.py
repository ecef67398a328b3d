"""Uploads that wait for a prediction, and what came of them: short-lived, and of no study on the list.

An upload holds a patient's film, and so does its result's picture. They are files; film, earlier report and note are
erased as soon as the result is there, and everything is erased when it expires, or where no record speaks of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO

from sqlalchemy import delete, select, update

from worklist.errors import FirstreadError, InvalidInput, ModelUnavailable, PermanentError
from worklist.records.database import Database
from worklist.records.leases import is_gone, name_of_a_claim
from worklist.records.tables import PredictionRow
from worklist.records.upload_files import UploadFiles


class PredictionRecords:
    """Both sides of the records: the gateway submits and looks, a worker takes and completes."""

    def __init__(self, database: Database, files: UploadFiles) -> None:
        self._database = database
        self.files = files

    def submit(self, film: BinaryIO | None, prior_report: str | None, now: datetime, *, note: str | None = None) -> str:
        """Keep an upload for a worker, a film or a note alone; returns an identifier that nobody can guess.

        Raises:
            ModelUnavailable: upload_not_kept, there is no room for it.
        """
        prediction_id = secrets.token_urlsafe(18)
        with self._database.write() as session:  # first, since a file of which no record speaks is erased
            session.add(PredictionRow(prediction_id=prediction_id, created_at=now))
        try:
            self.files.keep(prediction_id, film, prior_report, note)
        except BaseException:
            self.withdraw(prediction_id)
            raise
        return prediction_id

    def take(self, prediction_id: str, now: datetime) -> bool:
        """Whether the upload is this worker's to judge, once; not where it is taken, withdrawn or expired.

        A message that comes again finds nothing, so a file on which a worker dies cannot kill the next one. Where that
        worker's process is gone, the upload fails: worker_lost.
        """
        is_waiting = PredictionRow.prediction_id == prediction_id, PredictionRow.taken_at.is_(None)
        with self._database.write() as session:
            taken = update(PredictionRow).where(*is_waiting).values(taken_at=now)
            is_ours = session.execute(taken.returning(PredictionRow.prediction_id)).one_or_none() is not None
            if is_ours:  # before it is taken: of one that is taken and held by nobody, nobody hears that he died
                self.files.hold(prediction_id, name_of_a_claim())
        if not is_ours and self._is_abandoned(prediction_id):
            self.fail(prediction_id, _worker_lost())
        return is_ours

    def complete(
        self, prediction_id: str, result: str, pictures: Sequence[bytes], *, reading: str | None = None
    ) -> bool:
        """Keep the result in place of the upload; False where nobody waits for it any more.

        Args:
            prediction_id: whose.
            result: a JSON document.
            pictures: PNG files, the whole film first, then the crops.
            reading: a JSON document of what was read of the note, which is kept as a file until it is told.

        Raises:
            ModelUnavailable: upload_not_kept, there is no room for the pictures.
        """
        if reading is not None:
            self.files.keep_reading(prediction_id, reading)
        self.files.keep_pictures(prediction_id, pictures)
        with self._database.write() as session:
            row = session.get(PredictionRow, prediction_id, with_for_update=True)
            if row:
                row.result = result
        if row is None:
            self.files.erase(prediction_id)
        return row is not None

    def fail(self, prediction_id: str, error: FirstreadError) -> None:
        """Keep the reason in place of the upload."""
        with self._database.write() as session:
            session.execute(
                update(PredictionRow)
                .where(PredictionRow.prediction_id == prediction_id)
                .values(
                    failure_code=error.code,
                    failure_message=error.message,
                    is_permanent=isinstance(error, PermanentError),
                )
            )
        self.files.erase(prediction_id)

    def result(self, prediction_id: str) -> str | None:
        """The result's JSON document; None while there is none.

        Raises:
            InvalidInput: the upload cannot be judged; code and message are the worker's.
            ModelUnavailable: it could be another time; or worker_lost, the process that judged it is gone.
        """
        is_abandoned = self._is_abandoned(prediction_id)  # before the record, where the result may lie by now
        columns = (
            PredictionRow.result,
            PredictionRow.failure_code,
            PredictionRow.failure_message,
            PredictionRow.is_permanent,
        )
        with self._database.read() as session:
            row = session.execute(select(*columns).where(PredictionRow.prediction_id == prediction_id)).one_or_none()
        if row and row.failure_code:
            kind = InvalidInput if row.is_permanent else ModelUnavailable
            raise kind(row.failure_code, row.failure_message)
        if row and row.result is None and is_abandoned:
            raise _worker_lost()
        return row.result if row else None

    def withdraw(self, prediction_id: str) -> bool:
        """Erase a prediction for which nobody waits any more; whether a worker had taken it."""
        with self._database.write() as session:
            gone = delete(PredictionRow).where(PredictionRow.prediction_id == prediction_id)
            taken_at = session.scalar(gone.returning(PredictionRow.taken_at))
        self.files.erase(prediction_id)
        return taken_at is not None

    def expire(self, older_than: datetime) -> int:
        """Erase every prediction from before a moment, done or not, and files of none; returns how many.

        Raises:
            OSError: the files cannot be looked at.
        """
        kept = self.files.kept()  # before the records, which are written before any file
        with self._database.write() as session:
            gone = session.scalars(
                delete(PredictionRow)
                .where(PredictionRow.created_at < older_than)
                .returning(PredictionRow.prediction_id)
            ).all()
            known = set(session.scalars(select(PredictionRow.prediction_id)))
        for prediction_id in kept - known:
            self.files.erase(prediction_id)
        return len(gone)

    def _is_abandoned(self, prediction_id: str) -> bool:
        """Whether the upload is still here and the process that judged it is gone, as far as this machine can tell."""
        holder = self.files.holder(prediction_id)
        return bool(holder) and is_gone(holder)


def _worker_lost() -> ModelUnavailable:
    return ModelUnavailable(
        "worker_lost",
        "the worker's process died on this film: see its log, then try once more; a film on which it dies again cannot "
        "be judged here",
    )
