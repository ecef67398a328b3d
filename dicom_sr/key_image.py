"""A key image note (Key Object Selection Document, TID 2010): the images on which the AI names a finding.

No title of CID 7010 is of AI. "Of Interest" is what IHE Key Image Note and viewers take for a key image; that
software chose it stands in the observer context and in the description.
"""

from __future__ import annotations

from collections.abc import Mapping

from highdicom.ko import KeyObjectSelection
from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset

from dicom_sr import codes
from dicom_sr.attributes import Identity, choose_character_set, evidence, new_object
from dicom_sr.revision import InstanceReference
from dicom_sr.source import Source
from worklist.finding import Analysis, ImageReference
from worklist.scope import MANUFACTURER
from worklist.triage import Triage


def key_image(
    analysis: Analysis,
    triage: Triage,
    *,
    source: Source,
    identity: Identity,
    overlays: Mapping[str, InstanceReference],
) -> Dataset:
    """The note.

    Args:
        analysis: of all images of the study.
        triage: with at least one named finding.
        source: the leading image's attributes.
        identity: the new object's UIDs and series.
        overlays: those through which to show an image (PS3.3 section C.18.4), by its SOP Instance UID.
    """
    scorer = analysis.scorer
    images = list(dict.fromkeys(analysis.image_of(named.finding) for named in triage.named))
    observer = ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=scorer.device_uid,
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=scorer.name,
        ),
    )
    words = "; ".join(named.words for named in triage.named)
    content = KeyObjectSelection(
        codes.OF_INTEREST,
        [_as_dataset(image) for image in images],
        observer_device_context=observer,
        description=f"Chosen by AI, not by a radiologist. {words}. Not a diagnosis.",
    )[0]
    references = [InstanceReference.to_image(image) for image in images]
    for chosen in content.ContentSequence[-len(images) :]:
        del chosen.ConceptNameCodeSequence  # highdicom's "Source", but TID 2010 wants no purpose of reference
        (referenced,) = chosen.ReferencedSOPSequence
        if overlay := overlays.get(referenced.ReferencedSOPInstanceUID):
            shown_through = Dataset()
            shown_through.ReferencedSOPClassUID = overlay.sop_class_uid
            shown_through.ReferencedSOPInstanceUID = overlay.sop_instance_uid
            referenced.ReferencedSOPSequence = [shown_through]
            references.append(overlay)
    new = new_object(source, identity)
    new.update(content)
    new.ReferencedPerformedProcedureStepSequence = []
    new.CurrentRequestedProcedureEvidenceSequence = [evidence(*references)]
    if answered := source.referenced_requests():
        new.ReferencedRequestSequence = answered
    choose_character_set(source, new)
    return new


def _as_dataset(image: ImageReference) -> Dataset:
    """An image as highdicom wants to see what is chosen."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    dataset.Rows, dataset.Columns = image.rows, image.columns
    return dataset
