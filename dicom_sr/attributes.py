"""The attributes around the content: series, equipment, SOP Common and SR document modules, and the character set."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydicom import config
from pydicom.charset import decode_bytes, encode_string
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, TEXT_VR_DELIMS, PersonName

from dicom_sr import codes
from dicom_sr.revision import InstanceReference
from dicom_sr.source import Source
from dicom_sr.uids import derive_uid
from imaging.characters import encodings_of
from worklist.finding import Algorithm, ImageReference
from worklist.scope import MANUFACTURER

_UTF_8: Final = "ISO_IR 192"
_DEFAULT_REPERTOIRE: Final = {"", "ISO_IR 6", "ISO 2022 IR 6"}
_SHORT_STRING: Final = 16
_SCHEME_UID: Final = derive_uid("coding scheme", codes.SCHEME)
_IMPLEMENTATION_UID: Final = UID(derive_uid("implementation", MANUFACTURER))


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What sets one new object apart from the others of its study.

    Attributes:
        reference: its UIDs.
        modality: Modality (0008,0060).
        series_number: Series Number (0020,0011); high, so that viewers open the film first.
        series_description: at most 64 ASCII characters.
        instance_number: Instance Number (0020,0013).
        content_at: Content Date and Time.
        algorithms: what computed the content, the scorer first.
    """

    reference: InstanceReference
    modality: str
    series_number: int
    series_description: str
    instance_number: int
    content_at: datetime
    algorithms: tuple[Algorithm, ...]


def code_item(code: Code) -> Dataset:
    """A Code Sequence Macro item (PS3.3 section 8.8)."""
    item = Dataset()
    setattr(item, "CodeValue" if len(code.value) <= _SHORT_STRING else "LongCodeValue", code.value)
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def new_object(source: Source, identity: Identity) -> Dataset:
    """A data set with everything but its content; it belongs to the patient and study of the source.

    Raises:
        PermanentError: an identifier of the source is longer than a DICOM object can carry.
    """
    reference, at = identity.reference, source.local(identity.content_at)
    new = Dataset()
    new.preamble = bytes(128)  # without it some writers leave the DICM prefix out
    new.file_meta = FileMetaDataset()
    new.file_meta.FileMetaInformationVersion = b"\x00\x01"
    new.file_meta.MediaStorageSOPClassUID = new.SOPClassUID = UID(reference.sop_class_uid)
    new.file_meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID = UID(reference.sop_instance_uid)
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
    new.file_meta.ImplementationVersionName = "FIRSTREAD"
    source.copy_patient_and_study(new)

    new.SeriesInstanceUID = reference.series_instance_uid
    new.SeriesNumber = identity.series_number
    new.SeriesDescription = identity.series_description
    new.Modality = identity.modality
    new.InstanceNumber = identity.instance_number
    new.SeriesDate = new.ContentDate = new.InstanceCreationDate = at.strftime("%Y%m%d")
    new.SeriesTime = new.ContentTime = new.InstanceCreationTime = at.strftime("%H%M%S.%f")

    new.Manufacturer = new.ManufacturerModelName = MANUFACTURER
    new.SoftwareVersions = software_version()
    new.DeviceSerialNumber = identity.algorithms[0].device_uid
    new.ContentQualification = "RESEARCH"
    new.ContributingEquipmentSequence = [_contribution(algorithm, at) for algorithm in identity.algorithms]
    return new


def new_document(  # noqa: PLR0913 - what a document is made of
    source: Source,
    identity: Identity,
    *,
    content: Dataset,
    images: Sequence[ImageReference],
    predecessors: Sequence[InstanceReference],
    other_evidence: Sequence[InstanceReference] = (),
) -> Dataset:
    """An SR document around its content tree: SR Document Series and General modules (PS3.3 C.17.1, C.17.2).

    Args:
        source: the leading image.
        identity: what the document is.
        content: the root container.
        images: all that were scored, of one study: the document's evidence.
        predecessors: the documents that this one replaces.
        other_evidence: objects of one earlier study that the content refers to.
    """
    new = new_object(source, identity)
    new.update(content)
    new.CompletionFlag = "COMPLETE"
    new.VerificationFlag = "UNVERIFIED"
    new.PreliminaryFlag = "PRELIMINARY"
    new.ReferencedPerformedProcedureStepSequence = []
    new.PerformedProcedureCodeSequence = []
    new.CurrentRequestedProcedureEvidenceSequence = [evidence(*map(InstanceReference.to_image, images))]
    if other_evidence:
        new.PertinentOtherEvidenceSequence = [evidence(*other_evidence)]
    if predecessors:
        new.PredecessorDocumentsSequence = [evidence(predecessor) for predecessor in predecessors]
    if answered := source.referenced_requests():
        new.ReferencedRequestSequence = answered
    new.CodingSchemeIdentificationSequence = [_coding_scheme()]
    choose_character_set(source, new)
    return new


