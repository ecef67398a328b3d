"""The template explainer: one or two plain sentences from the numbers alone, in no time and without a model.

It says what the scorer found and no more: never a diagnosis, never "normal". It also quotes what earlier reports say
about the same findings, word for word, negations included: quoting is not judging.
"""

from __future__ import annotations

import hashlib
import json
import re

from imaging.radiograph import MIRRORED_FILM, TURNED_FILM, Radiograph
from worklist.errors import InvalidInput
from worklist.finding import Algorithm, Analysis, Finding, FindingType, Snippet
from worklist.uids import device_uid

VERSION = "1"

_MAX_SNIPPETS = 3
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*(?=\n|[A-Z]|[-*•]\s|\d+[.)]\s)")

_TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "leading": "Possible {finding}{side} ({percent}).",
        "leading_with_others": "Possible {finding}{side} ({percent}); also above threshold: {others}.",
        "other": "{finding}{side} ({percent})",
        "and": " and ",
        "left": " on the patient's left",
        "right": " on the patient's right",
        "none": "None of the {count} findings looked for reaches its threshold. This is not a negative report.",
        "none_but_urgent": "None of the {count} findings looked for reaches its threshold by itself, but together they "
        "make an urgent film likely ({percent}); the most probable is {finding} ({leading_percent}).",
        "limited": "Film quality limits this: {notes}.",
        "limited_with_alternative": "Film quality limits this: {notes}; {alternative} can look the same.",
        "over": "over 99%",
        "under": "under 1%",
        FindingType.PNEUMOTHORAX: "pneumothorax",
        FindingType.PLEURAL_EFFUSION: "pleural effusion",
        FindingType.CONSOLIDATION: "consolidation",
        FindingType.PNEUMONIA: "pneumonia",
        FindingType.CARDIOMEGALY: "cardiomegaly",
        FindingType.PULMONARY_EDEMA: "pulmonary edema",
        "instead_of_pneumothorax": "a skin fold or the edge of the scapula",
        "instead_of_pleural_effusion": "pleural thickening or a raised diaphragm",
        "instead_of_consolidation": "atelectasis or overlying soft tissue",
        "instead_of_pneumonia": "atelectasis or a shallow breath",
        "instead_of_cardiomegaly": "an AP projection or a shallow breath",
        "instead_of_pulmonary_edema": "a shallow breath or too little exposure",
    },
}

# What radiologists write for each finding. Effusions and edema of other places are none of ours.
_TERMS = {
    FindingType.PNEUMOTHORAX: r"(?:hydro|h(?:a)?emo)?pneumothora(?:x|ces)|ptx",
    FindingType.PLEURAL_EFFUSION: r"(?<!pericardial )(?<!joint )effusions?|pleural fluid|(?:hydro|h(?:a)?emo)thorax"
    r"|costophrenic (?:angles?|sulc(?:us|i))",
    FindingType.CONSOLIDATION: r"consolidat(?:ions?|ed|ive)|air ?space (?:disease|opacit(?:y|ies))"
    r"|infiltrat(?:es?|ions?)",
    FindingType.PNEUMONIA: r"(?:broncho)?pneumonias?|pneumonic",
    FindingType.CARDIOMEGALY: r"cardiomegaly|enlarged (?:heart|cardi\w+ silhouette)"
    r"|(?:heart|cardi\w+)(?: \w+){0,2} (?:is|are|appears?)(?: \w+){0,2} enlarged|cardiac enlargement"
    r"|(?:heart|cardi\w+)(?: silhouette)?(?: size)? enlarge(?:d|ment)",
    FindingType.PULMONARY_EDEMA: r"(?<!subcutaneous )(?<!soft tissue )(?<!soft-tissue )o?edema"
    r"|vascular congestion|congestive heart failure|chf",
}
_MENTIONS = {type_: re.compile(rf"\b(?:{terms})\b", re.IGNORECASE) for type_, terms in _TERMS.items()}


