"""What MedGemma is taught: the product's own question of a film, and the answer that the labels bear out.

A lesson is made by the product's own explainer, asked by a teacher that answers from the labels and the report. So
question, picture and schema are those of the product, and only answers that pass all its safety layers are taught;
what a layer refuses is left out and counted. The schema has no urgency, and a language model must not speak of one:
what makes a film urgent is taught as findings, with side and certainty, by which words may raise a study where a site
allows it (docs/decisions/0019).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imaging.files import read_image_file
from imaging.radiograph import Radiograph, read_radiograph
from models import Scorer
from models.evaluation.films import Label
from models.fitting.films import Listed
from models.medgemma.explainer import MedGemmaExplainer
from models.medgemma.film import SIDE_PX, ShownFilm, show_film
from models.medgemma.prompt import PromptFile, faults_of
from models.medgemma.question import Patience, Question
from models.safety.assertions import assertions_in
from models.safety.consistency import faults_of_consistency
from models.safety.language import faults_of_language
from worklist.account import Certainty, Verdict
from worklist.errors import NoLongerWanted
from worklist.finding import KNOWN_FINDINGS, ON_BOTH_SIDES, Algorithm, Analysis, FindingType, Side
from worklist.terms import SENTENCE_END
from worklist.triage import SiteChoices, Triage, TriagePolicy, assess
from worklist.words import in_a_sentence

_NOTHING: Final = "Heart and lungs as shown on this frontal chest film."
_LIMITS: Final = "A single frontal film limits this."
_SAID: Final = {
    Certainty.PROBABLE: "probable",
    Certainty.POSSIBLE: "possible",
    Certainty.UNCERTAIN: "questionable",
}
_PATIENT_S: Final = 600.0
_SCALE: Final = 1000  # of a box
_MIDDLE: Final = SIDE_PX / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A question and its answer.

    Attributes:
        file: the film's.
        judges: whether it is held out, to judge and not to teach.
        analysis: what the scorer says of the film.
        triage: what the rule makes of it.
        question: without its picture.
        answer: compact JSON of the question's schema.
    """

    file: Path
    judges: bool
    analysis: Analysis
    triage: Triage
    question: Question
    answer: str

    def radiograph(self) -> Radiograph:
        """The film, read again: a thousand of them would not fit into memory."""
        return read_radiograph(read_image_file(self.file))

    def asked(self) -> Question:
        """The question with its picture."""
        picture = show_film(self.radiograph(), self.analysis.quality).picture
        whole = self.question
        return Question(
            system=whole.system, images=(picture,), text=whole.text, schema=whole.schema, max_tokens=whole.max_tokens
        )


def make_lessons(
    films: Sequence[Listed],
    analyses: Sequence[Analysis],
    reports: Mapping[str, str],
    scorer: Scorer,
    prompt: PromptFile,
) -> Iterator[Lesson | str]:
    """A lesson of each film, or why the product's layers refuse what its labels say.

    Args:
        films: with their labels.
        analyses: what the scorer says of each.
        reports: what the radiologist wrote, by the label's name of the film; may lack some.
        scorer: it.
        prompt: in force.
    """
    card = scorer.card
    policy = TriagePolicy(card=card, site=SiteChoices(), flag_from=card.flag_from, budget_basis="")
    for film, analysis in zip(films, analyses, strict=True):
        triage = assess(analysis, policy)
        radiograph = read_radiograph(read_image_file(film.file))
        shown = show_film(radiograph, analysis.quality)
        teacher = _Teacher(
            json.dumps(
                _answer(film.label, reports.get(film.label.file, ""), analysis, triage, shown, prompt),
                separators=(",", ":"),
            )
        )
        explained = MedGemmaExplainer(teacher, time_limit_s=_PATIENT_S).explain(
            analysis,
            triage,
            lambda _, film=radiograph: film,  # type: ignore[misc]
        )
        account = explained.account
        if account is None or account.why or teacher.asked is None:
            faults = [one.detail for one in account.checks if one.verdict is Verdict.REFUSED] if account else []
            yield "; ".join(faults)
            continue
        asked = teacher.asked
        yield Lesson(
            file=film.file,
            judges=film.judges,
            analysis=analysis,
            triage=triage,
            question=Question(
                system=asked.system, images=(), text=asked.text, schema=asked.schema, max_tokens=asked.max_tokens
            ),
            answer=teacher.words,
        )


