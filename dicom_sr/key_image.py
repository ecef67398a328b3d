"""A key image note (Key Object Selection Document, TID 2010): the film on which the AI suspects something.

No title of CID 7010 is of AI. "Of Interest" is what IHE Key Image Note and viewers take for a key image; that
software chose it stands in the observer context and in the description.
"""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection
from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset

from dicom_sr import codes
from dicom_sr.attributes import Identity, evidence, new_object, settle_character_set
from dicom_sr.revision import InstanceReference
from dicom_sr.source import Source
from dicom_sr.triage_report import named
from worklist.finding import Analysis
from worklist.scope import MANUFACTURER


def key_image(
    analysis: Analysis, *, source: Source, identity: Identity, presentation_state: InstanceReference | None
) -> Dataset:
    """The note.

    Args:
        analysis: with at least one positive finding.
        source: the film's attributes.
        identity: the new object's UIDs and series.
        presentation_state: the overlay through which to show the film (PS3.3 section C.18.4), if there is one.
    """
    image, scorer = analysis.image, analysis.scorer
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    film.Rows, film.Columns = image.rows, image.columns
    observer = ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=scorer.device_uid,
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=scorer.name,
        ),
    )
    suspected = ", ".join(named(finding) for finding in analysis.positive_findings)
    content = KeyObjectSelection(
        codes.OF_INTEREST,
        [film],
        observer_device_context=observer,
        description=f"Chosen by AI, not by a radiologist. Suspected: {suspected}. Not a diagnosis.",
    )[0]
    chosen = content.ContentSequence[-1]
    del chosen.ConceptNameCodeSequence  # highdicom's "Source", but TID 2010 wants no purpose of reference
    references = [
        InstanceReference(
            sop_class_uid=image.sop_class_uid,
            sop_instance_uid=image.sop_instance_uid,
            series_instance_uid=image.series_instance_uid,
            study_instance_uid=image.study_instance_uid,
        )
    ]
    if presentation_state is not None:
        shown_through = Dataset()
        shown_through.ReferencedSOPClassUID = presentation_state.sop_class_uid
        shown_through.ReferencedSOPInstanceUID = presentation_state.sop_instance_uid
        chosen.ReferencedSOPSequence[0].ReferencedSOPSequence = [shown_through]
        references.append(presentation_state)
    new = new_object(source, identity)
    new.update(content)
    new.ReferencedPerformedProcedureStepSequence = []
    new.CurrentRequestedProcedureEvidenceSequence = [evidence(*references)]
    if answered := source.referenced_requests():
        new.ReferencedRequestSequence = answered
    settle_character_set(source, new)
    return new
