"""The study beside an earlier film: sentences and quotations for a reader, and every number for machines."""

from __future__ import annotations

from typing import Final

from highdicom.sr import ContentItem

from dicom_sr import codes
from dicom_sr.content import CONTAINS, code, composite, image, number, section, text
from dicom_sr.policy_sections import kind_items
from dicom_sr.revision import InstanceReference
from worklist.comparison import ComparedFinding, PriorComparison, PriorReport, day_in_words
from worklist.finding import Analysis, ImageReference, Snippet
from worklist.triage import Triage

_QUOTED: Final = "Quoted from earlier reports, each with its source:"
_SCORED: Final = "Scores of the earlier film by the same model, suspected or not, coded for machines:"


def previous_section(analysis: Analysis, triage: Triage) -> list[ContentItem]:
    """What changed since an earlier film by the scores that may be shown, and what earlier reports say (TID 2000)."""
    prior = analysis.prior
    return section(
        codes.PREVIOUS_FINDINGS,
        *(text(codes.COMMENT, line) for line in _told(prior, triage)),
        text(codes.COMMENT, _QUOTED if analysis.snippets else ""),
        *(_quotation(snippet, prior) for snippet in analysis.snippets),
    )


def prior_section(prior: PriorComparison | None) -> list[ContentItem]:
    """Which film and report were found, and every score beside that of the earlier film, read back to the last bit."""
    if prior is None:
        return []
    film, report = prior.film, prior.report
    return section(
        codes.PRIOR,
        text(codes.CLASH, prior.clash),
        text(codes.NOT_COMPARED, prior.not_compared),
        text(codes.PRIOR_STUDY, prior.study_instance_uid, *([image(film)] if film else [])),
        text(codes.PRIOR_DATE, prior.study_date),
        _size(film) if film else [],
        text(codes.REPORT_KIND, report.kind, _cited(report)) if report else [],
        text(codes.REPORT_LIMITS, report.limits if report else ""),
        text(codes.COMMENT, _SCORED if prior.compared else ""),
        *(_compared(one, film) for one in prior.compared),
    )


def prior_evidence(prior: PriorComparison | None) -> tuple[InstanceReference, ...]:
    """The objects of the earlier study that the report refers to."""
    if prior is None:
        return ()
    return tuple(
        InstanceReference(
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            series_instance_uid=one.series_instance_uid,
            study_instance_uid=one.study_instance_uid,
        )
        for one in (prior.film, prior.report)
        if one
    )


def _told(prior: PriorComparison | None, triage: Triage) -> list[str]:
    if prior is None:
        return []
    lines = list(prior.sentences({finding.type.key for finding in triage.shown}))
    if prior.film:
        lines.insert(0, f"Beside the film of {day_in_words(prior.study_date)}:")
    return lines


def _quotation(snippet: Snippet, prior: PriorComparison | None) -> list[ContentItem]:
    report = prior.report if prior else None
    cited = [_cited(report)] if report and report.sop_instance_uid == snippet.source else []
    return [*text(codes.PREVIOUS_FINDING, snippet.snippet, *cited), *text(codes.QUOTED_FROM, snippet.source)]


def _cited(report: PriorReport) -> ContentItem:
    return composite(codes.SOURCE_REPORT, report.sop_class_uid, report.sop_instance_uid)


def _size(film: ImageReference) -> list[ContentItem]:
    return [
        number(codes.ROWS, film.rows, codes.PIXELS, relationship=CONTAINS),
        number(codes.COLUMNS, film.columns, codes.PIXELS, relationship=CONTAINS),
    ]


def _compared(one: ComparedFinding, film: ImageReference | None) -> list[ContentItem]:
    """A finding as a CODE with its earlier probability, and behind it what the difference is called."""
    seen_on = [image(film)] if film else []
    return [
        code(
            codes.PREVIOUS_FINDING,
            codes.kind_of(one.type),
            number(codes.PROBABILITY, one.then, codes.PROBABILITY_UNIT, *seen_on),
        ),
        *kind_items(one.type),
        *text(codes.CHANGE_BY_SCORE, one.change),
    ]
