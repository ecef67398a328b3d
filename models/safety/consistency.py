"""Layer (d), consistency: what a language model says must be borne out by the scores, or stand marked as its own.

The scores bear out a finding that the triage names, or that is shown and reaches its threshold. A side that contradicts
the one the scores tell is refused: of two sides one is wrong, and a reader must not have to guess whose. What the
triage names as the reason for a flag must not be passed over. A quotation must stand, word for word, in its source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from models.safety.assertions import assertions_in
from models.safety.language import allowed_certainty
from worklist.account import Certainty, Statement
from worklist.finding import KNOWN_FINDINGS, ON_BOTH_SIDES, Analysis, Side, Snippet
from worklist.triage import Triage
from worklist.words import in_a_sentence, joined

_ORDER = (Certainty.UNCERTAIN, Certainty.POSSIBLE, Certainty.PROBABLE)


def supported_findings(triage: Triage) -> frozenset[str]:
    """The findings that the scores bear out, by their keys."""
    named = {one.finding.type.key for one in triage.named}
    return frozenset(named | {finding.type.key for finding in triage.shown if finding.is_positive})


def faults_of_consistency(
    text: str, statements: Iterable[Statement], *, analysis: Analysis, triage: Triage
) -> list[str]:
    """Where words or statements contradict the scores, or leave out what they name; none where they do not.

    Args:
        text: the language model's sentence.
        statements: what it states beside it.
        analysis: what the scorer says.
        triage: what the rule made of it.
    """
    told = {finding.type.key: side for finding in analysis.findings if (side := analysis.side_of(finding)) is not None}
    said = [(one.finding, one.sides) for one in assertions_in(text)]
    stated = [(one.type.key, frozenset(one.sides)) for one in statements]
    faults = []
    if contradicted := {key for key, sides in (*said, *stated) if _contradicts(sides, told.get(key))}:
        faults.append(f"it gives another side than the scores for {_names(contradicted)}")
    reasons = {one.finding.type.key for one in triage.named if one.is_reason}
    if missing := reasons - {key for key, _ in said}:
        faults.append(f"it passes over {_names(missing)}, which the scores name")
    return faults


def marked(statements: Iterable[Statement], text: str, *, triage: Triage) -> tuple[Statement, ...]:
    """Statements with their origin and no more certain than the scores, one for each finding of the text as well.

    Args:
        statements: the language model's.
        text: its sentence: a finding that only stands there becomes a statement, so that it is marked too.
        triage: what bears them out.
    """
    supported, allowed = supported_findings(triage), allowed_certainty(triage)
    found: dict[str, Statement] = {}
    for one in statements:
        known = found.get(one.type.key)
        if known is None or (known.region is None and one.region is not None):
            found[one.type.key] = one
    for assertion in assertions_in(text):
        if assertion.finding not in found:
            found[assertion.finding] = Statement(
                type=KNOWN_FINDINGS[assertion.finding],
                certainty=Certainty.POSSIBLE,
                sides=tuple(side for side in Side if side in assertion.sides),
            )
    return tuple(
        replace(
            one,
            sides=() if one.type in ON_BOTH_SIDES else one.sides,
            is_supported=one.type.key in supported,
            certainty=min(one.certainty, allowed.get(one.type.key, Certainty.POSSIBLE), key=_ORDER.index),
        )
        for one in found.values()
    )


def own_findings_sentence(statements: Iterable[Statement]) -> str:
    """The sentence that marks what the scores do not bear out; "" where there is no such thing."""
    own = [in_a_sentence(one.type.label) for one in statements if not one.is_supported]
    return f"Seen by the language model alone, not by the scores: {joined(own)}." if own else ""


def unfaithful(snippets: Iterable[Snippet], sources: Mapping[str, Collection[str]]) -> list[Snippet]:
    """The quotations that do not stand word for word in their source; line breaks and spaces do not count.

    Args:
        snippets: what is quoted.
        sources: the texts by their names.
    """
    plain = {source: [" ".join(text.split()) for text in texts] for source, texts in sources.items()}
    return [
        one for one in snippets if not one.snippet or not any(one.snippet in text for text in plain.get(one.source, ()))
    ]


def _contradicts(sides: Collection[Side], told: Side | None) -> bool:
    return told is not None and bool(sides) and set(sides) != {told}


def _names(keys: Collection[str]) -> str:
    return joined(sorted(in_a_sentence(KNOWN_FINDINGS[key].label) if key in KNOWN_FINDINGS else key for key in keys))
