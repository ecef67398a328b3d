"""The comparison with an earlier film, read back from the section that dicom_sr.prior_sections writes."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset

from dicom_sr import codes
from dicom_sr.revision import InstanceReference
from dicom_sr.tree import Section, below
from worklist.account import Change
from worklist.comparison import ComparedFinding, PriorComparison, PriorReport
from worklist.finding import Finding, ImageReference


def parsed_prior(section: Section, dataset: Dataset, findings: tuple[Finding, ...]) -> PriorComparison | None:
    """The comparison; None where the report has none.

    Args:
        section: the comparison's.
        dataset: the report, whose evidence says where the earlier objects lie.
        findings: of the study.

    Raises:
        LookupError: something of it is missing.
    """
    if not section.items:
        return None
    listed = _other_evidence(dataset)
    now = {finding.type.key: finding.probability for finding in findings}
    return PriorComparison(
        study_instance_uid=section.text(codes.PRIOR_STUDY),
        study_date=section.text(codes.PRIOR_DATE),
        film=_film(section, listed),
        report=_report(section, listed),
        compared=tuple(
            ComparedFinding(
                type=kind,
                then=below(item).number(codes.PROBABILITY),
                now=now[kind.key],
                change=Change(section.after(item).text(codes.CHANGE_BY_SCORE)),
            )
            for item, kind in section.findings()
        ),
        not_compared=section.text(codes.NOT_COMPARED),
        clash=section.text(codes.CLASH),
    )


def _film(section: Section, listed: Mapping[str, InstanceReference]) -> ImageReference | None:
    item = below(section.find(codes.PRIOR_STUDY)).find(codes.SOURCE_OF_MEASUREMENT)
    if item is None:
        return None
    found = listed[_referenced(item)]
    return ImageReference(
        study_instance_uid=found.study_instance_uid,
        series_instance_uid=found.series_instance_uid,
        sop_class_uid=found.sop_class_uid,
        sop_instance_uid=found.sop_instance_uid,
        rows=int(section.number(codes.ROWS)),
        columns=int(section.number(codes.COLUMNS)),
    )


def _report(section: Section, listed: Mapping[str, InstanceReference]) -> PriorReport | None:
    item = below(section.find(codes.REPORT_KIND)).find(codes.SOURCE_REPORT)
    if item is None:
        return None
    found = listed[_referenced(item)]
    return PriorReport(
        study_instance_uid=found.study_instance_uid,
        series_instance_uid=found.series_instance_uid,
        sop_class_uid=found.sop_class_uid,
        sop_instance_uid=found.sop_instance_uid,
        kind=section.text(codes.REPORT_KIND),
        limits=section.text(codes.REPORT_LIMITS),
    )


def _referenced(item: Dataset) -> str:
    return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def _other_evidence(dataset: Dataset) -> dict[str, InstanceReference]:
    return {
        str(sop.ReferencedSOPInstanceUID): InstanceReference(
            sop_class_uid=str(sop.ReferencedSOPClassUID),
            sop_instance_uid=str(sop.ReferencedSOPInstanceUID),
            series_instance_uid=str(series.SeriesInstanceUID),
            study_instance_uid=str(study.StudyInstanceUID),
        )
        for study in dataset.get("PertinentOtherEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
