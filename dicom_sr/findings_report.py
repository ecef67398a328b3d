"""The AI findings: a box on the film for every finding that has one (TID 1500, TID 1410).

Viewers hydrate these boxes, and OHIF 3 is strict about what it takes: no NUM in a group, no group without a region,
a tracking UID of its own for each box, closed outlines, the standard's own English code meanings.
"""

from __future__ import annotations

from collections.abc import Callable

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset

from dicom_sr import codes
from dicom_sr.content import outline, section, text
from dicom_sr.triage_report import FULL_DISCLAIMER, named
from worklist.finding import Analysis, Finding, Region
from worklist.scope import MANUFACTURER
from worklist.sites import IN_A_LUNG


def located_findings(analysis: Analysis) -> tuple[tuple[Finding, Region], ...]:
    """The findings that reach their threshold and have a box: a box on anything else would mislead."""
    return tuple((finding, finding.region) for finding in analysis.positive_findings if finding.region)


def findings_content(analysis: Analysis, tracking_uid: Callable[[int], str]) -> Dataset:
    """The content tree of the AI findings.

    Args:
        analysis: with at least one of located_findings.
        tracking_uid: a UID for the box at a position.
    """
    scorer = analysis.scorer
    observer = ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=scorer.device_uid,
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=scorer.name,
        ),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=[
            _group(finding, region, analysis, tracking=TrackingIdentifier(tracking_uid(n), f"{named(finding)} {n}"))
            for n, (finding, region) in enumerate(located_findings(analysis), start=1)
        ],
    )
    root = report[0]
    for item in section(codes.QUALITATIVE_EVALUATIONS, text(codes.COMMENT, FULL_DISCLAIMER)):
        root.ContentSequence.append(item)
    return root


def _group(
    finding: Finding, region: Region, analysis: Analysis, *, tracking: TrackingIdentifier
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    image = SourceImageForRegion(analysis.image.sop_class_uid, analysis.image.sop_instance_uid)
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_region=ImageRegion(GraphicTypeValues.POLYLINE, outline(region), image),
        finding_type=codes.FINDING_TYPES[finding.type],
        algorithm_id=AlgorithmIdentification(name=analysis.scorer.name, version=analysis.scorer.version),
        finding_sites=_sites(finding),
    )


def _sites(finding: Finding) -> list[FindingSite] | None:
    if finding.side is None or finding.type not in IN_A_LUNG:
        return None
    return [FindingSite(codes.LUNG, laterality=codes.SIDES[finding.side])]
