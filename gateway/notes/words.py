"""What the worker's language model says of a note: asked through the queue of uploads, forgotten once told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi.concurrency import run_in_threadpool

from gateway.intake.dispatch import Dispatcher
from gateway.predict.routes import PredictLimits, judged
from worklist.errors import FirstreadError
from worklist.records import PredictionRecords


@dataclass(frozen=True, kw_only=True, slots=True)
class NoteModel:
    """The way to the language model of a site that has one."""

    records: PredictionRecords
    dispatcher: Dispatcher
    limits: PredictLimits

    async def answer(self, note: str) -> dict[str, Any]:
        """Its words, or why there are none: the rules' reading never waits for them in vain."""
        try:
            keep = partial(self.records.submit, None, None, datetime.now(UTC), note=note)
            prediction_id = await run_in_threadpool(keep)
            await judged(prediction_id, self.records, self.dispatcher, self.limits)
            answer: dict[str, Any] = json.loads(await run_in_threadpool(self._take, prediction_id))
        except FirstreadError as error:
            return {
                "model": None,
                "prompt": None,
                "summary": None,
                "statements": [],
                "why": error.message,
                "checks": [],
            }
        return answer

    def _take(self, prediction_id: str) -> str:
        try:
            return self.records.files.take_reading(prediction_id)
        finally:
            self.records.withdraw(prediction_id)
