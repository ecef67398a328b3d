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
from dicom_sr.content import FULL_DISCLAIMER, outline, section, text
from worklist.finding import IN_A_LUNG, Algorithm, Analysis, Finding, ImageReference, Region, Side
from worklist.scope import MANUFACTURER
from worklist.triage import Triage
from worklist.words import in_a_sentence, joined


@dataclass(frozen=True, kw_only=True, slots=True)
class LocatedFinding:
    """A finding that is put into words, with the side that may be told, its box and the image that the box is on."""

    finding: Finding
    words: str
    side: Side | None
    region: Region
    image: ImageReference

    @property
    def label(self) -> str:
        """What stands beside the box in a viewer."""
        return f"AI: {self.words}"


def located_findings(analysis: Analysis, triage: Triage) -> tuple[LocatedFinding, ...]:
    """The boxes worth showing, the most harmful first: a box on what is not put into words would mislead."""
    located = []
    by_kind = {finding.type.key: finding for finding in analysis.findings}
    for named in triage.named:
        finding = by_kind[named.finding.type.key]  # an explainer may have added its box
        image = analysis.image_of(finding)
        if region := analysis.box_of(finding):
            located.append(
                LocatedFinding(finding=finding, words=named.words, side=named.side, region=region, image=image)
            )
    return tuple(located)


def where_to_look(located: Sequence[LocatedFinding], triage: Triage, *, boxes: int, crops: int) -> str:
    """Of the findings in words, which have a box and where in the study that is; "" where there are none.

    Args:
        located: those with a box.
        triage: what is put into words.
        boxes: Series Number (0020,0011) of the findings report.
        crops: that of the crops.
    """
    with_box = {found.finding.type.key for found in located}
    names = [in_a_sentence(found.finding.type.label) for found in located]
    others = [in_a_sentence(n.finding.type.label) for n in triage.named if n.finding.type.key not in with_box]
    parts = (
        f"Boxed on the image: {joined(names)} (series {boxes}; crops: series {crops})." if names else "",
        f"Without a box: {joined(others)}." if others else "",
    )
    return " ".join(filter(None, parts))


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
        finding_sites=_sites(found),
    )


def _sites(found: LocatedFinding) -> list[FindingSite] | None:
    if found.side is None or found.finding.type not in IN_A_LUNG:
        return None
    return [FindingSite(codes.LUNG, laterality=codes.SIDES[found.side])]
