"""Which documents complete a reading, and whose name they give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worklist.reading import Actor, ActorSource
from worklist.reports import NAMELESS, DocumentHeader, is_document, radiologist_of

BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"
COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
DOSE = "1.2.840.10008.5.1.4.1.1.88.67"
CHEST_CAD = "1.2.840.10008.5.1.4.1.1.88.65"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
FILM = "1.2.840.10008.5.1.4.1.1.1.1"

VERIFIED = DocumentHeader(
    sop_class_uid=BASIC_TEXT,
    verification="VERIFIED",
    completion="COMPLETE",
    titles=("", "18748-4", "Diagnostic imaging report"),
    verifying_observer="Nowak^Anna",
)
TITLED = DocumentHeader(sop_class_uid=PDF, titles=("Radiology  Report", "", ""))
TITLES = frozenset({"radiology report"})


def test_a_verified_report_names_who_verified_it() -> None:
    """A structured report with Verification Flag VERIFIED is a reading, by its Verifying Observer."""
    assert radiologist_of(VERIFIED, frozenset()) == Actor(name="Nowak, Anna", source=ActorSource.REPORT)
    assert radiologist_of(replace(VERIFIED, verification="UNVERIFIED"), frozenset()) is None
    assert radiologist_of(replace(VERIFIED, verification=""), frozenset()) is None


@pytest.mark.parametrize("nobody", ["", "  ", "^^", "^=^"])
def test_a_report_without_a_name_is_a_reading_all_the_same(nobody: str) -> None:
    """Where no observer is named, the actor says that it was a report."""
    actor = radiologist_of(replace(VERIFIED, verifying_observer=nobody), frozenset())
    assert actor == Actor(name=NAMELESS, source=ActorSource.REPORT)


@pytest.mark.parametrize("title", ["Radiology Report", " RADIOLOGY  report ", "radiology report"])
def test_a_title_of_the_site_counts_whatever_its_case_and_spacing(title: str) -> None:
    """An encapsulated document under a title that the site names is a reading, under any other it is none."""
    assert radiologist_of(TITLED, frozenset({title})) == Actor(name=NAMELESS, source=ActorSource.REPORT)
    assert radiologist_of(TITLED, frozenset()) is None
    assert radiologist_of(TITLED, frozenset({"report"})) is None


@pytest.mark.parametrize("title", ["18748-4", "diagnostic imaging report"])
def test_a_code_or_its_meaning_is_a_title(title: str) -> None:
    """An unverified structured report counts where the site names its concept's value or meaning."""
    unverified = replace(VERIFIED, verification="UNVERIFIED")
    assert radiologist_of(unverified, frozenset({title})) is not None


def test_an_empty_title_is_no_title() -> None:
    """A document without a title does not match a site that names an empty one."""
    assert radiologist_of(replace(TITLED, titles=("", " ")), frozenset({"", " "})) is None


@pytest.mark.parametrize("sop_class_uid", [DOSE, CHEST_CAD, FILM, ""])
def test_other_objects_are_no_report(sop_class_uid: str) -> None:
    """Neither dose, CAD nor image completes a reading, verified and titled or not."""
    other = replace(VERIFIED, sop_class_uid=sop_class_uid)
    assert radiologist_of(other, frozenset({"18748-4"})) is None
    assert not is_document({"SOPClassUID": sop_class_uid})


@pytest.mark.parametrize("document", [VERIFIED, TITLED])
def test_what_is_unfinished_completes_nothing(document: DocumentHeader) -> None:
    """A partial or preliminary document leaves the study to be read."""
    assert radiologist_of(document, TITLES) is not None
    assert radiologist_of(replace(document, completion="PARTIAL"), TITLES) is None
    assert radiologist_of(replace(document, preliminary="PRELIMINARY"), TITLES) is None


@pytest.mark.parametrize("sop_class_uid", [BASIC_TEXT, COMPREHENSIVE, PDF])
def test_documents_are_told_by_their_class(sop_class_uid: str) -> None:
    """Text reports and encapsulated documents can hold a report; a padded UID is read too."""
    assert is_document({"SOPClassUID": f"{sop_class_uid} "})
    assert not is_document({})
