"""Answers to questions about a study, from what is known of it and in the words of list and report: by rules.

No flag is never told as a negative, a finding is named only where the triage names it, and an answer that names
nothing says that nothing is excluded by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from worklist.account import CONFIRM
from worklist.card import FindingCard
from worklist.comparison import day_in_words
from worklist.finding import KNOWN_FINDINGS, Analysis, Finding
from worklist.spoken.understanding import Kind, Understood, commands
from worklist.triage import NOT_ASSESSED, NamedFinding, Triage, TriagePolicy, Urgency
from worklist.words import in_a_sentence, joined, two_places

NOT_A_NEGATIVE: Final = "That excludes nothing: no flag is never a negative."
NOT_EXCLUDED: Final = "What is not named is not excluded."
NO_STUDY: Final = "Questions are about the study that is open: open one first."
CAN_BE_ASKED: Final = (
    "what was found, on the left, how sure, for the explanation, why it stands there, what changed since the prior, "
    "what the report on it said, what was asked, what was looked for, the film's quality, and which model says so"
)
NOT_UNDERSTOOD: Final = f"This question is not understood. You can ask: {CAN_BE_ASKED}."
_QUOTED: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedStudy:
    """What an answer may use of a study.

    Attributes:
        analysis, triage: None before it is scored.
        policy: in force when it was judged.
        reason: why it stands where it stands; "" where it stands as it arrived.
        rank: its place among what is to be read; 0 where it is not.
        question: what the referrer asks.
        failure: why it has no result, for people; "" where it has one, or none yet.
        prior_date: of the patient's newest earlier study on the list, YYYYMMDD; "" where there is none.
    """

    analysis: Analysis | None
    triage: Triage | None
    policy: TriagePolicy | None
    reason: str
    rank: int
    question: str
    failure: str
    prior_date: str

    @property
    def shown(self) -> set[str]:
        """Keys of the findings that may be shown."""
        return {found.type.key for found in self.triage.shown} if self.triage else set()


def answer(asked: Understood, study: AskedStudy | None) -> str:
    """One to four sentences.

    Args:
        asked: a question.
        study: that it is about; None where none is open.

    Raises:
        ValueError: it is no question.
    """
    if asked.kind is not Kind.QUESTION:
        raise ValueError("only questions are answered")
    if asked.name == "help":
        told = joined([in_a_sentence(says) for says, _ in commands()])
        return f"You can say: {told}. You can ask: {CAN_BE_ASKED}."
    if not asked.name:
        return NOT_UNDERSTOOD
    return _ANSWERS[asked.name](asked, study) if study else NO_STUDY


def compared(study: AskedStudy) -> str:
    """What is known of the study beside its prior, in a sentence or more; never empty."""
    prior = study.analysis.prior if study.analysis else None
    if prior is None:
        if study.prior_date:
            return f"There is a prior of {day_in_words(study.prior_date)}; its film has not been compared."
        return "No prior of this patient is known here. That does not say that there is none elsewhere."
    if summary := prior.summary(study.shown):
        return f"{summary} A lower score excludes nothing."
    day = f" of {day_in_words(prior.study_date)}" if prior.study_date else ""
    return " ".join(prior.sentences(study.shown)) or f"There is a prior{day}; its film has not been compared."


def _findings(asked: Understood, study: AskedStudy) -> str:
    if not (study.triage and study.analysis):
        return _not_assessed(study)
    named = study.triage.named
    if asked.side is None:
        words = f"{'; '.join(one.words for one in named)}." if named else f"{study.triage.flag}; nothing is named."
        return f"{words} {_looked_for(study.triage)} {NOT_EXCLUDED if named else NOT_A_NEGATIVE}"
    here = [one for one in named if one.side is asked.side]
    sideless = [one for one in named if one.side is None]
    words = (
        f"On the {asked.side}: {'; '.join(in_a_sentence(_without_side(one)) for one in here)}."
        if here
        else f"Nothing is named on the {asked.side}."
    )
    also = f" Named without a side: {'; '.join(in_a_sentence(one.words) for one in sideless)}." if sideless else ""
    return f"{words}{also} {NOT_EXCLUDED if here else NOT_A_NEGATIVE}"


def _finding(asked: Understood, study: AskedStudy) -> str:
    if not (study.triage and study.analysis):
        return _not_assessed(study)
    label = KNOWN_FINDINGS[asked.finding].label
    card, finding = _known(asked, study)
    named = _named(asked, study)
    if named:
        other = f" It is not named on the {asked.side}." if asked.side and named.side not in {None, asked.side} else ""
        unsure = " On which side is not told." if asked.side and named.side is None else ""
        return f"{named.words}.{other}{unsure} {_how_often(named)}"
    if finding is None or card is None:
        return f"{label} is not among what is looked for here, so nothing is known of it. {NOT_A_NEGATIVE}"
    if not card.is_shown:
        return f"{label} is not found reliably by this model, so nothing is told of it. {NOT_A_NEGATIVE}"
    return f"{label} is not named: {_score(finding, card)}. {NOT_A_NEGATIVE}"


def _sure(asked: Understood, study: AskedStudy) -> str:
    if not (study.triage and study.analysis):
        return _not_assessed(study)
    if asked.finding:
        return _finding(asked, study)
    if not study.triage.named:
        return f"{study.triage.flag}; nothing is named, so there is nothing to be sure of. {NOT_A_NEGATIVE}"
    return " ".join(
        f"{one.words}: score {two_places(one.finding.probability)}. {_how_often(one)}" for one in study.triage.named
    )


def _place(asked: Understood, study: AskedStudy) -> str:
    del asked
    flag = study.triage.flag if study.triage else NOT_ASSESSED
    reason = study.reason.rstrip(".") or "In order of arrival"
    words = f"Place {study.rank}. {reason}." if study.rank else "It is not among what is to be read."
    if study.triage and study.triage.urgency is not Urgency.NONE:
        return words if flag in reason else f"{words} {flag}."
    return f"{words} {flag}. {NOT_A_NEGATIVE}"


def _change(asked: Understood, study: AskedStudy) -> str:
    told = compared(study)
    if not asked.finding or not (study.analysis and study.analysis.prior):
        return told
    label = KNOWN_FINDINGS[asked.finding].label
    lines = [line for line in study.analysis.prior.lines(study.shown) if line.startswith(label)]
    return f"{lines[0]} A lower score excludes nothing." if lines else f"{label} was not compared by score. {told}"


def _report(asked: Understood, study: AskedStudy) -> str:
    del asked
    if not (study.analysis and study.analysis.prior and study.analysis.prior.report):
        return f"No earlier report was read. {compared(study)}"
    quotes = " ".join(f"\u201c{one.snippet}\u201d" for one in study.analysis.snippets[:_QUOTED])
    day = day_in_words(study.analysis.prior.study_date)
    return f"The report on the film of {day}: {quotes or 'no sentence of it mentions a finding that is looked for.'}"


def _reason(asked: Understood, study: AskedStudy) -> str:
    del asked
    return f"The request says: {study.question}" if study.question else "The film's header holds no question."


def _explanation(asked: Understood, study: AskedStudy) -> str:
    del asked
    analysis = study.analysis
    if not analysis:
        return _not_assessed(study)
    if not (analysis.explanation and analysis.explainer):
        return "No explanation is written yet. Ask what was found."
    by = f"Explained by {analysis.explainer.name}, version {analysis.explainer.version}."
    return f"{analysis.explanation} {by} {CONFIRM}"


def _quality(asked: Understood, study: AskedStudy) -> str:
    del asked
    if not study.analysis:
        return _not_assessed(study)
    notes = [in_a_sentence(note.message) for note in study.analysis.quality]
    return f"Noted of the film: {'; '.join(notes)}." if notes else "Nothing was noted of the film's quality."


def _limits(asked: Understood, study: AskedStudy) -> str:
    del asked
    if not (study.triage and study.policy):
        return _not_assessed(study)
    card = study.policy.card
    unreliable = (
        f" Not found reliably: {joined([in_a_sentence(one.label) for one in card.unreliable])}."
        if card.unreliable
        else ""
    )
    missing = f" Not looked for: {joined(list(card.not_looked_for))}." if card.not_looked_for else ""
    return f"{_looked_for(study.triage)}{unreliable}{missing} {NOT_A_NEGATIVE}"


def _model(asked: Understood, study: AskedStudy) -> str:
    del asked
    if not study.analysis:
        return _not_assessed(study)
    scorer, explainer = study.analysis.scorer, study.analysis.explainer
    words = f" Explained by {explainer.name}, version {explainer.version}." if explainer else ""
    return f"Scored by {scorer.name}, version {scorer.version}.{words} {CONFIRM}"


_ANSWERS: Final[Mapping[str, Callable[[Understood, AskedStudy], str]]] = {
    "findings": _findings,
    "finding": _finding,
    "sure": _sure,
    "place": _place,
    "change": _change,
    "report": _report,
    "reason": _reason,
    "explanation": _explanation,
    "quality": _quality,
    "limits": _limits,
    "model": _model,
}


def _not_assessed(study: AskedStudy) -> str:
    why = f" {study.failure.rstrip('.')}." if study.failure else ""
    return f"{NOT_ASSESSED} by the AI, which says nothing about it.{why}"


def _named(asked: Understood, study: AskedStudy) -> NamedFinding | None:
    named = study.triage.named if study.triage else ()
    return next((one for one in named if one.finding.type.key == asked.finding), None)


def _known(asked: Understood, study: AskedStudy) -> tuple[FindingCard | None, Finding | None]:
    findings = study.analysis.findings if study.analysis else ()
    finding = next((one for one in findings if one.type.key == asked.finding), None)
    return (study.policy.card.of(finding.type) if finding and study.policy else None), finding


def _without_side(named: NamedFinding) -> str:
    return f"{named.finding.type.label} {named.likelihood}"


def _how_often(named: NamedFinding) -> str:
    right = round(100 * named.precision.value)
    return f"Of 100 films marked like this, about {right} had it, counted on {named.precision.n} films."


def _score(finding: Finding, card: FindingCard) -> str:
    score = f"score {two_places(finding.probability)}"
    return score if card.named_from is None else f"{score}, and it is named from {two_places(card.named_from)}"


def _looked_for(triage: Triage) -> str:
    labels = sorted(in_a_sentence(found.type.label) for found in triage.shown)
    return f"Looked for: {joined(labels) or 'nothing'}."
