"""The AI triage report: a text for a reader in a hurry, and every number for the years after (TID 2000).

The order is the reader's: urgency, one sentence, one line a finding; then quality, explanation and earlier reports;
then the numbers, their origin and the disclaimer. Everything a person must see is a sentence, because viewers that
show an SR as text drop the codes and numbers below a CODE or a TEXT, and some (OHIF 3) drop the names of items and
run all items of a section together: so each is a whole sentence, and what is only a list says of what.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from highdicom.sr import ContainerContentItem, ContentItem
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.content import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    box,
    clean,
    code,
    device_observer,
    image,
    number,
    percent,
    root,
    section,
    text,
)
from dicom_sr.revision import Revision
from worklist.finding import DISCLAIMER, Algorithm, Analysis, Finding, FindingType, ImageReference, QualityNote
from worklist.urgency import Urgency

FULL_DISCLAIMER: Final = (
    f"Written by software, not by a radiologist. {DISCLAIMER} Preliminary: it only suggests an order of reading. "
    "A finding that is not listed, or lies below its threshold, is not thereby excluded."
)
_NOT_ASSESSED: Final = "NOT ASSESSED by AI. This study keeps its place on the list; nothing is known of its urgency."
_HEADLINES: Final = {
    Urgency.CRITICAL: "CRITICAL, read first.",
    Urgency.URGENT: "URGENT, read early.",
    Urgency.ROUTINE: "ROUTINE, read in turn.",
}
# A viewer that drops numbers and names of items leaves a bare list of findings: these say what the list is.
_LOOKED_FOR: Final = "Everything that was looked for, suspected or not, coded for machines:"
_NOT_LOOKED_FOR: Final = "None of these was looked for:"
_QUOTED: Final = "Quoted from earlier reports, each with its source:"
_QUALITY_CODE: Final = re.compile(r"[a-z][a-z0-9_]*")


def triage_content(analysis: Analysis, *, urgency: Urgency, revision: Revision) -> ContainerContentItem:
    """The content tree of the triage report.

    Raises:
        ValueError: a quality note has no message, or a code that is not lower-case words joined by underscores.
    """
    return root(
        codes.CHEST_CAD_REPORT,
        "2000",
        [code(codes.LANGUAGE, codes.ENGLISH, relationship=HAS_CONCEPT_MOD)],
        device_observer(analysis.scorer),
        section(
            codes.SUMMARY,
            [code(codes.PRIORITY, codes.URGENCIES[urgency])],
            text(codes.IMPRESSION, _impression(analysis, urgency), *_numbers_of_score(analysis)),
        ),
        section(codes.FINDINGS, *_lines(analysis)),
        section(codes.IMAGE_QUALITY, *(text(_quality_code(note), note.message) for note in analysis.quality)),
        section(codes.EXPLANATION, text(codes.COMMENT, analysis.explanation)),
        section(
            codes.PREVIOUS_FINDINGS,
            text(codes.COMMENT, _QUOTED if analysis.snippets else ""),
            *(
                text(codes.PREVIOUS_FINDING, snippet.snippet) + text(codes.QUOTED_FROM, snippet.source)
                for snippet in analysis.snippets
            ),
        ),
        section(
            codes.NUMBERS,
            text(codes.COMMENT, _LOOKED_FOR),
            [_coded(finding, analysis.image) for finding in analysis.findings],
        ),
        section(
            codes.SCORER,
            text(codes.COMMENT, f"Scored in {analysis.elapsed_ms:.0f} ms by {_identity(analysis.scorer)}."),
            _algorithm(analysis.scorer),
            text(codes.SOURCE_IMAGE_UID, analysis.image.sop_instance_uid),
            [
                number(codes.ROWS, analysis.image.rows, codes.PIXELS, relationship=CONTAINS),
                number(codes.COLUMNS, analysis.image.columns, codes.PIXELS, relationship=CONTAINS),
                number(codes.ELAPSED, analysis.elapsed_ms, codes.MILLISECOND, relationship=CONTAINS),
            ],
            text(codes.COMPLETED_AT, analysis.completed_at.isoformat()),
        ),
        section(
            codes.EXPLAINER,
            text(codes.COMMENT, f"Explained by {_identity(analysis.explainer)}." if analysis.explainer else ""),
            _algorithm(analysis.explainer),
            text(codes.PROMPT_VERSION, analysis.prompt_version),
        ),
        _processing(revision, codes.WITH_FINDINGS if analysis.positive_findings else codes.WITHOUT_FINDINGS),
        section(codes.DISCLAIMER, text(codes.COMMENT, FULL_DISCLAIMER)),
    )


def failure_content(  # noqa: PLR0913 - what is known of a failure
    source: ImageReference,
    *,
    failure_code: str,
    message: str,
    scorer: Algorithm | None,
    looked_for: Sequence[FindingType],
    revision: Revision,
) -> ContainerContentItem:
    """The content tree of a triage report that says why there is no result."""
    names = _joined([kind.label.lower() for kind in looked_for])
    return root(
        codes.CHEST_CAD_REPORT,
        "2000",
        [code(codes.LANGUAGE, codes.ENGLISH, relationship=HAS_CONCEPT_MOD)],
        device_observer(scorer),
        section(
            codes.SUMMARY,
            text(codes.IMPRESSION, _NOT_ASSESSED, image(source)),
            text(codes.FAILURE_MESSAGE, message),
            text(codes.COMMENT, f"Not looked for because of this: {names}." if names else ""),
        ),
        section(codes.FAILURE, text(codes.FAILURE_CODE, failure_code)),
        section(
            codes.NUMBERS,
            text(codes.COMMENT, _NOT_LOOKED_FOR if looked_for else ""),
            [code(codes.NOT_LOOKED_FOR, codes.FINDING_TYPES[kind]) for kind in looked_for],
        ),
        section(
            codes.SCORER,
            text(codes.COMMENT, f"Not scored by {_identity(scorer)}." if scorer else ""),
            _algorithm(scorer),
            text(codes.SOURCE_IMAGE_UID, source.sop_instance_uid),
        ),
        _processing(revision, codes.NOTHING_SUCCEEDED),
        section(codes.DISCLAIMER, text(codes.COMMENT, FULL_DISCLAIMER)),
    )


def named(finding: Finding) -> str:
    """A finding's name with the patient's side."""
    return f"{finding.type.label}, {finding.side.value}" if finding.side else finding.type.label


def _impression(analysis: Analysis, urgency: Urgency) -> str:
    suspected = _joined([_in_words(finding) for finding in analysis.positive_findings])
    what = f"AI suspects {suspected}." if suspected else "AI: no finding reaches its threshold."
    return (
        f"{_HEADLINES[urgency]} {what} Probability of any urgent finding {percent(analysis.score)} % "
        f"(the model's threshold is {percent(analysis.threshold)} %). Not a diagnosis."
    )


def _in_words(finding: Finding) -> str:
    name = finding.type.label.lower()
    return f"{finding.side.value} {name}" if finding.side else name


def _lines(analysis: Analysis) -> list[list[ContentItem]]:
    lines = [
        text(
            codes.FINDING,
            f"{named(finding)}: {percent(finding.probability)} % (threshold {percent(finding.threshold)} %).",
        )
        for finding in analysis.positive_findings
    ]
    below = [
        f"{finding.type.label.lower()} {percent(finding.probability)} %"
        for finding in analysis.findings
        if not finding.is_positive
    ]
    if below:
        lines.append(text(codes.BELOW_THRESHOLD, f"Below threshold, not excluded: {_joined(below)}."))
    return lines


def _numbers_of_score(analysis: Analysis) -> list[ContentItem]:
    return [
        number(codes.CERTAINTY_OF_IMPRESSION, percent(analysis.score), codes.PERCENT),
        number(codes.PROBABILITY, analysis.score, codes.PROBABILITY_UNIT),
        number(codes.THRESHOLD, analysis.threshold, codes.PROBABILITY_UNIT),
    ]


def _coded(finding: Finding, source: ImageReference) -> ContentItem:
    """A finding as a CODE with the NUMs (TID 1404, TID 300) that it was inferred from."""
    where = box(finding.region, source) if finding.region else image(source)
    side = [code(codes.LATERALITY, codes.SIDES[finding.side], relationship=HAS_CONCEPT_MOD)] if finding.side else []
    return code(
        codes.FINDING if finding.is_positive else codes.BELOW_THRESHOLD,
        codes.FINDING_TYPES[finding.type],
        number(codes.CERTAINTY_OF_FINDING, percent(finding.probability), codes.PERCENT),
        number(codes.PROBABILITY, finding.probability, codes.PROBABILITY_UNIT, *side, where),
        number(codes.THRESHOLD, finding.threshold, codes.PROBABILITY_UNIT),
    )


def _identity(algorithm: Algorithm) -> str:
    return f"{algorithm.name}, version {algorithm.version}"


def _algorithm(algorithm: Algorithm | None) -> list[ContentItem]:
    if algorithm is None:
        return []
    return [
        *text(codes.ALGORITHM_NAME, algorithm.name),
        *text(codes.ALGORITHM_VERSION, algorithm.version),
        *text(codes.WEIGHTS_SHA256, algorithm.sha256),
        *text(codes.DEVICE_UID, algorithm.device_uid),
    ]


def _processing(revision: Revision, summary: Code) -> list[ContentItem]:
    return section(
        codes.PROCESSING,
        text(codes.COMMENT, f"Revision {revision.number} of the AI results of this study."),
        [
            code(codes.CAD_SUMMARY, summary),
            number(codes.REVISION, revision.number, codes.NO_UNITS, relationship=CONTAINS),
            number(codes.FORMAT, codes.FORMAT_VERSION, codes.NO_UNITS, relationship=CONTAINS),
        ],
        text(codes.FETCHED_AT, revision.fetched_at.isoformat() if revision.fetched_at else ""),
        text(codes.SCORED_AT, revision.scored_at.isoformat() if revision.scored_at else ""),
        text(codes.REPORTED_AT, revision.reported_at.isoformat()),
    )


def _quality_code(note: QualityNote) -> Code:
    if not _QUALITY_CODE.fullmatch(note.code) or not clean(note.message):
        raise ValueError(f"a quality note has a code of lower-case words joined by underscores and a message: {note}")
    return codes.quality_note(note.code)


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
