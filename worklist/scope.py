"""Which images Firstread looks at: frontal chest radiographs of adults, told by the header in its many spellings.

An image that says nothing about its body part is looked at; one that names another part is not. The same goes for the
patient's age.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from worklist.scope_words import (
    CHEST,
    CHEST_ADJECTIVE,
    FRONTAL,
    LYING,
    NEAR_CHEST,
    NOT_FRONTAL,
    OF_A_CHILD,
    OTHER,
    SPINE,
    plain,
)
from worklist.study import Failure

MANUFACTURER = "Firstread"
OWN_SERIES_FROM = 9000
"""Series Number (0020,0011) of our own objects is above this: viewers open the lowest one, which must be the film's."""

# Why an image is not looked at: the codes of a Failure.
NOT_A_RADIOGRAPH = "not_a_radiograph"
FOR_PROCESSING = "for_processing"
NOT_AN_IMAGE = "not_an_image"
NOT_CHEST = "not_chest"
DERIVED = "derived_image"
LATERAL_VIEW = "lateral_view"
CHILD = "child"

# The radiographs among them; of several codes the first says most about a study.
REFUSED_RADIOGRAPHS = (CHILD, LATERAL_VIEW, NOT_CHEST, DERIVED, FOR_PROCESSING)
# What an image turned out to be once its pixels were looked at, whatever its header says; the gates raise these.
NOT_CHEST_FILM = "not_chest_film"
LATERAL_FILM = "lateral_film"
CHILD_FILM = "child_film"
SEEN_OUT_OF_SCOPE = (NOT_CHEST_FILM, LATERAL_FILM, CHILD_FILM)
"""Codes with which an image fails to be scored that is none of those which are looked at, and not broken.

A film that is blank, burned out, or lies so that it cannot be put right is not among them: somebody can send it again.
"""

TELLING = (*REFUSED_RADIOGRAPHS, NOT_A_RADIOGRAPH)

OUT_OF_SCOPE = frozenset({*TELLING, *SEEN_OUT_OF_SCOPE})
"""Every code under which an image is none that may be judged; nothing is broken then."""

_RADIOGRAPH_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
}
_FOR_PROCESSING_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"
_DOCUMENT_CLASSES = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")  # SR and KOS, presentation states
_SECONDARY_CAPTURE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.7.1",
    "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3",
    "1.2.840.10008.5.1.4.1.1.7.4",
}
_NOT_STATED = {"", "UNKNOWN", "OTHER", "NONE", "UNDEFINED", "DEFAULT", "NA", "N A", "GENERAL", "XRAY", "X RAY"}

_MODALITY_NOT_STATED = {"", "OT", "SC"}
_IMAGE_TEXTS = ("BodyPartExamined", "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
_VIEW_TEXTS = ("SeriesDescription", "ProtocolName")
_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")

AGE_KEYWORDS = ("PatientAge", "PatientBirthDate", *_DATES)
"""Every attribute that states_age and contradictory_ages read."""

WARD_OF = ("RequestingService", "CurrentPatientLocation", "InstitutionalDepartmentName")
"""Where an image was asked for: the first of these attributes that an image has."""

HEADER_KEYWORDS = (
    *("SOPClassUID", "Modality", "Rows", "ViewPosition", "PatientOrientation", "PatientAge", "PatientBirthDate"),
    *("PresentationIntentType", "ImageType", "PhotometricInterpretation", "DerivationDescription", "ConversionType"),
    *_IMAGE_TEXTS,
    *_STUDY_TEXTS,
    *_DATES,
)
"""Every attribute that assess_scope reads."""

_DERIVED_TEXTS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "DerivationDescription",
)
_DERIVED_WORDS = re.compile(
    r"\bHEAT ?MAPS?\b|\bSALIENCY\b|\bBONE SUPPRESS\w*|\b(?:BONES?|RIBS?) (?:SUPPRESSED|SUBTRACTED|SUPPRESSION)\b|"
    r"\bSOFT TISSUE (?:IMAGE|ONLY)\b|\bDUAL ENERGY\b|\bSUBTRACTION\b|\bDES (?:BONE|SOFT)\b"
)
_NO_FILM = {"DRW": "drawing", "SYN": "synthesized image"}  # by Conversion Type, PS3.3 C.8.6.1
_TISSUE = re.compile(r"\b(?:BONE|SOFT TISSUE|SOFT_TISSUE)\b")
_ADULT_YEARS = 18
_AGE = re.compile(r"(\d{1,3})([YMWD])")  # AS, PS3.5 section 6.2
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}


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
    return (
        _kind(header, rules)
        or _intent(header)
        or _derived(header)
        or _body_part(header, rules)
        or _view(header)
        or _child(header)
    )


