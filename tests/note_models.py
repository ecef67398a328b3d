"""Language models for the tests of notes: what they answer is what they are told to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from models.medgemma.question import Patience, Question
from tests.language_servers import MODEL
from worklist.finding import Algorithm


def answer_of(summary: str, *statements: tuple[str, str, int]) -> str:
    """An answer of the schema."""
    stated = [{"kind": kind, "words": words, "line": line} for kind, words, line in statements]
    return json.dumps({"summary": summary, "statements": stated})


@dataclass
class Obedient:
    """The worst model there can be: it answers what it is told to.

    Attributes:
        replies: one for each question in turn, the last one for all after it.
        asked: the questions.
    """

    replies: list[str]
    asked: list[Question] = field(default_factory=list)

    @property
    def algorithm(self) -> Algorithm:
        """Its name."""
        return Algorithm(name=MODEL, version="1", sha256="", device_uid="2.25.1")

    def answer(self, question: Question, patience: Patience) -> str:
        """The next reply, whatever is asked."""
        del patience
        self.asked.append(question)
        return self.replies[min(len(self.asked), len(self.replies)) - 1]
