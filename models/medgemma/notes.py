"""A clinical note summarized by a language model, behind the same five layers as a film; else the rules stand alone.

The model adds a sentence and terms that the rules do not know. It changes nothing that the rules read: neither a
statement, nor the risk, nor a contradiction, nor what is suggested.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from models.medgemma.answer import BadAnswer, read_values
from models.medgemma.prompt import PromptFile, load_prompt
from models.medgemma.question import LanguageModel, Patience, Question
from models.safety.confirmation import confirmable, confirmation_check
from models.safety.input_gate import Line, admit
from models.safety.language import NOTE_FRAME, faults_of_note_language
from models.safety.notes import faults_of_note_consistency, own_statements
from worklist.account import Check, Layer, Verdict
from worklist.answers import model_answer
from worklist.errors import FirstreadError, ModelUnavailable
from worklist.notes.answers import statement_answer
from worklist.notes.patient import patient_of
from worklist.notes.reading import NoteReading
from worklist.notes.statements import NoteStatement
from worklist.notes.tokens import tokens

log = structlog.get_logger()

FILE: Final = Path(__file__).parent / "note_prompt.json"
_SOURCE: Final = "note"
_ATTEMPTS: Final = 2  # the second is the repair
_REST_S: Final = 60.0  # in which a model that did not answer is not asked again


@dataclass(frozen=True, kw_only=True, slots=True)
class NoteWords:
    """What a language model adds to a note's reading, or why it adds nothing.

    Attributes:
        summary: its sentence, with the one that asks for confirmation; "" where it adds nothing.
        statements: terms beyond the rules' lexicon, with what the rules read of them.
        why: why there are none; "" where there are.
        checks: how each layer judged.
    """

    summary: str
    statements: tuple[NoteStatement, ...]
    why: str
    checks: tuple[Check, ...]


class NoteSummarizer:
    """Asks a language model about notes.

    Args:
        model: the language model.
        time_limit_s: for all attempts at one note together.
    """

    def __init__(self, model: LanguageModel, *, time_limit_s: float) -> None:
        self._model = model
        self._time_limit_s = time_limit_s
        self._prompt: PromptFile = load_prompt(FILE)
        self._rests_until = 0.0

    def answer(self, reading: NoteReading, identifiers: Sequence[str] = ()) -> dict[str, Any]:
        """The words about a note as JSON values: `language_model` of POST /text."""
        words = self._words(reading, identifiers)
        return {
            "model": model_answer(self._model.algorithm),
            "prompt": {"version": self._prompt.version, "sha256": self._prompt.sha256},
            "summary": words.summary or None,
            "statements": [statement_answer(reading.text, one) for one in words.statements],
            "why": words.why or None,
            "checks": [
                {"layer": one.layer, "attempt": one.attempt, "verdict": one.verdict, "detail": one.detail}
                for one in words.checks
            ],
        }

    def _words(self, reading: NoteReading, identifiers: Sequence[str]) -> NoteWords:
        noted = patient_of(reading.text)
        named = tuple(filter(None, (noted.name, noted.number, *identifiers)))
        admitted = admit("", ((_SOURCE, reading.text),), named)
        checks = [admitted.check]
        try:
            self._require_askable(reading, admitted.lines)
            return self._ask(reading, admitted.lines, named, checks)
        except FirstreadError as error:
            if error.code not in {"nothing_to_ask", "explanation_refused"}:
                self._rests_until = max(self._rests_until, time.monotonic() + _REST_S)
            log.warning("the language model did not summarize a note", code=error.code)
            why = error.message
        except Exception as error:  # noqa: BLE001 - a library's fault must not cost what the rules read
            place = "".join(traceback.format_tb(error.__traceback__))
            # without its message, which may quote the note
            log.error("the language model failed unexpectedly", error=type(error).__name__, place=place)  # noqa: TRY400
            why = f"unexpected {type(error).__name__}: see the worker's log"
        return NoteWords(summary="", statements=(), why=why, checks=tuple(checks))

    def _require_askable(self, reading: NoteReading, lines: Sequence[Line]) -> None:
        if reading.language or not lines:
            raise ModelUnavailable("nothing_to_ask", "nothing of the note may be shown to a language model")
        if time.monotonic() < self._rests_until:
            raise ModelUnavailable("explainer_away", "not asked, since a moment before it did not answer")

    def _ask(
        self, reading: NoteReading, lines: Sequence[Line], identifiers: Sequence[str], checks: list[Check]
    ) -> NoteWords:
        patience = Patience(until=time.monotonic() + self._time_limit_s, why_unwanted=lambda: "")
        faults: list[str] = []
        for attempt in range(1, _ATTEMPTS + 1):
            text = self._model.answer(self._question(lines, faults), patience)
            words, faults = self._check(text, attempt, reading, lines, identifiers, checks)
            if words:
                return words
        raise ModelUnavailable("explanation_refused", f"its answer was refused twice: {'; '.join(faults)}")

    def _question(self, lines: Sequence[Line], faults: Sequence[str]) -> Question:
        texts = self._prompt.texts
        numbered = "\n".join(f"[{number}] {line.shown}" for number, line in enumerate(lines, start=1))
        parts = [texts["data"].replace("{lines}", numbered), *texts["task"]]
        parts += [texts["repair"].replace("{faults}", "; ".join(faults))] if faults else []
        return Question(
            system=self._prompt.system,
            images=(),
            text="\n".join(parts),
            schema=self._prompt.schema,
            max_tokens=self._prompt.max_tokens,
        )

    def _check(  # noqa: PLR0913, PLR0917 - what the layers look at
        self,
        text: str,
        attempt: int,
        reading: NoteReading,
        lines: Sequence[Line],
        identifiers: Sequence[str],
        checks: list[Check],
    ) -> tuple[NoteWords | None, list[str]]:
        """What passed all layers, or why not; each layer leaves its trace."""

        def trace(layer: Layer, faults: list[str]) -> None:
            verdict = Verdict.REFUSED if faults else Verdict.PASSED
            checks.append(Check(layer=layer, attempt=attempt, verdict=verdict, detail="; ".join(faults)))

        try:
            values = read_values(text, self._prompt.schema)
        except BadAnswer as error:
            trace(Layer.SCHEMA, [str(error)])
            return None, [str(error)]
        trace(Layer.SCHEMA, [])
        shown = {word.lower for line in lines for word in tokens(line.snippet.snippet)}
        summary = values["summary"]
        spoken = faults_of_note_language(summary, identifiers=identifiers, words=shown | NOTE_FRAME)
        trace(Layer.LANGUAGE, spoken)
        departed = faults_of_note_consistency(summary, reading)
        trace(Layer.CONSISTENCY, departed)
        if spoken or departed:
            return None, [*spoken, *departed]
        checks.append(confirmation_check(attempt))
        own = own_statements(values["statements"], [line.snippet.snippet for line in lines], reading)
        return NoteWords(summary=confirmable(summary), statements=own, why="", checks=tuple(checks)), []
