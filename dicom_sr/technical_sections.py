"""The end of the AI triage report, for the archive and for machines: exact numbers, where they come from, and when.

Below each finding stand its numbers to the last bit, and below each image what its header says of how it was made, so
that QA's table can be made from reports alone. TID 2000 has no sections within sections, so each of these is headed
"Technical: ...", and they come last.
"""

from __future__ import annotations

from collections.abc import Mapping

from highdicom.sr import ContentItem
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.account_sections import algorithm_items, identity
from dicom_sr.content import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    box,
    code,
    image,
    number,
    percent,
    section,
    text,
)
from dicom_sr.policy_sections import kind_items
from dicom_sr.revision import Revision
from dicom_sr.source import Acquisition, Source
from worklist.finding import Algorithm, Analysis, Finding, ImageReference
from worklist.triage import Triage
from worklist.words import two_places

# A viewer that drops numbers and names of items leaves a bare list of findings: this says what the list is.
_ALL_SCORED = "Everything that was scored, suspected or not, coded for machines:"


def numbers_section(analysis: Analysis, triage: Triage) -> list[ContentItem]:
    """Every finding that was scored, with its numbers, its side, its image and its box."""
    return section(
        codes.NUMBERS,
        text(codes.COMMENT, _ALL_SCORED),
        *(_coded(finding, analysis, triage) for finding in analysis.findings),
    )


def scorer_section(analysis: Analysis, sources: Mapping[str, Source]) -> list[ContentItem]:
    """The score, what computed it and on which images."""
    return section(
        codes.SCORER,
        text(
            codes.COMMENT,
            f"Score for any urgent finding {two_places(analysis.score)}, computed in {analysis.elapsed_ms:.0f} ms "
            f"by {identity(analysis.scorer)}.",
        ),
        [
            number(codes.CERTAINTY_OF_IMPRESSION, percent(analysis.score), codes.PERCENT, relationship=CONTAINS),
            number(codes.PROBABILITY, analysis.score, codes.PROBABILITY_UNIT, relationship=CONTAINS),
            number(codes.THRESHOLD, analysis.threshold, codes.PROBABILITY_UNIT, relationship=CONTAINS),
        ],
        algorithm_items(analysis.scorer),
        *(_origin(scored, sources[scored.sop_instance_uid]) for scored in analysis.images),
        [number(codes.ELAPSED, analysis.elapsed_ms, codes.MILLISECOND, relationship=CONTAINS)],
        text(codes.COMPLETED_AT, analysis.completed_at.isoformat()),
    )


def unscored_section(scorer: Algorithm, source: Source) -> list[ContentItem]:
    """What was to score an image that failed, and which image."""
    return section(
        codes.SCORER,
        text(codes.COMMENT, f"Not scored by {identity(scorer)}."),
        algorithm_items(scorer),
        text(codes.SOURCE_IMAGE_UID, source.image_reference().sop_instance_uid),
        _made(source.acquisition),
    )


def steps_section(analysis: Analysis) -> list[ContentItem]:
    """How the result came about, a line a step, which is read back as it stands; none of an earlier version."""
    return section(codes.STEPS, *(text(codes.STEP, step.line) for step in analysis.steps))


def processing_section(revision: Revision, summary: Code, unscored: int) -> list[ContentItem]:
    """Which run it was, when, and how it went (CID 6047)."""
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


def _coded(finding: Finding, analysis: Analysis, triage: Triage) -> list[ContentItem]:
    """A finding as a CODE with the NUMs (TID 1404, TID 300) that it was inferred from."""
    source, region, side = analysis.image_of(finding), analysis.box_of(finding), analysis.side_of(finding)
    where = box(region, source) if region else image(source)
    sides = [code(codes.LATERALITY, codes.SIDES[side], relationship=HAS_CONCEPT_MOD)] if side else []
    key = finding.type.key  # an explainer may have added a box, so the finding is not the same
    is_named = key in {named.finding.type.key for named in triage.named}
    is_shown = key in {shown.type.key for shown in triage.shown}
    name = codes.FINDING if is_named else codes.NOT_NAMED if is_shown else codes.UNRELIABLE
    coded = code(
        name,
        codes.kind_of(finding.type),
        number(codes.CERTAINTY_OF_FINDING, percent(finding.probability), codes.PERCENT),
        number(codes.PROBABILITY, finding.probability, codes.PROBABILITY_UNIT, *sides, where),
        number(codes.THRESHOLD, finding.threshold, codes.PROBABILITY_UNIT),
    )
    return [coded, *kind_items(finding.type), *_withheld(finding, analysis)]


def _withheld(finding: Finding, analysis: Analysis) -> list[ContentItem]:
    """A side that may not be told and a box that may not be drawn, in words that nothing draws: "left; 3 5 20 30"."""
    side = finding.side if analysis.side_of(finding) is None else None
    region = finding.region if analysis.box_of(finding) is None else None
    box_px = f"{region.x} {region.y} {region.width} {region.height}" if region else ""
    return text(codes.WITHHELD, "; ".join(filter(None, (side, box_px))))


def _origin(scored: ImageReference, source: Source) -> list[ContentItem]:
    return [
        *text(codes.SOURCE_IMAGE_UID, scored.sop_instance_uid),
        number(codes.ROWS, scored.rows, codes.PIXELS, relationship=CONTAINS),
        number(codes.COLUMNS, scored.columns, codes.PIXELS, relationship=CONTAINS),
        *_made(source.acquisition),
    ]


def _made(acquisition: Acquisition) -> list[ContentItem]:
    priority = acquisition.order_priority
    return [
        *text(codes.VIEW, acquisition.view),
        *text(codes.STATION, acquisition.station),
        *text(codes.MAKER, acquisition.manufacturer),
        *text(codes.WARD, acquisition.ward),
        *([code(codes.ORDER_PRIORITY, codes.ORDER_PRIORITIES[priority])] if priority else []),
    ]