class _Teacher:
    """A language model that answers what it was told to, once: a repaired answer would be another question's."""

    algorithm: Final = Algorithm(name="teacher", version="", sha256="", device_uid="2.25.1")

    def __init__(self, words: str) -> None:
        self.words = words
        self.asked: Question | None = None

    def answer(self, question: Question, patience: Patience) -> str:  # noqa: ARG002 - it takes no time
        if self.asked is None:
            self.asked = question
            return self.words
        raise NoLongerWanted("refused", "a layer refused it")


def _answer(  # noqa: PLR0913, PLR0917 - what an answer follows from
    label: Label, report: str, analysis: Analysis, triage: Triage, shown: ShownFilm, prompt: PromptFile
) -> dict[str, Any]:
    """The answer that labels and report bear out; what the scores name and the labels deny is left uncertain."""
    named = {one.finding.type.key: one for one in triage.named}
    there = {key for key, is_there in label.truth.items() if is_there and key in KNOWN_FINDINGS}
    words_of = {kind.key: word for word, kind in prompt.findings.items()}
    boxes = {box.target: _box(box.x, box.y, box.w, box.h, shown) for box in label.boxes if box.target in there}
    statements, phrases = [], []
    for key in [*named, *sorted(there - set(named))]:
        if key not in words_of:
            continue
        kind = KNOWN_FINDINGS[key]
        told = named[key].side if key in named else None
        side = _side(kind, report, boxes.get(key), told)
        if key not in named or label.truth.get(key) is None:
            certainty = Certainty.POSSIBLE
        elif key not in there:
            certainty = Certainty.UNCERTAIN
        else:
            certainty = Certainty.PROBABLE if named[key].likelihood == "likely" else Certainty.POSSIBLE
        statements.append({"finding": words_of[key], "side": side, "certainty": certainty.value})
        where = {"both": " bilateral", "none": ""}.get(side, f" {side}")
        phrases.append(f"{_SAID[certainty]}{where} {in_a_sentence(kind.label)}")
    made = f"{', '.join(phrases[:-1])} and {phrases[-1]}" if phrases[1:] else "".join(phrases)
    sentence = f"{made[:1].upper()}{made[1:]}{' on this film' if phrases else ''}." if made else _NOTHING
    pattern = prompt.schema["properties"]["explanation"]
    own = (text for text in _of_report(report, there) if not faults_of(text, pattern))
    explanation = next((text for text in own if _passes(text, analysis, triage)), sentence)
    most = prompt.schema["properties"]
    return {
        "explanation": explanation,
        "statements": statements[: most["statements"]["maxItems"]],
        "boxes": [{"box_2d": box, "label": words_of[key]} for key, box in boxes.items() if key in words_of][
            : most["boxes"]["maxItems"]
        ],
        "comparison": "not compared",
        "uncertainty": _LIMITS,
        "quotes": [],
    }


def _passes(text: str, analysis: Analysis, triage: Triage) -> bool:
    """Whether a sentence passes the layers of language and consistency."""
    return not faults_of_language(text, triage=triage, identifiers=()) and not faults_of_consistency(
        text, (), analysis=analysis, triage=triage
    )


def _of_report(report: str, there: set[str]) -> Iterator[str]:
    """Sentences of a report that assert what the labels say is there, as a suspicion."""
    for sentence in SENTENCE_END.split(report):
        words = " ".join(sentence.split())
        if any(one.finding in there and not one.is_absent for one in assertions_in(words)):
            yield f"Suspected {words[:1].lower()}{words[1:].rstrip('.')}."


def _box(x: float, y: float, w: float, h: float, shown: ShownFilm) -> list[int]:
    """A box in source pixels as y0, x0, y1, x1 from 0 to 1000 of the square that the model sees."""
    if shown.is_mirrored:
        x = shown.geometry.columns - x - w
    x0, y0, x1, y1 = shown.geometry.to_model(x, y, x + w, y + h)
    return [round(min(max(edge / SIDE_PX, 0.0), 1.0) * _SCALE) for edge in (y0, x0, y1, x1)]


def _side(kind: FindingType, report: str, box: Sequence[int] | None, told: Side | None) -> str:
    """The side of a finding: as the report says, else where the box lies, else as the scores tell it."""
    if kind in ON_BOTH_SIDES:
        return "none"
    sides = {
        side for one in assertions_in(report) if one.finding == kind.key and not one.is_absent for side in one.sides
    }
    if not sides and box is not None:
        left, right = (edge / _SCALE * SIDE_PX for edge in (box[1], box[3]))
        if right <= _MIDDLE or left >= _MIDDLE:  # hanging as usual, the patient's right is at the left edge
            sides = {Side.RIGHT if right <= _MIDDLE else Side.LEFT}
    if not sides and told is not None:
        sides = {told}
    if not sides:
        return "none"
    return "both" if len(sides) > 1 else next(iter(sides)).value