def is_secondary_capture(sop_class_uid: str) -> bool:
    """Whether a SOP Class is one of those for what was captured from elsewhere."""
    return sop_class_uid.strip() in _SECONDARY_CAPTURE_CLASSES


def is_own_manufacturer(manufacturer: str) -> bool:
    """Whether Manufacturer (0008,0070) is what Firstread writes there."""
    return manufacturer.strip() == MANUFACTURER


def is_own_object(header: Mapping[str, str]) -> bool:
    """Whether Firstread itself wrote the object: such objects never start a job.

    The name of the manufacturer alone is not enough, since a device may bear it too: ours are documents, and crops
    whose series has no low number. So copies are known as well, which another archive or an anonymization made.
    """
    sop_class_uid = header.get("SOPClassUID", "").strip()
    is_document = sop_class_uid.startswith(_DOCUMENT_CLASSES)
    series = header.get("SeriesNumber", "").strip()
    is_low = series.isascii() and series.isdecimal() and int(series) <= OWN_SERIES_FROM
    is_crop = sop_class_uid in _SECONDARY_CAPTURE_CLASSES and header.get("Modality", "").strip() == "OT" and not is_low
    return is_own_manufacturer(header.get("Manufacturer", "")) and (is_document or is_crop)


def _kind(header: Mapping[str, str], rules: ScopeRules) -> Failure | None:
    sop_class_uid = header.get("SOPClassUID", "").strip()
    modality = header.get("Modality", "").strip().upper()
    is_radiograph = modality in rules.modalities
    refused = Failure(code=NOT_A_RADIOGRAPH, message=f"not a radiograph (modality {modality or 'not stated'})")
    if sop_class_uid in _RADIOGRAPH_CLASSES:
        return None if is_radiograph or modality in _MODALITY_NOT_STATED else refused
    if sop_class_uid in _SECONDARY_CAPTURE_CLASSES:
        # A screenshot of a chest CT names the chest too, but says that it is CT.
        may_be_film = modality in _MODALITY_NOT_STATED and _says_chest(_texts(header, *_IMAGE_TEXTS), rules)
        return None if rules.accept_secondary_capture and (is_radiograph or may_be_film) else refused
    if sop_class_uid == _FOR_PROCESSING_CLASS:
        return Failure(code=FOR_PROCESSING, message="raw image for processing, not meant for reading")
    if "Rows" not in header:
        return Failure(code=NOT_AN_IMAGE, message=f"not an image (modality {modality or 'not stated'})")
    return refused


def _intent(header: Mapping[str, str]) -> Failure | None:
    if plain(header.get("PresentationIntentType", "")) != "FOR PROCESSING":
        return None
    return Failure(code=FOR_PROCESSING, message="raw image for processing by its Presentation Intent Type")


def _derived(header: Mapping[str, str]) -> Failure | None:
    """Copies that show something else than the film did: a film that is merely derived, as an export is, passes."""
    words = _texts(header, *_DERIVED_TEXTS)
    kinds = header.get("ImageType", "").upper().split("\\")
    is_derived = kinds[0].strip() == "DERIVED"
    is_color = "MONOCHROME" not in header.get("PhotometricInterpretation", "MONOCHROME").upper()
    is_drawn = is_color and is_derived and header.get("SOPClassUID", "").strip() in _SECONDARY_CAPTURE_CLASSES
    made = _NO_FILM.get(header.get("ConversionType", "").strip().upper())
    if made:
        return Failure(
            code=DERIVED, message=f"{made} by its Conversion Type, not an original film: only these are scored"
        )
    named = _DERIVED_WORDS.search(words) or (is_derived and _TISSUE.search(f"{words} | {' | '.join(kinds[2:])}"))
    if not named and not is_drawn:
        return None
    what = named.group().lower() if named else "a color copy"
    return Failure(code=DERIVED, message=f"derived image ({what}), not an original film: only originals are scored")


