"""The template explainer: one or two plain sentences from the triage alone, in no time and without a model.

It puts into words what may be put into words and no more: never a diagnosis, never "normal". It answers first what the
order's reason or a note asks about, says which scores have clearly changed since the earlier film, and quotes what
earlier reports say about the same findings, word for word, negations included: quoting is not judging. What the input
gate withholds from a language model is not quoted either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from imaging.radiograph import Radiograph
from models.asked import TEXTS as ASKED_TEXTS
from models.asked import answer_to, asked_first, findings_asked_of
from models.context import NO_CONTEXT, StudyContext
from models.safety.input_gate import LONGEST, admit
from models.steps import Steps
from worklist.account import Account
from worklist.finding import MIRRORED_FILM, TURNED_FILM, Algorithm, Analysis, FindingType, ImageReference, Snippet
from worklist.step import StepName, StepVerdict
from worklist.terms import MENTIONS, SENTENCE_END, TERMS
from worklist.triage import Triage, Urgency
from worklist.uids import device_uid
from worklist.words import counted, in_a_sentence, joined

VERSION = "6"

_MAX_SNIPPETS = 3

_TEXTS = {
    "named": "{findings}.",
    "named_beside_flag": "{findings}. {flag}, for none of these.",
    "named_without_flag": "{findings}. This raises no AI flag, and is not a negative report.",
    "flag_alone": "{flag}, none certain enough to name. Looked for: {looked_for}.",
    "none": "No AI flag. Looked for: {looked_for}. This is not a negative report.",
    "limited": "Image quality limits this: {notes}.",
    "limited_with_alternative": "Image quality limits this: {notes}; {alternative} can look the same.",
}
_ALTERNATIVES = {
    FindingType.PNEUMOTHORAX.key: "a skin fold or the edge of the scapula",
    FindingType.PLEURAL_EFFUSION.key: "pleural thickening or a raised diaphragm",
    FindingType.CONSOLIDATION.key: "atelectasis or overlying soft tissue",
    FindingType.PNEUMONIA.key: "atelectasis or a shallow breath",
    FindingType.CARDIOMEGALY.key: "an AP projection or a shallow breath",
    FindingType.PULMONARY_EDEMA.key: "a shallow breath or too little exposure",
    FindingType.MASS.key: "overlapping vessels or overlying soft tissue",
    FindingType.NODULE.key: "a nipple or a vessel seen end on",
    FindingType.ATELECTASIS.key: "consolidation or a shallow breath",
    FindingType.LUNG_OPACITY.key: "overlapping vessels or overlying soft tissue",
}


class TemplateExplainer:
    """Explains an Analysis by what its triage may put into words."""

    def __init__(self) -> None:
        content = json.dumps([VERSION, _TEXTS, ASKED_TEXTS, _ALTERNATIVES, TERMS], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        self._algorithm = Algorithm(
            name="Firstread template", version=VERSION, sha256=digest, device_uid=device_uid(digest)
        )

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, digest of the texts and device UID."""
        return self._algorithm

    def explain(
        self,
        analysis: Analysis,
        triage: Triage,
        radiographs: Callable[[ImageReference], Radiograph],  # noqa: ARG002 - words here come from the triage alone
        context: StudyContext = NO_CONTEXT,
    ) -> Analysis:
        """The Analysis with one to seven sentences, and at most three sentences quoted from earlier reports.

        Args:
            analysis: what the scorer found.
            triage: which of it may be put into words.
            radiographs: not asked.
            context: whose question is answered first, whose earlier reports are quoted, and whose comparison with an
                earlier film is told.
        """
        named = tuple(named.finding.type for named in triage.named)
        others = tuple(finding.type for finding in analysis.findings if finding.type not in named)
        steps, reports = Steps(), context.prior_reports
        given = f"what the triage may put into words, {counted(len(reports), 'earlier report')}"
        with steps.step(StepName.EXPLAIN, given, raising=Exception) as outcome:
            asked = findings_asked_of(context)
            told = (answer_to(asked, triage), _summary(triage, asked), _changes(triage, context))
            words = " ".join(filter(None, (*told, _limits(analysis, triage))))
            admitted = admit("", reports, context.identifiers)
            lines = tuple((line.snippet.source, line.snippet.snippet) for line in admitted.lines)
            snippets = quote(lines, first=named, then=others)
            outcome.end(f"the template's words, {counted(len(snippets), 'quotation')}")
        with steps.step(StepName.CHECK, "the template's words, earlier reports at the input gate") as outcome:
            fixed = "fixed sentences need none of the language model's layers"
            said = "; ".join(filter(None, (admitted.check.detail, fixed)))
            outcome.end(said, StepVerdict.DONE if reports else StepVerdict.LEFT_OUT)
        return analysis.after(steps.taken).explained(
            words,
            explainer=self._algorithm,
            prompt_version=f"template-{VERSION}",
            snippets=snippets,
            account=Account(explained_at=datetime.now(UTC), checks=(admitted.check,) if reports else ()),
        )


def _summary(triage: Triage, asked: Sequence[str]) -> str:
    has_flag = triage.urgency is not Urgency.NONE
    if triage.named:
        findings = "; ".join(named.words for named in asked_first(triage.named, asked))
        is_reason = any(named.is_reason for named in triage.named)
        text = _TEXTS["named" if is_reason else "named_beside_flag" if has_flag else "named_without_flag"]
        return text.format(findings=findings, flag=triage.flag)
    looked_for = joined(sorted(in_a_sentence(finding.type.label) for finding in triage.shown))
    text = _TEXTS["flag_alone" if has_flag else "none"]
    return text.format(flag=triage.flag, looked_for=looked_for or "nothing")


def _changes(triage: Triage, context: StudyContext) -> str:
    return context.comparison.summary({found.type.key for found in triage.shown}) if context.comparison else ""


def _limits(analysis: Analysis, triage: Triage) -> str:
    if not analysis.quality:
        return ""
    notes = "; ".join(in_a_sentence(note.message) for note in analysis.quality)
    alternative = _ALTERNATIVES.get(triage.named[0].finding.type.key) if triage.named else None
    if alternative is None or {note.code for note in analysis.quality} <= {MIRRORED_FILM, TURNED_FILM}:
        return _TEXTS["limited"].format(notes=notes)
    return _TEXTS["limited_with_alternative"].format(notes=notes, alternative=alternative)


def quote(
    prior_reports: tuple[tuple[str, str], ...],
    *,
    first: tuple[FindingType, ...] = (),
    then: tuple[FindingType, ...] = (),
) -> tuple[Snippet, ...]:
    """At most three sentences of earlier reports that mention a finding, word for word.

    Args:
        prior_reports: pairs of (source, text), newest first.
        first: findings whose sentences come first, in this order.
        then: findings whose sentences come after them, those of newer reports first.
    """
    found: dict[Snippet, tuple[int, int]] = {}
    wanted = [kind.key for kind in first]
    mentions = {key: MENTIONS[key] for key in (*wanted, *(kind.key for kind in then)) if key in MENTIONS}
    for age, (source, text) in enumerate(prior_reports):
        for sentence in SENTENCE_END.split(text):
            mentioned = [key for key, mention in mentions.items() if mention.search(sentence)]
            if mentioned and len(sentence) < LONGEST - 1:  # a longer one may have been cut before its negation
                rank = min(wanted.index(key) if key in wanted else len(wanted) for key in mentioned)
                found.setdefault(Snippet(source=source, snippet=" ".join(sentence.split())), (rank, age))
    return tuple(sorted(found, key=lambda snippet: found[snippet])[:_MAX_SNIPPETS])
