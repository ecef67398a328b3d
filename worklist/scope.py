"""Which images Firstread looks at: frontal chest radiographs, told by the header in its many usual spellings.

An image that says nothing about its body part is looked at; one that names another part is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from worklist.study import Failure

MANUFACTURER = "Firstread"

_RADIOGRAPH_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
}
_FOR_PROCESSING_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"
_SECONDARY_CAPTURE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.7.1",
    "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3",
    "1.2.840.10008.5.1.4.1.1.7.4",
}
_NOT_STATED = {"", "UNKNOWN", "OTHER", "NONE", "UNDEFINED", "DEFAULT", "NA", "N A", "GENERAL", "XRAY", "X RAY"}

# Whole words or beginnings of words, in upper case and without accents.
_CHEST_WORDS = (
    r"CHEST|THORA\w*|TORAX|TORACE|TORACIC\w*|CXR|LUNGS?|PULMO\w*|POUMONS?|POLMON\w*|PULMON\w*|LUNGE\w*|BRUSTKORB|"
    r"KLATKA|KLP|GRUDN\w*|ГРУДН\w*|ОГК|ЛЕГК\w*|ΘΩΡΑΚ\w*|GOGUS\w*|AKCIGER\w*|BORSTKAS|RINTANGEHA\w*|HRUDNIK\w*"
)
_THORACIC_SPINE = re.compile(r"\bTHORA\w* (?:SPINE|VERTEBRA\w*)\b|\bTHORACO ?LUMB\w*|\bDORSAL SPINE\b")
_CHEST_FRAGMENTS = ("胸", "흉부", "ทรวงอก", "صدر")
_OTHER_WORDS = (
    r"HEAD|SKULL|FACE|FACIAL|NASAL|SINUS\w*|MANDIBLE|DENTAL|TEETH|TOOTH|EYE|ORBITS?|NECK|CERVICAL|"
    r"C ?SPINE|L ?SPINE|T ?SPINE|SPINE|LUMBAR|LSPINE|SACR\w*|COCCYX|"
    r"ABD\w*|KUB|BOWEL|PELVIS|PELVIC|HIPS?|SHOULDERS?|CLAVICLE|SCAPULA|HUMERUS|ELBOW|FOREARM|ARM|WRIST|HANDS?|"
    r"FINGERS?|THUMB|FEMUR|THIGH|KNEES?|LEGS?|TIBIA|FIBULA|ANKLE|FOOT|FEET|TOES?|HEEL|CALCANEUS|PATELLA|"
    r"EXTREMITY|BREAST|MAMMO\w*|RIBS?|STERNUM|ESOPHAGUS|STOMACH|JAW|BRAIN|"
    r"HAND|KNIE|FUSS|SCHADEL|BECKEN|MAIN|GENOU|BASSIN|MANO|RODILLA|CADERA"
)
_CHEST = re.compile(rf"\b(?:{_CHEST_WORDS})\b")
_OTHER = re.compile(rf"\b(?:{_OTHER_WORDS})\b")
_FRONTAL = re.compile(r"\b(?:PA|AP|FRONTAL|FRONT|PORTABLE|BEDSIDE|P A|A P|DV|VD)\b")
_LATERAL = re.compile(r"\b(?:LAT|LATERAL\w*|LL|RL|LATERALE|SEITLICH|PROFIL|PERFIL|RLAT|LLAT|DECUB\w*|LLD|RLD)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScopeRules:
    """A site's choices.

    Attributes:
        modalities: values of Modality (0008,0060) that are radiographs.
        chest_words: further words that name the chest in this hospital's descriptions.
        accept_secondary_capture: whether a film wrapped as Secondary Capture is looked at.
    """

    modalities: frozenset[str] = frozenset({"CR", "DX", "DR", "RG"})
    chest_words: frozenset[str] = frozenset()
    accept_secondary_capture: bool = True


def assess_scope(header: Mapping[str, str], rules: ScopeRules) -> Failure | None:
    """Why an image is not looked at, or None where it is.

    Args:
        header: attribute values by DICOM keyword, as text; absent ones may be missing.
        rules: the site's choices.
    """
    return _kind(header, rules) or _body_part(header, rules) or _view(header)


def is_own_object(header: Mapping[str, str]) -> bool:
    """Whether Firstread itself wrote the object: such objects never start a job."""
    return header.get("Manufacturer", "").strip() == MANUFACTURER


def _kind(header: Mapping[str, str], rules: ScopeRules) -> Failure | None:
    sop_class_uid = header.get("SOPClassUID", "").strip()
    modality = header.get("Modality", "").strip().upper()
    is_radiograph = modality in rules.modalities
    refused = Failure(code="not_a_radiograph", message=f"not a radiograph (modality {modality or 'not stated'})")
    if sop_class_uid in _RADIOGRAPH_CLASSES:
        return None if is_radiograph else refused
    if sop_class_uid in _SECONDARY_CAPTURE_CLASSES:
        names_chest = _says_chest(_texts(header, "BodyPartExamined", "SeriesDescription", "ProtocolName"), rules)
        return None if rules.accept_secondary_capture and (is_radiograph or names_chest) else refused
    if sop_class_uid == _FOR_PROCESSING_CLASS:
        return Failure(code="for_processing", message="raw image for processing, not meant for reading")
    if "Rows" not in header:
        return Failure(code="not_an_image", message=f"not an image (modality {modality or 'not stated'})")
    return refused


def _body_part(header: Mapping[str, str], rules: ScopeRules) -> Failure | None:
    # What is said of the image outweighs what is said of the study, which may cover several parts.
    body_part = _plain(header.get("BodyPartExamined", ""))
    image = _texts(header, "BodyPartExamined", "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessing")
    study = _texts(header, "StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
    if _says_chest(image, rules):
        return None
    if body_part not in _NOT_STATED:
        return Failure(code="not_chest", message=f"body part is {body_part.lower()}, not chest")
    if not _OTHER.search(image) and (_says_chest(study, rules) or not _OTHER.search(study)):
        return None
    named = _OTHER.search(image) or _OTHER.search(study)
    part = named.group().lower() if named else "another part"
    return Failure(code="not_chest", message=f"described as {part}, not chest")


def _view(header: Mapping[str, str]) -> Failure | None:
    lateral = Failure(code="lateral_view", message="lateral or decubitus view: only frontal films are scored")
    view = _plain(header.get("ViewPosition", ""))
    if _FRONTAL.search(view):
        return None
    if _LATERAL.search(view):
        return lateral
    rows_run_to = header.get("PatientOrientation", "").split("\\")[0].strip().upper()
    if rows_run_to[:1] in {"A", "P"}:
        return lateral
    words = _texts(header, "SeriesDescription", "ProtocolName")
    return lateral if _LATERAL.search(words) and not _FRONTAL.search(words) else None


def _says_chest(words: str, rules: ScopeRules) -> bool:
    if _CHEST.search(words) or any(fragment in words for fragment in _CHEST_FRAGMENTS):
        return True
    return any(_plain(word) in words for word in rules.chest_words)


def _texts(header: Mapping[str, str], *keywords: str) -> str:
    return " | ".join(_plain(header.get(keyword, "")) for keyword in keywords)


def _plain(text: str) -> str:
    """Upper case, no accents, anything but letters and digits a space: 'Thorax_p.a.' becomes 'THORAX P A'."""
    decomposed = unicodedata.normalize("NFKD", text.upper())
    unaccented = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", unaccented)).strip()
    return _THORACIC_SPINE.sub("SPINE", words)
