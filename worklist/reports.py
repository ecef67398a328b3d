"""Which documents in the PACS are a radiologist's own report, by which a study is known to be read.

A verified report is one by itself. Where a hospital's reports are never verified in DICOM, it names their titles. What
is partial or preliminary says that somebody is still at it, and completes nothing; neither does a measurement, dose or
CAD document, whoever verified it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worklist.person_name import person_name
from worklist.reading import Actor, ActorSource

NAMELESS = "a report in the PACS"

_STRUCTURED_REPORTS = {
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR Storage
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR Storage
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR Storage
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR Storage
    "1.2.840.10008.5.1.4.1.1.88.35",  # Extensible SR Storage
}
_ENCAPSULATED_DOCUMENTS = {
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF Storage
    "1.2.840.10008.5.1.4.1.1.104.2",  # Encapsulated CDA Storage
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentHeader:
    """What a document says of itself, as text; empty where it says nothing.

    Attributes:
        sop_class_uid: SOP Class UID (0008,0016).
        verification: Verification Flag (0040,A493): VERIFIED or UNVERIFIED.
        completion: Completion Flag (0040,A491): COMPLETE or PARTIAL.
        preliminary: Preliminary Flag (0040,A496): FINAL or PRELIMINARY.
        titles: Document Title (0042,0010), and code value and meaning of the Concept Name Code Sequence (0040,A043).
        verifying_observer: Verifying Observer Name (0040,A075) of the first who verified it.
    """

    sop_class_uid: str
    verification: str = ""
    completion: str = ""
    preliminary: str = ""
    titles: tuple[str, ...] = ()
    verifying_observer: str = ""


def is_document(header: Mapping[str, str]) -> bool:
    """Whether an object is of a kind that can hold a radiologist's report.

    Args:
        header: attribute values by DICOM keyword, as text; absent ones may be missing.
    """
    return header.get("SOPClassUID", "").strip() in _STRUCTURED_REPORTS | _ENCAPSULATED_DOCUMENTS


def radiologist_of(document: DocumentHeader, report_titles: frozenset[str]) -> Actor | None:
    """Who has read the study, as a document tells; None where it is no radiologist's report.

    Args:
        document: what it says of itself. That Firstread did not write it is the caller's to know.
        report_titles: titles, code values or code meanings of the site's own reports; case and spacing do not matter.
    """
    is_structured = document.sop_class_uid in _STRUCTURED_REPORTS
    if not is_structured and document.sop_class_uid not in _ENCAPSULATED_DOCUMENTS:
        return None
    if _plain(document.completion) == "partial" or _plain(document.preliminary) == "preliminary":
        return None
    is_verified = is_structured and _plain(document.verification) == "verified"
    is_titled = not {_plain(title) for title in document.titles if _plain(title)}.isdisjoint(map(_plain, report_titles))
    if not is_verified and not is_titled:
        return None
    stated = document.verifying_observer
    return Actor(name=person_name(stated)[0] if stated.strip("^= ") else NAMELESS, source=ActorSource.REPORT)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
