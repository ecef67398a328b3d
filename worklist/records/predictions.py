"""Uploads that wait for a prediction, and what came of them: short-lived, and of no study on the list.

An upload holds a patient's film, and so does its result's picture. The film and the earlier report are erased as
soon as the result is there, and everything is erased when it expires.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select, update

from worklist.errors import FirstreadError, InvalidInput, ModelUnavailable, PermanentError
from worklist.records.database import Database
from worklist.records.tables import PredictionPictureRow, PredictionRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What is to be judged: a file's content, and the text of an earlier report where there is one."""

    content: bytes = field(repr=False)
    prior_report: str | None = field(repr=False)


class PredictionRecords:
    """Both sides of the records: the gateway submits and looks, a worker takes and completes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, upload: Upload, now: datetime) -> str:
        """Keep an upload for a worker; returns an identifier that nobody can guess."""
        prediction_id = secrets.token_urlsafe(18)
        with self._database.write() as session:
            session.add(
                PredictionRow(
                    prediction_id=prediction_id,
                    created_at=now,
                    prior_report=upload.prior_report,
                    upload=upload.content,
                )
            )
        return prediction_id

    def take(self, prediction_id: str, now: datetime) -> Upload | None:
        """The upload, for one worker once; None where it is taken, withdrawn or expired.

        A message that comes again finds nothing, so a file on which a worker dies cannot kill the next one.
        """
        is_waiting = PredictionRow.prediction_id == prediction_id, PredictionRow.taken_at.is_(None)
        with self._database.write() as session:
            row = session.execute(
                update(PredictionRow)
                .where(*is_waiting)
                .values(taken_at=now)
                .returning(PredictionRow.upload, PredictionRow.prior_report)
            ).one_or_none()
            return Upload(content=row.upload, prior_report=row.prior_report) if row and row.upload else None

    def complete(self, prediction_id: str, result: str, pictures: Sequence[bytes]) -> bool:
        """Keep the result in place of the upload; False where nobody waits for it any more.

        Args:
            prediction_id: whose.
            result: a JSON document.
            pictures: PNG files, the whole film first, then the crops.
        """
        with self._database.write() as session:
            row = session.get(PredictionRow, prediction_id, with_for_update=True)
            if row is None:
                return False
            row.result, row.upload, row.prior_report = result, None, None
            session.add_all(
                PredictionPictureRow(prediction_id=prediction_id, position=position, png=png)
                for position, png in enumerate(pictures)
            )
            return True

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
                    upload=None,
                    prior_report=None,
                )
            )

    def result(self, prediction_id: str) -> str | None:
        """The result's JSON document; None while there is none.

        Raises:
            InvalidInput: the upload cannot be judged; code and message are the worker's.
            ModelUnavailable: it could be another time.
        """
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
        return row.result if row else None

    def picture(self, prediction_id: str, position: int) -> bytes | None:
        """A picture as PNG; position counts crops from 1 and is 0 for the whole film."""
        with self._database.read() as session:
            row = session.get(PredictionPictureRow, (prediction_id, position))
            return row.png if row else None

    def withdraw(self, prediction_id: str) -> None:
        """Erase a prediction for which nobody waits any more."""
        with self._database.write() as session:
            session.execute(delete(PredictionRow).where(PredictionRow.prediction_id == prediction_id))

    def expire(self, older_than: datetime) -> int:
        """Erase every prediction from before a moment, done or not; returns how many."""
        with self._database.write() as session:
            gone = session.scalars(
                delete(PredictionRow)
                .where(PredictionRow.created_at < older_than)
                .returning(PredictionRow.prediction_id)
            )
            return len(gone.all())