class TemplateExplainer:
    """Explains an Analysis by its numbers.

    Args:
        language: a key of the text table, such as "en".

    Raises:
        InvalidInput: unknown_language.
    """

    def __init__(self, language: str = "en") -> None:
        if language not in _TEXTS:
            raise InvalidInput(
                "unknown_language", f"There are no texts in {language!r:.32}; there are: {', '.join(sorted(_TEXTS))}."
            )
        self._texts = _TEXTS[language]
        digest = hashlib.sha256(json.dumps([VERSION, self._texts, _TERMS], sort_keys=True).encode()).hexdigest()
        self._algorithm = Algorithm(
            name="Firstread template", version=VERSION, sha256=digest, device_uid=device_uid(digest)
        )
        self._prompt_version = f"template-{language}-{VERSION}"

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, digest of the texts and device UID."""
        return self._algorithm

    def explain(
        self,
        analysis: Analysis,
        film: Radiograph,  # noqa: ARG002 - the protocol's; words here come from the numbers alone
        prior_reports: tuple[tuple[str, str], ...] = (),
    ) -> Analysis:
        """The Analysis with one or two sentences, and at most three sentences quoted from earlier reports.

        Args:
            analysis: what the scorer found.
            film: not looked at.
            prior_reports: pairs of (source, text) of earlier reports, newest first.
        """
        return analysis.explained(
            " ".join(filter(None, (self._summary(analysis), self._limits(analysis)))),
            explainer=self._algorithm,
            prompt_version=self._prompt_version,
            snippets=quote(prior_reports, first=tuple(finding.type for finding in analysis.positive_findings)),
        )

    def _summary(self, analysis: Analysis) -> str:
        texts, positive = self._texts, analysis.positive_findings
        if positive:
            others = [self._describe("other", finding) for finding in positive[1:]]
            listed = texts["and"].join(filter(None, (", ".join(others[:-1]), *others[-1:])))
            return self._describe("leading_with_others" if others else "leading", positive[0], others=listed)
        if analysis.is_urgent and analysis.findings:
            return texts["none_but_urgent"].format(
                count=len(analysis.findings),
                percent=self._percent(analysis.score),
                finding=texts[analysis.findings[0].type],
                leading_percent=self._percent(analysis.findings[0].probability),
            )
        return texts["none"].format(count=len(analysis.findings))

    def _limits(self, analysis: Analysis) -> str:
        if not analysis.quality:
            return ""
        notes = "; ".join(_as_clause(note.message) for note in analysis.quality)
        if not analysis.positive_findings or {note.code for note in analysis.quality} <= {MIRRORED_FILM, TURNED_FILM}:
            return self._texts["limited"].format(notes=notes)
        alternative = self._texts[f"instead_of_{analysis.positive_findings[0].type}"]
        return self._texts["limited_with_alternative"].format(notes=notes, alternative=alternative)

    def _describe(self, text: str, finding: Finding, **more: str) -> str:
        return self._texts[text].format(
            finding=self._texts[finding.type],
            side=self._texts[finding.side] if finding.side else "",
            percent=self._percent(finding.probability),
            **more,
        )

    def _percent(self, probability: float) -> str:
        """Whole percent, but never a certainty."""
        if probability > 0.99:  # noqa: PLR2004 - as the text says
            return self._texts["over"]
        return self._texts["under"] if probability < 0.01 else f"{probability:.0%}"  # noqa: PLR2004


def quote(prior_reports: tuple[tuple[str, str], ...], *, first: tuple[FindingType, ...] = ()) -> tuple[Snippet, ...]:
    """At most three sentences of earlier reports that mention a finding, word for word.

    Sentences on the findings named in `first` come first, in that order; then newer reports before older ones.
    """
    found: dict[Snippet, tuple[int, int]] = {}
    for age, (source, text) in enumerate(prior_reports):
        for sentence in _SENTENCE_END.split(text):
            mentioned = [type_ for type_, mention in _MENTIONS.items() if mention.search(sentence)]
            if mentioned:
                rank = min(first.index(type_) if type_ in first else len(first) for type_ in mentioned)
                found.setdefault(Snippet(source=source, snippet=" ".join(sentence.split())), (rank, age))
    return tuple(sorted(found, key=lambda snippet: found[snippet])[:_MAX_SNIPPETS])


def _as_clause(sentence: str) -> str:
    """A note to stand inside a sentence: no full stop, no capital unless it begins an abbreviation."""
    text = sentence.rstrip(". ")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
