"""The AI triage report: a text for a reader in a hurry, and every number for the years after (TID 2000).

The order is the reader's: the flag and the findings in words, what was looked for and what was not, what limits the
film, what the report is not; then numbers to two places, the explanation and earlier reports. What is for QA, the
archive and machines comes last, under headings that begin with "Technical". Everything a person must see is a
sentence, because viewers that show an SR as text drop the codes and numbers below a CODE or a TEXT, and some (OHIF 3)
drop the names of items and run all items of a section together: so each is a whole sentence, and what is only a list
says of what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from highdicom.sr import ContainerContentItem
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.account_sections import explainer_section, explanation_section
from dicom_sr.content import FULL_DISCLAIMER, HAS_CONCEPT_MOD, clean, code, device_observer, image, root, section, text
from dicom_sr.policy_sections import card_section, correct_on, policy_section
from dicom_sr.prior_sections import previous_section, prior_section
from dicom_sr.revision import Revision
from dicom_sr.source import Source
from dicom_sr.technical_sections import (
    numbers_section,
    processing_section,
    scorer_section,
    steps_section,
    unscored_section,
)
from worklist.card import ScorerCard
from worklist.finding import Algorithm, Analysis, FindingType, ImageReference, QualityNote
from worklist.triage import NOT_ASSESSED, NamedFinding, Triage, TriagePolicy, Urgency
from worklist.words import in_a_sentence, joined, two_places

_NOT_ASSESSED: Final = f"{NOT_ASSESSED}. Nothing is known of the study's urgency; it keeps its place on the list."
_NO_NEGATIVE: Final = "This is not a negative report."
_CALIBRATED: Final = "These numbers were calibrated on the model's reference films, not at this site."
_NOT_CALIBRATED: Final = "These numbers are not calibrated: how often they are right was measured on no films."
_QUALITY_CODE: Final = re.compile(r"[a-z][a-z0-9_]*")


def triage_content(  # noqa: PLR0913 - what was found, by which rule, on which images
    analysis: Analysis,
    *,
    triage: Triage,
    policy: TriagePolicy,
    sources: Mapping[str, Source],
    revision: Revision,
    unscored: int,
    evidence: str,
) -> ContainerContentItem:
    """The content tree of the triage report.

    Args:
        analysis: of all images of the study.
        triage: what the rule made of it.
        policy: the rule.
        sources: the headers of the images by SOP Instance UID.
        revision: which run this is.
        unscored: how many further images of the study could not be scored.
        evidence: where a reader finds the boxes, as a sentence; "" where nothing is put into words.

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
            text(codes.IMPRESSION, _impression(analysis, triage, places)),
            [code(codes.PRIORITY, codes.URGENCIES[triage.urgency])] if triage.urgency in codes.URGENCIES else [],
            text(codes.COMMENT, evidence),
            text(codes.COMMENT, _gap(len(analysis.images), unscored)),
        ),
        section(codes.SCOPE, *(text(codes.COMMENT, sentence) for sentence in _scope(policy.card))),
        section(codes.IMAGE_QUALITY, *(text(_quality_code(note), note.message) for note in analysis.quality)),
        section(codes.DISCLAIMER, text(codes.COMMENT, FULL_DISCLAIMER)),
        section(
            codes.FINDINGS,
            *(text(codes.FINDING, _line(named, analysis, places)) for named in triage.named),
            text(codes.COMMENT, _shown_numbers(triage)),
            text(codes.COMMENT, f"Score for any urgent finding, from 0 to 1: {two_places(analysis.score)}."),
            text(codes.COMMENT, _CALIBRATED if policy.card.is_measured else _NOT_CALIBRATED),
        ),
        explanation_section(analysis),
        previous_section(analysis, triage),
        numbers_section(analysis, triage),
        policy_section(policy, triage),
        card_section(policy.card, policy.site),
        scorer_section(analysis, sources),
        explainer_section(analysis),
        prior_section(analysis.prior),
        steps_section(analysis),
        processing_section(revision, _summary(triage, unscored), unscored),
    )


def failure_content(  # noqa: PLR0913 - what is known of a failure
    source: Source,
    *,
    failure_code: str,
    message: str,
    scorer: Algorithm,
    card: ScorerCard,
    revision: Revision,
) -> ContainerContentItem:
    """The content tree of a triage report that says why there is no result."""
    return root(
        codes.CHEST_CAD_REPORT,
        "2000",
        [code(codes.LANGUAGE, codes.ENGLISH, relationship=HAS_CONCEPT_MOD)],
        device_observer(scorer),
        section(
            codes.SUMMARY,
            text(codes.IMPRESSION, _NOT_ASSESSED, image(source.image_reference())),
            text(codes.FAILURE_MESSAGE, message),
        ),
        section(codes.SCOPE, *(text(codes.COMMENT, sentence) for sentence in _scope_missed(card))),
        section(codes.DISCLAIMER, text(codes.COMMENT, FULL_DISCLAIMER)),
        section(codes.FAILURE, text(codes.FAILURE_CODE, failure_code)),
        card_section(card),
        unscored_section(scorer, source),
        processing_section(revision, codes.NOTHING_SUCCEEDED, 0),
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
    flag, named = triage.flag, "; ".join(_on_image(named, analysis, places) for named in triage.named)
    if triage.urgency is Urgency.NONE:
        return f"{flag}. {named or 'No finding is certain enough to name'}. {_NO_NEGATIVE} Not a diagnosis."
    return f"{flag}. {named}. Not a diagnosis." if named else f"{flag}, none certain enough to name. Not a diagnosis."


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


def _scope_missed(card: ScorerCard) -> list[str]:
    parts = (
        ("Not looked for because of this", _names(card.looked_for)),
        ("Not looked for in any study", ", ".join(card.not_looked_for)),
    )
    return [f"{what}: {names}." for what, names in parts if names]


def _names(kinds: Sequence[FindingType]) -> str:
    return joined([in_a_sentence(kind.label) for kind in kinds])


def _summary(triage: Triage, unscored: int) -> Code:
    """CID 6047."""
    if triage.named or triage.urgency is not Urgency.NONE:
        return codes.PARTLY_WITH_FINDINGS if unscored else codes.WITH_FINDINGS
    return codes.PARTLY_WITHOUT_FINDINGS if unscored else codes.WITHOUT_FINDINGS


def _quality_code(note: QualityNote) -> Code:
    if not _QUALITY_CODE.fullmatch(note.code) or not clean(note.message):
        raise ValueError(f"a quality note has a code of lower-case words joined by underscores and a message: {note}")
    return codes.quality_note(note.code)