def _body_part(header: Mapping[str, str], rules: ScopeRules) -> Failure | None:
    # What is said of the image outweighs what is said of the study, which may cover several parts.
    body_part = plain(header.get("BodyPartExamined", ""))
    image, study = _texts(header, *_IMAGE_TEXTS), _texts(header, *_STUDY_TEXTS)
    if _says_chest(image, rules):
        return None
    is_chest_study = _says_chest(study, rules) and not OTHER.search(study)
    if body_part not in _NOT_STATED and not is_chest_study and not NEAR_CHEST.search(body_part):
        return Failure(code=NOT_CHEST, message=f"body part is {body_part.lower()}, not chest")
    if body_part not in _NOT_STATED and not OTHER.search(_texts(header, *_IMAGE_TEXTS[1:])):
        return None  # a device's menu is often left at its default: the gates see what the film shows
    if not OTHER.search(image) and (_says_chest(study, rules) or not OTHER.search(study)):
        return None
    named = OTHER.search(image) or OTHER.search(study)
    part = named.group().lower() if named else "another part"
    return Failure(code=NOT_CHEST, message=f"described as {part}, not chest")


def _view(header: Mapping[str, str]) -> Failure | None:
    refused = Failure(code=LATERAL_VIEW, message="lateral, oblique or decubitus view: only frontal films are scored")
    view = plain(header.get("ViewPosition", ""))
    if FRONTAL.search(view):
        return None
    if NOT_FRONTAL.search(view):
        return refused
    rows_run_to = header.get("PatientOrientation", "").split("\\")[0].strip().upper()
    if rows_run_to[:1] in {"A", "P"}:
        return refused
    words = LYING.sub(" ", _texts(header, *_VIEW_TEXTS))
    return refused if NOT_FRONTAL.search(words) and not FRONTAL.search(words) else None


def _child(header: Mapping[str, str]) -> Failure | None:
    stated, by_dates = _stated_age(header), age_by_dates(header)
    ages = [age for age in (stated, by_dates) if age is not None]
    if ages and max(ages) < _ADULT_YEARS:
        return Failure(code=CHILD, message=f"patient is under {_ADULT_YEARS}: only films of adults are scored")
    # Where the two disagree one of them is wrong, and an adult's film is not to be lost for that; but a word may tell.
    described = OF_A_CHILD.search(_texts(header, *_IMAGE_TEXTS, *_STUDY_TEXTS))
    if described and (not ages or min(ages) < _ADULT_YEARS):
        told = f"described as a child's film ({described.group().lower()})"
        return Failure(code=CHILD, message=f"{told}, and no age says otherwise: only films of adults are scored")
    return None


def states_age(header: Mapping[str, str]) -> bool:
    """Whether a header says how old the patient is, so that nothing need be guessed from the film."""
    return _stated_age(header) is not None or age_by_dates(header) is not None


def contradictory_ages(header: Mapping[str, str]) -> str | None:
    """What to tell of a film that was taken for an adult's though one of its ages is a child's; None for any other."""
    stated, by_dates = _stated_age(header), age_by_dates(header)
    if stated is None or by_dates is None or (stated < _ADULT_YEARS) == (by_dates < _ADULT_YEARS):
        return None
    return (
        f"Patient's Age says {header['PatientAge'].strip()}, birth and study date make {by_dates} years: one is wrong, "
        "and the film was taken for an adult's."
    )


def _stated_age(header: Mapping[str, str]) -> float | None:
    """Patient's Age (0010,1010) in years; None also for 000Y and its like, which stand for an unknown age."""
    stated = _AGE.fullmatch(header.get("PatientAge", "").strip().upper())
    return int(stated[1]) / _PER_YEAR[stated[2]] or None if stated else None


def age_by_dates(header: Mapping[str, str]) -> int | None:
    """Whole years from birth to the study, or to the image where the study has no date; None for a birth after it."""
    born = _date(header.get("PatientBirthDate", ""))
    taken = [_date(header.get(keyword, "")) for keyword in _DATES]
    known = [day for day in taken if day]
    if born is None or not known or born >= known[0]:
        return None
    return known[0].year - born.year - ((known[0].month, known[0].day) < (born.month, born.day))


def _date(text: str) -> date | None:
    """A DA value (PS3.5 section 6.2), also with the dots of ACR-NEMA."""
    try:
        return date.fromisoformat(text.strip().replace(".", ""))
    except ValueError:
        return None


def _says_chest(words: str, rules: ScopeRules) -> bool:
    if CHEST.search(words) or any(plain(word) in words for word in rules.chest_words if plain(word)):
        return True
    return bool(CHEST_ADJECTIVE.search(words)) and not SPINE.search(words)


def _texts(header: Mapping[str, str], *keywords: str) -> str:
    return " | ".join(plain(header.get(keyword, "")) for keyword in keywords)
