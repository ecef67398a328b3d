"""The AI triage report: a text for a reader in a hurry, and every number for the years after (TID 2000).

The order is the reader's: the flag, the findings in words and then as numbers, what was looked for and what was not;
then quality, explanation and earlier reports; then the rule behind the flag, the model, times, digests, UIDs and the
disclaimer. Everything a person must see is a sentence, because viewers that show an SR as text drop the codes and
numbers below a CODE or a TEXT, and some (OHIF 3) drop the names of items and run all items of a section together: so
each is a whole sentence, and what is only a list says of what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
    in_a_sentence,
    joined,
    number,
    percent,
    root,
    section,
    text,
    two_places,
)
from dicom_sr.policy_sections import card_section, correct_on, kind_items, policy_section
from dicom_sr.revision import Revision
from dicom_sr.source import Source
from worklist.card import ScorerCard
from worklist.finding import DISCLAIMER, Algorithm, Analysis, Finding, FindingType, ImageReference, QualityNote
from worklist.triage import NOT_ASSESSED, NamedFinding, Triage, TriagePolicy, Urgency

FULL_DISCLAIMER: Final = (
    f"Written by software, not by a radiologist. {DISCLAIMER} Preliminary: it only suggests an order of reading. "
    "A finding that is not named is not thereby excluded."
)
_NOT_ASSESSED: Final = f"{NOT_ASSESSED} by AI. Nothing is known of its urgency; it keeps its place on the list."
_NO_NEGATIVE: Final = "This is not a negative report."
# A viewer that drops numbers and names of items leaves a bare list of findings: this says what the list is.
_ALL_SCORED: Final = "Everything that was scored, suspected or not, coded for machines:"
_QUOTED: Final = "Quoted from earlier reports, each with its source:"
_QUALITY_CODE: Final = re.compile(r"[a-z][a-z0-9_]*")


def triage_content(  # noqa: PLR0913 - what was found, by which rule, on which images
    analysis: Analysis,
    *,
    triage: Triage,
    policy: TriagePolicy,
    sources: Mapping[str, Source],
    revision: Revision,
    unscored: int,
) -> ContainerContentItem:
    """The content tree of the triage report.

    Args:
        analysis: of all images of the study.
        triage: what the rule made of it.
        policy: the rule.
        sources: the headers of the images by SOP Instance UID.
        revision: which run this is.
        unscored: how many further images of the study could not be scored.

    Raises:
        ValueError: a quality note has no message, or a code that is not lower-case words joined by underscores.
    """
    places = _places(analysis.images, sources)
    return root(
        codes.CHEST_CAD_REPORT,
        "2000",
        [code(codes.LANGUAGE, codes.ENGLISH, relationship=HAS_CONCEPT_MOD)],
        device_observer(analysis.scorer),
        section(
            codes.SUMMARY,
            [code(codes.PRIORITY, codes.URGENCIES[triage.urgency])] if triage.urgency in codes.URGENCIES else [],
            text(codes.IMPRESSION, _impression(analysis, triage, places), *_numbers_of_score(analysis)),
            text(codes.COMMENT, _gap(len(analysis.images), unscored)),
        ),
        section(
            codes.FINDINGS,
            *(text(codes.FINDING, _line(named, analysis, places)) for named in triage.named),
            text(codes.COMMENT, _shown_numbers(triage)),
        ),
        section(codes.SCOPE, *(text(codes.COMMENT, sentence) for sentence in _scope(policy.card))),
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
        policy_section(policy, triage),
        card_section(policy.card, policy.site),
        section(
            codes.NUMBERS,
            text(codes.COMMENT, _ALL_SCORED),
            *(_coded(finding, analysis, triage) for finding in analysis.findings),
        ),
        section(
            codes.SCORER,
            text(
                codes.COMMENT,
                f"Score for any urgent finding {two_places(analysis.score)}, computed in {analysis.elapsed_ms:.0f} ms "
                f"by {_identity(analysis.scorer)}.",
            ),
            _algorithm(analysis.scorer),
            *(_origin(scored) for scored in analysis.images),
            [number(codes.ELAPSED, analysis.elapsed_ms, codes.MILLISECOND, relationship=CONTAINS)],
            text(codes.COMPLETED_AT, analysis.completed_at.isoformat()),
        ),
        section(
            codes.EXPLAINER,
            text(codes.COMMENT, f"Explained by {_identity(analysis.explainer)}." if analysis.explainer else ""),
            _algorithm(analysis.explainer),
            text(codes.PROMPT_VERSION, analysis.prompt_version),
        ),
        _processing(revision, _summary(triage, unscored), unscored),
        section(codes.DISCLAIMER, text(codes.COMMENT, FULL_DISCLAIMER)),
    )


def failure_content(  # noqa: PLR0913 - what is known of a failure
    source: ImageReference,
    *,
    failure_code: str,
    message: str,
    scorer: Algorithm,
    card: ScorerCard,
    revision: Revision,
) -> ContainerContentItem:
    """The content tree of a triage report that says why there is no result."""
    names = _names(card.looked_for)
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
        card_section(card),
        section(
            codes.SCORER,
            text(codes.COMMENT, f"Not scored by {_identity(scorer)}."),
            _algorithm(scorer),
            text(codes.SOURCE_IMAGE_UID, source.sop_instance_uid),
        ),
        _processing(revision, codes.NOTHING_SUCCEEDED, 0),
        section(codes.DISCLAIMER, text(codes.COMMENT, FULL_DISCLAIMER)),
    )


def _places(images: Sequence[ImageReference], sources: Mapping[str, Source]) -> dict[str, str]:
    """What tells a reader one image of several from the others, by SOP Instance UID; empty where there is one."""
    if len(images) == 1:
        return {}
    places = {scored.sop_instance_uid: sources[scored.sop_instance_uid].place for scored in images}
    if all(places.values()) and len(set(places.values())) == len(images):
        return places
    return {uid: f"image {position} of {len(images)}" for position, uid in enumerate(places, start=1)}


def _impression(analysis: Analysis, triage: Triage, places: Mapping[str, str]) -> str:
    named = "; ".join(_on_image(named, analysis, places) for named in triage.named)
    flagged = triage.urgency is not Urgency.NONE
    unnamed = "AI finds none certain enough to name" if flagged else "No finding is certain enough to name"
    return " ".join(
        (f"{triage.urgency.label}.", f"{named or unnamed}.", *(() if flagged else (_NO_NEGATIVE,)), "Not a diagnosis.")
    )


def _on_image(named: NamedFinding, analysis: Analysis, places: Mapping[str, str]) -> str:
    place = places.get(analysis.image_of(named.finding).sop_instance_uid)
    return f"{named.words} ({place})" if place else named.words


def _line(named: NamedFinding, analysis: Analysis, places: Mapping[str, str]) -> str:
    words = f"{_on_image(named, analysis, places)}: probability {two_places(named.finding.probability)}"
    return f"{words}; such words were {correct_on(named.precision)}."


def _shown_numbers(triage: Triage) -> str:
    numbers = [f"{in_a_sentence(found.type.label)} {two_places(found.probability)}" for found in triage.shown]
    return f"Probabilities, from 0 to 1: {joined(numbers)}. None is excluded." if numbers else ""


def _gap(scored: int, unscored: int) -> str:
    if not unscored:
        return ""
    return f"{unscored} of {scored + unscored} images could not be scored: nothing is said of what they show."


def _scope(card: ScorerCard) -> list[str]:
    parts = (
        ("Looked for", _names(card.looked_for)),
        ("Not found reliably by this model, so neither shown nor counted", _names(card.unreliable)),
        ("Not looked for", ", ".join(card.not_looked_for)),
    )
    never = [] if card.can_be_critical else ["This model flags no study as critical."]
    return [*(f"{what}: {names}." for what, names in parts if names), *never]


def _names(kinds: Sequence[FindingType]) -> str:
    return joined([in_a_sentence(kind.label) for kind in kinds])


def _summary(triage: Triage, unscored: int) -> Code:
    """CID 6047."""
    if triage.named or triage.urgency is not Urgency.NONE:
        return codes.PARTLY_WITH_FINDINGS if unscored else codes.WITH_FINDINGS
    return codes.PARTLY_WITHOUT_FINDINGS if unscored else codes.WITHOUT_FINDINGS


def _numbers_of_score(analysis: Analysis) -> list[ContentItem]:
    return [
        number(codes.CERTAINTY_OF_IMPRESSION, percent(analysis.score), codes.PERCENT),
        number(codes.PROBABILITY, analysis.score, codes.PROBABILITY_UNIT),
        number(codes.THRESHOLD, analysis.threshold, codes.PROBABILITY_UNIT),
    ]


def _coded(finding: Finding, analysis: Analysis, triage: Triage) -> list[ContentItem]:
    """A finding as a CODE with the NUMs (TID 1404, TID 300) that it was inferred from."""
    source = analysis.image_of(finding)
    where = box(finding.region, source) if finding.region else image(source)
    side = [code(codes.LATERALITY, codes.SIDES[finding.side], relationship=HAS_CONCEPT_MOD)] if finding.side else []
    key = finding.type.key  # an explainer may have added a box, so the finding is not the same
    is_named = key in {named.finding.type.key for named in triage.named}
    is_shown = key in {shown.type.key for shown in triage.shown}
    name = codes.FINDING if is_named else codes.NOT_NAMED if is_shown else codes.UNRELIABLE
    coded = code(
        name,
        codes.kind_of(finding.type),
        number(codes.CERTAINTY_OF_FINDING, percent(finding.probability), codes.PERCENT),
        number(codes.PROBABILITY, finding.probability, codes.PROBABILITY_UNIT, *side, where),
        number(codes.THRESHOLD, finding.threshold, codes.PROBABILITY_UNIT),
    )
    return [coded, *kind_items(finding.type)]


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


def _origin(scored: ImageReference) -> list[ContentItem]:
    return [
        *text(codes.SOURCE_IMAGE_UID, scored.sop_instance_uid),
        number(codes.ROWS, scored.rows, codes.PIXELS, relationship=CONTAINS),
        number(codes.COLUMNS, scored.columns, codes.PIXELS, relationship=CONTAINS),
    ]


def _processing(revision: Revision, summary: Code, unscored: int) -> list[ContentItem]:
    return section(
        codes.PROCESSING,
        text(codes.COMMENT, f"Revision {revision.number} of the AI results of this study."),
        [
            code(codes.CAD_SUMMARY, summary),
            *([number(codes.UNSCORED, unscored, codes.IMAGES, relationship=CONTAINS)] if unscored else []),
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
