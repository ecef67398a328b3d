"""What OpenAPI says of worklist/notes/answers.py."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from gateway.schemas import ModelSchema
from worklist.account import Layer, Verdict
from worklist.finding import Side
from worklist.notes.contradictions import ContradictionKind
from worklist.notes.lexicon import Kind
from worklist.notes.measurements import Quantity
from worklist.notes.risk import RiskClass, Rule
from worklist.notes.statements import When, Who


class StatementSchema(BaseModel, extra="forbid"):
    """A mention of a symptom, condition or medicine.

    Attributes:
        text: its words, as they stand in the note from begin to end, counted in characters without hidden ones.
        sides: the patient's sides that the note states of it.
        dose: of a medicine, as it stands.
        allergy: a medicine that the patient does not bear, which makes it a condition.
        sentence: word for word.
    """

    kind: Kind
    text: str
    negated: bool
    uncertain: bool
    who: Who
    when: When
    sides: list[Side]
    dose: str | None
    allergy: bool
    begin: int
    end: int
    sentence: str
    sentence_begin: int
    sentence_end: int


class MeasurementSchema(BaseModel, extra="forbid"):
    """A number with its unit; where it does not count for the rules, why_not says why."""

    name: Quantity
    value: float
    unit: str
    text: str
    counts: bool
    why_not: str
    begin: int
    end: int
    sentence: str


class RiskInputSchema(BaseModel, extra="forbid"):
    """An input of a rule; points is null where it is missing, which is never taken for normal."""

    name: str
    value: str | None
    points: int | None
    most: int
    evidence: str | None


class ScoreSchema(BaseModel, extra="forbid"):
    """What a rule says: points of what is known, and how many there would be were the missing at its worst."""

    rule: Rule
    class_: RiskClass = Field(alias="class")
    at_least: RiskClass
    points: int
    most_points: int
    missing: list[str]
    inputs: list[RiskInputSchema]


class RiskSchema(BaseModel, extra="forbid"):
    """The class of risk by published rules; "unknown" says that too little is stated, and is never a low one."""

    class_: RiskClass = Field(alias="class")
    rule: Rule | None
    reasons: list[str]
    scores: list[ScoreSchema]


class ContradictionSchema(BaseModel, extra="forbid"):
    """In what the note and the film differ; sentence is the note's, where it is about one."""

    kind: ContradictionKind
    text: str
    sentence: str | None


class PromptSchema(BaseModel, extra="forbid"):
    """What a language model was asked with."""

    version: str
    sha256: str


class CheckSchema(BaseModel, extra="forbid"):
    """How a safety layer judged what went to a language model, or came from it."""

    layer: Layer
    attempt: int
    verdict: Verdict
    detail: str


class LanguageModelSchema(BaseModel, extra="forbid"):
    """What a language model adds: a sentence and terms that the rules do not know; or why it adds nothing."""

    model: ModelSchema | None
    prompt: PromptSchema | None
    summary: str | None
    statements: list[StatementSchema]
    why: str | None
    checks: list[CheckSchema]


class RequestAnswer(BaseModel, extra="forbid"):
    """What the reason that an order states says beside its film. Not a diagnosis.

    `asked` are the findings that it raises as a question, `attention` what a reader may look at (never a treatment),
    `remarks` what was not read and why.
    """

    asked: list[str]
    attention: list[str]
    contradictions: list[ContradictionSchema]
    remarks: list[str]
    language: str
    model: ModelSchema
    disclaimer: Literal["Not a diagnosis. Research use. Unverified AI output."]


class NoteAnswer(RequestAnswer):
    """What a note states. Not a diagnosis.

    `asked`, `attention` and `remarks` are as of a request; `remarks` say what was not counted, too. `language_model` is
    null where the site has none; it changes nothing of the rest. `contradictions` are empty where no film lies beside
    the note.
    """

    summary: str
    statements: list[StatementSchema]
    measurements: list[MeasurementSchema]
    risk: RiskSchema
    language_model: LanguageModelSchema | None