def choose_character_set(source: Source, new: Dataset) -> None:
    """Keep the source's Specific Character Set where every text of the new object survives it, or else take UTF-8.

    A Patient ID that was carried over as octets keeps the character set in any case, and other texts obey it.
    """
    if isinstance(source.patient_id, bytes):
        _obey(new, source.character_set)
        if source.character_set:  # as it stands, misspelled terms too
            stated = DataElement("SpecificCharacterSet", "CS", source.character_set, validation_mode=config.IGNORE)
            new.add(stated)
    elif source.knows_character_set and all(_survives(text, vr, source.character_set) for text, vr in _texts(new)):
        if source.character_set:
            new.SpecificCharacterSet = source.character_set
    else:
        new.SpecificCharacterSet = _UTF_8


@functools.cache
def software_version() -> str:
    """The installed version of Firstread."""
    try:
        return importlib.metadata.version("firstread")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _contribution(algorithm: Algorithm, at: datetime) -> Dataset:
    """A Contributing Equipment Sequence item (PS3.3 C.12.1) with what IHE AIR 6.5.3.1 demands."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = algorithm.name
    item.SoftwareVersions = algorithm.version
    item.DeviceUID = algorithm.device_uid
    item.ContributionDateTime = at.strftime("%Y%m%d%H%M%S.%f")
    if algorithm.sha256:
        item.ContributionDescription = f"SHA-256 of the weights: {algorithm.sha256}"
    return item


def evidence(*references: InstanceReference) -> Dataset:
    """Objects of one study, by their series, as a Hierarchical SOP Instance Reference (PS3.3 table C.17-3)."""
    study = Dataset()
    study.StudyInstanceUID = references[0].study_instance_uid
    study.ReferencedSeriesSequence = []
    by_series: dict[str, Dataset] = {}
    for reference in references:
        series = by_series.get(reference.series_instance_uid)
        if series is None:
            series = by_series[reference.series_instance_uid] = Dataset()
            series.SeriesInstanceUID = reference.series_instance_uid
            series.ReferencedSOPSequence = []
            study.ReferencedSeriesSequence.append(series)
        sop = Dataset()
        sop.ReferencedSOPClassUID = reference.sop_class_uid
        sop.ReferencedSOPInstanceUID = reference.sop_instance_uid
        series.ReferencedSOPSequence.append(sop)
    return study


def _coding_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.SCHEME
    item.CodingSchemeUID = _SCHEME_UID
    item.CodingSchemeName = "Firstread concepts"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item


def _texts(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Every text that is not plain ASCII, with its VR."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in CUSTOMIZABLE_CHARSET_VR and element.value:
            parts = element.value if isinstance(element.value, MultiValue) else [element.value]
            yield from ((str(part), element.VR) for part in parts if not str(part).isascii())


def _obey(dataset: Dataset, character_set: list[str]) -> None:
    """Put a question mark in the place of each letter that a character set does not have."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _obey(item, character_set)
        elif element.VR in CUSTOMIZABLE_CHARSET_VR and isinstance(element.value, str | PersonName):
            text = str(element.value)
            if not text.isascii() and not _survives(text, element.VR, character_set):
                element.value = text.encode("ascii", "replace").decode("ascii")


def _survives(text: str, vr: str, character_set: list[str]) -> bool:
    """Whether the text comes back unchanged from this character set."""
    terms = character_set or [""]
    encodings = encodings_of(tuple(terms))
    repertoires = [
        "ascii" if term in _DEFAULT_REPERTOIRE else name for term, name in zip(terms, encodings, strict=True)
    ]
    # pydicom warns where it must replace a character, so it is asked only when it need not
    if not all(any(_holds(name, character) for name in repertoires) for character in text):
        return False
    if vr == "PN":
        return str(PersonName(PersonName(text).encode(tuple(encodings)), encodings)) == text
    return decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text


def _holds(encoding: str, character: str) -> bool:
    try:
        encoded = character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return len(encoded) == 1 or encoding != "shift_jis"  # ISO_IR 13 holds the one-byte part of Shift JIS alone
