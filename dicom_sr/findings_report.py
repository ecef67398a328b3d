"""The AI findings: a box for every finding that is put into words and has one worth showing (TID 1500, TID 1410).

Viewers hydrate these boxes, and OHIF 3 is strict about what it takes: no NUM in a group, no group without a region,
a tracking UID of its own for each box, closed outlines, the standard's own English code meanings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from dicom_sr.triage_report import FULL_DISCLAIMER
from worklist.finding import IN_A_LUNG, Algorithm, Analysis, Finding, ImageReference, Region
from worklist.scope import MANUFACTURER
from worklist.triage import Triage


@dataclass(frozen=True, kw_only=True, slots=True)
class LocatedFinding:
    """A finding that is put into words, with its box and the image that the box is on."""

    finding: Finding
    words: str
    region: Region
    image: ImageReference

    @property
    def label(self) -> str:
        """What stands beside the box in a viewer."""
        return f"AI: {self.words}"


def located_findings(analysis: Analysis, triage: Triage) -> tuple[LocatedFinding, ...]:
    """The boxes worth showing, the most harmful first.

    A box on what is not put into words would mislead, and so would one across the midline on what lies in one lung.
    """
    located = []
    by_kind = {finding.type.key: finding for finding in analysis.findings}
    for named in triage.named:
        finding = by_kind[named.finding.type.key]  # an explainer may have added its box
        image = analysis.image_of(finding)
        if finding.region and not _crosses_midline(finding, finding.region, image):
            located.append(LocatedFinding(finding=finding, words=named.words, region=finding.region, image=image))
    return tuple(located)


def _crosses_midline(finding: Finding, box: Region, image: ImageReference) -> bool:
    is_one_sided = finding.side is not None and finding.type in IN_A_LUNG
    return is_one_sided and box.x < image.columns / 2 < box.x + box.width


def findings_content(
    located: Sequence[LocatedFinding], scorer: Algorithm, tracking_uids: Mapping[LocatedFinding, str]
) -> Dataset:
    """The content tree of the AI findings.

    Args:
        located: at least one.
        scorer: what found them.
        tracking_uids: a UID for each box.
    """
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
            _group(found, scorer, TrackingIdentifier(tracking_uids[found], found.label)) for found in located
        ],
    )
    root = report[0]
    for item in section(codes.QUALITATIVE_EVALUATIONS, text(codes.COMMENT, FULL_DISCLAIMER)):
        root.ContentSequence.append(item)
    return root


def _group(
    found: LocatedFinding, scorer: Algorithm, tracking: TrackingIdentifier
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    image = SourceImageForRegion(found.image.sop_class_uid, found.image.sop_instance_uid)
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_region=ImageRegion(GraphicTypeValues.POLYLINE, outline(found.region), image),
        finding_type=codes.kind_of(found.finding.type),
        algorithm_id=AlgorithmIdentification(name=scorer.name, version=scorer.version),
        finding_sites=_sites(found.finding),
    )


def _sites(finding: Finding) -> list[FindingSite] | None:
    if finding.side is None or finding.type not in IN_A_LUNG:
        return None
    return [FindingSite(codes.LUNG, laterality=codes.SIDES[finding.side])]
