"""From speech to words: what a worker does for POST /dictate. Neither the speech nor the words are logged or kept."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from worker.failures import log_failure
from worklist.answers import model_answer
from worklist.errors import FirstreadError
from worklist.job import Queue
from worklist.records import PredictionRecords
from worklist.spoken.wav import read_wav

if TYPE_CHECKING:
    from models.medasr.recognizer import SpeechRecognizer

_LOUDEST = np.float32(32_768)  # of 16 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class DictatePipeline:
    """What hears speech, put together once a process.

    Attributes:
        speeches: the uploads, and what comes of them.
        recognizer: loaded.
    """

    speeches: PredictionRecords
    recognizer: SpeechRecognizer

    def run(self, speech_id: str) -> None:
        """Hear an upload."""
        if not self.speeches.take(speech_id, datetime.now(UTC)):
            return
        try:
            with self.speeches.files.film(speech_id) as file:
                speech = read_wav(file.read())
            started = time.perf_counter()
            text = self.recognizer.recognize(np.frombuffer(speech.samples, "<i2").astype(np.float32) / _LOUDEST)
            elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
            heard = {"text": text, "elapsed_ms": elapsed_ms, "model": model_answer(self.recognizer.algorithm)}
            self.speeches.complete(speech_id, "{}", (), reading=json.dumps(heard))
        except FirstreadError as error:
            self.speeches.fail(speech_id, error)
        except Exception as error:  # noqa: BLE001 - whoever waits is answered, whatever happens
            self.speeches.fail(speech_id, log_failure(Queue.DICTATE, error))
