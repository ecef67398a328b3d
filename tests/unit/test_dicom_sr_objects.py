"""Identity and belonging of the objects that no validator checks, and odd sources."""

from __future__ import annotations

import dataclasses
import io
from datetime import datetime, timedelta

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, EnhancedSRStorage

from dicom_sr.build import Results, build_results
from dicom_sr.parse import parse
from dicom_sr.uids import derive_uid
from tests.sr_films import (
    CARDIOMEGALY,
    COLUMNS,
    EDEMA,
    EFFUSION,
    EXPLAINER,
    NOON,
    PNEUMOTHORAX,
    POLICY,
    ROWS,
    SCORER,
    analysis,
    build,
    build_failure,
    encoded,
    film,
    revision,
    scored,
    second_film,
    sentences,
    stored,
    two_images,
)
from worklist.errors import PermanentError
from worklist.finding import QualityNote, merge
from worklist.triage import SiteChoices, TriagePolicy, assess


def stored_film(dataset: Dataset) -> Dataset:
    """The film's attributes as read from a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue()), force=True)


def raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> Dataset:
    """The data set with an element as it came off the wire."""
    tag = Tag(keyword)
    dataset.__setitem__(tag, RawDataElement(tag, vr, len(value), value, 0, False, True))  # noqa: FBT003
    return dataset


def test_the_same_input_gives_the_same_bytes() -> None:
    """Doing the work twice writes the same objects once."""
    assert [encoded(item) for item in build().objects] == [encoded(item) for item in build().objects]


def test_uids_are_valid_and_all_different() -> None:
    """Every object has its own 2.25 UID; crops and overview share a series, each SR has one of its own."""
    objects = build().objects
    sop_uids = [item.SOPInstanceUID for item in objects]
    series_uids = {item.SeriesInstanceUID for item in objects}
    assert len(set(sop_uids)) == 6
    assert len(series_uids) == 3
    for uid in (*sop_uids, *series_uids):
        assert uid.startswith("2.25.")
        assert UID(uid).is_valid


@pytest.mark.parametrize(
    "other",
    [
        build(run=revision(2)),
        build(analysis(PNEUMOTHORAX, EFFUSION, CARDIOMEGALY, scorer=dataclasses.replace(SCORER, sha256="cd" * 32))),
        build(analysis(PNEUMOTHORAX, EFFUSION, CARDIOMEGALY, explainer=dataclasses.replace(EXPLAINER, version="2.1"))),
        build(analysis(PNEUMOTHORAX, EFFUSION, CARDIOMEGALY, prompt_version="t3")),
        build(analysis(PNEUMOTHORAX, EFFUSION, CARDIOMEGALY, explanation="Other words.")),
        build(policy=TriagePolicy.of(POLICY.card, SiteChoices(steepness=2.0))),
        build(unscored=1),
        build(two_images()[0], sources=two_images()[1]),
    ],
    ids=["revision", "weights", "explainer", "prompt", "words", "policy", "gap", "images"],
)
def test_other_origins_give_other_uids(other: Results) -> None:
    """Whatever the results are made of, another revision, model, policy, image or wording never overwrites them."""
    uids = {uid for item in build().objects for uid in (item.SOPInstanceUID, item.SeriesInstanceUID)}
    assert uids.isdisjoint(uid for item in other.objects for uid in (item.SOPInstanceUID, item.SeriesInstanceUID))


def test_a_failure_and_a_result_of_one_revision_differ() -> None:
    """A failure report never overwrites a result."""
    failure = build_failure()
    assert failure.triage_report.SOPInstanceUID != build().triage_report.SOPInstanceUID


def test_derived_uids_keep_their_parts_apart() -> None:
    """Parts that only look alike when joined give different UIDs, and the derivation never changes."""
    assert derive_uid("ab", "c") != derive_uid("a", "bc")
    assert derive_uid("1.2.3", 1, "triage") == "2.25.291648407953975018801059370412740658846"


def test_the_triage_report_is_stored_last() -> None:
    """A triage report in the PACS means that all that belongs to it is there, too."""
    assert [item.Modality for item in build().objects] == ["OT", "OT", "OT", "OT", "SR", "SR"]
    assert build().objects[-1].SOPClassUID == EnhancedSRStorage


def test_a_revision_names_what_it_replaces() -> None:
    """The triage report names both SRs of the revision before, the findings report only its own kind."""
    first = build()
    second = build(run=revision(2, first.document_references))

    def replaced(report: Dataset | None) -> set[str]:
        assert report is not None
        return {
            study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for study in report.PredecessorDocumentsSequence
        }

    assert first.findings_report is not None
    assert replaced(second.triage_report) == {first.triage_report.SOPInstanceUID, first.findings_report.SOPInstanceUID}
    assert replaced(second.findings_report) == {first.findings_report.SOPInstanceUID}
    assert "PredecessorDocumentsSequence" not in first.triage_report


# --- belonging to the patient and study ------------------------------------------------------------------------------


def test_objects_belong_to_the_patient_study_and_order() -> None:
    """Patient, study and order are the film's; the series are new and come after the film's."""
    request = Dataset()
    request.RequestedProcedureID, request.PlacerOrderNumberImagingServiceRequest = "RP1", "PO1"
    source = film(RequestAttributesSequence=[request], IssuerOfPatientID="HOSPITAL", PatientAge="066Y")
    for item in build(source=source).objects:
        for keyword in [
            "PatientName",
            "PatientID",
            "IssuerOfPatientID",
            "PatientBirthDate",
            "PatientSex",
            "PatientAge",
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
            "StudyDescription",
            "ReferringPhysicianName",
        ]:
            assert item[keyword].value == source[keyword].value, keyword
        assert item.SeriesInstanceUID != source.SeriesInstanceUID
        assert item.SeriesNumber > 9000
        carried = item.get("ReferencedRequestSequence") or item.RequestAttributesSequence
        assert carried[0].RequestedProcedureID == "RP1"
        assert carried[0].PlacerOrderNumberImagingServiceRequest == "PO1"


def test_what_is_absent_stays_empty() -> None:
    """A film without patient or study attributes gives objects that have them empty, as type 2 wants."""
    bare = film(
        PatientName=None,
        PatientID=None,
        PatientBirthDate=None,
        PatientSex=None,
        StudyDate=None,
        StudyTime=None,
        AccessionNumber=None,
        StudyID=None,
        ReferringPhysicianName=None,
        PatientOrientation=None,
        BodyPartExamined=None,
    )
    results = build(source=bare)
    for item in results.objects:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
            assert keyword in item
            assert not item[keyword].value
    assert results.crops[0]["PatientOrientation"].is_empty
    assert results.crops[0].BodyPartExamined == "CHEST"


@pytest.mark.parametrize("example", ["chrH31", "chrH32", "chrGreek", "chrRuss", "chrArab", "chrHbrw", "chrI2", "chrX2"])
def test_names_of_the_world_stay_as_they_are(example: str) -> None:
    """Japanese, Greek, Cyrillic, Arabic, Hebrew, Korean and Chinese names keep their character set and their bytes."""
    origin = pydicom.dcmread(get_charset_files(f"{example}.dcm")[0], stop_before_pixels=True)
    source = film(SpecificCharacterSet=origin.SpecificCharacterSet, PatientName=origin.PatientName)
    for item in build(source=source).objects:
        assert stored(item).SpecificCharacterSet == origin.SpecificCharacterSet
        assert stored(item).PatientName == origin.PatientName
        assert stored(item).PatientName.original_string == origin.PatientName.original_string


@pytest.mark.parametrize("example", ["chrH31", "chrH32", "chrGreek", "chrRuss", "chrArab", "chrI2"])
def test_words_that_do_not_fit_switch_to_utf_8(example: str) -> None:
    """An explanation beyond the film's character set is written in UTF-8, and the name is the same name."""
    origin = pydicom.dcmread(get_charset_files(f"{example}.dcm")[0], stop_before_pixels=True)
    source = film(SpecificCharacterSet=origin.SpecificCharacterSet, PatientName=origin.PatientName)
    words = "Épanchement – ≥ 3 cm, 胸水, плевра, ὑγρόν"
    report = stored(build(analysis(EFFUSION, explanation=words), source=source).triage_report)
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == str(origin.PatientName)
    assert words in sentences(report)


def test_a_name_in_an_undeclared_character_set_is_kept() -> None:
    """Latin-1 bytes without a declared character set, which many films have, become readable UTF-8."""
    source = raw(film(), "PatientName", "PN", "Müller^Jörg ".encode("latin-1"))
    report = stored(build(source=source).triage_report)
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == "Müller^Jörg"


@pytest.mark.parametrize(
    ("offset", "date", "time"), [("+1330", "20261123", "013005.000000"), ("-0430", "20261122", "073005.000000")]
)
def test_times_are_told_by_the_films_clock(offset: str, date: str, time: str) -> None:
    """Content Date and Time are in the offset that the film states for all its dates and times."""
    report = build(source=film(TimezoneOffsetFromUTC=offset)).triage_report
    assert (report.ContentDate, report.ContentTime) == (date, time)
    assert report.TimezoneOffsetFromUTC == offset
    assert parse(report).reported_at == NOON + timedelta(seconds=5)


@pytest.mark.parametrize("offset", ["+9900", "local", ""])
def test_a_meaningless_offset_is_left_out(offset: str) -> None:
    """Where the film's offset is none, the times are in the zone of the run."""
    report = build(source=film(TimezoneOffsetFromUTC=offset)).triage_report
    assert (report.ContentDate, report.ContentTime) == ("20261122", "120005.000000")
    assert "TimezoneOffsetFromUTC" not in report


def test_a_film_described_by_dicom_json_gives_the_same_objects() -> None:
    """Attributes fetched by DICOMweb lead to the same objects as those of the file."""
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    source = film(
        RequestAttributesSequence=[request],
        PatientWeight="71.50",
        PixelSpacing=["0.20", "0.20"],
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
    )
    fetched = Dataset.from_json(source.to_json())
    assert build(source=fetched).objects == build(source=stored_film(source)).objects


def test_simulated_films_give_simulated_results() -> None:
    """Synthetic Data (0008,001C) goes from the film to every object."""
    assert all(item.SyntheticData == "YES" for item in build(source=film(SyntheticData="YES")).objects)
    assert not any("SyntheticData" in item for item in build().objects)


# --- odd sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "carried"),
    [
        ("PatientSex", "CS", b"X ", "X"),
        ("PatientID", "UN", b"P77 ", "P77"),
        ("PatientName", "LO", b"Doe^Jim ", "Doe^Jim"),
        ("StudyDate", "DA", b"2026-11-22", ""),
        ("StudyDate", "LO", b"20261122", "20261122"),
        ("StudyTime", "TM", b"6 o'clock ", ""),
        ("StudyDescription", "LO", b"x" * 65_000, "x" * 64),
        ("StudyDescription", "US", b"\x01\x02", None),
        ("PatientWeight", "DS", b"heavy ", None),
        ("AccessionNumber", "SH", b"A" * 40, "A" * 40),
        ("IssuerOfPatientID", "LO", b"A\x00\x07B", None),
    ],
)
def test_odd_attributes_do_not_stop_a_report(keyword: str, vr: str, value: bytes, carried: str | None) -> None:
    """Identifiers are carried as they are, long descriptions cut, and what breaks its own VR is left out or empty."""
    for item in build(source=raw(film(), keyword, vr, value)).objects:
        element = stored(item).get_item(keyword)
        assert (None if element is None else element.value.decode().strip()) == carried


def test_a_broken_request_sequence_is_left_out() -> None:
    """A sequence that cannot be read, or holds nothing, is no request."""
    source = raw(film(), "RequestAttributesSequence", "SQ", b"\xfe\xff\x00\xe0\xff\x00\x00\x00abcd")
    results = build(source=source)
    assert "ReferencedRequestSequence" not in results.triage_report
    assert "RequestAttributesSequence" not in results.crops[0]


def test_private_attributes_stay_with_the_film() -> None:
    """No private element of the film reaches our objects."""
    source = film()
    source.add_new(0x00091001, "LO", "vendor secret")
    item = Dataset()
    item.RequestedProcedureID = "RP1"
    item.add_new(0x00091001, "LO", "vendor secret")
    source.RequestAttributesSequence = [item]
    assert not any(b"vendor secret" in encoded(built) for built in build(source=source).objects)


def test_an_unknown_character_set_is_replaced() -> None:
    """A character set that nobody knows gives UTF-8 objects instead of a failure, without a word."""
    report = build(source=film(SpecificCharacterSet="BOGUS")).triage_report
    assert report.SpecificCharacterSet == "ISO_IR 192"


def test_an_endless_identifier_is_a_permanent_error() -> None:
    """A Patient ID that no DICOM object can carry is refused by name."""
    with pytest.raises(PermanentError, match="PatientID") as caught:
        build(source=raw(film(), "PatientID", "LO", b"1" * 70_000))
    assert caught.value.code == "oversized_identifier"


def test_a_film_without_identity_is_a_permanent_error() -> None:
    """Without its UIDs a film cannot be answered."""
    with pytest.raises(PermanentError) as caught:
        build_failure(film(StudyInstanceUID=None))
    assert caught.value.code == "unidentified_source"


def test_results_never_go_to_another_film() -> None:
    """An Analysis of one film with the attributes of another, or without those of each film, is refused."""
    both, headers = two_images()
    for wrong in ({"source": film(SOPInstanceUID="1.2.3.4.6")}, {"found": both, "sources": {"1.2.3.4.5": film()}}):
        with pytest.raises(PermanentError) as caught:
            build(**wrong)
        assert caught.value.code == "wrong_source"
    assert build(both, sources=headers).objects


def test_a_triage_by_another_policy_is_refused() -> None:
    """A report never states a policy that its class does not follow from."""
    found, other = analysis(EFFUSION), TriagePolicy.of(POLICY.card, SiteChoices(steepness=2.0))
    with pytest.raises(ValueError, match="policy"):
        build_results(
            found,
            triage=assess(found, other),
            policy=POLICY,
            sources={"1.2.3.4.5": film()},
            pixels=lambda image: np.zeros((image.rows, image.columns), np.uint8),
            revision=revision(),
        )


def test_the_evidence_is_every_image_that_was_scored() -> None:
    """Each SR names all images of the study by their series, also those on which nothing was found."""
    quiet = scored(film(SOPInstanceUID="1.2.3.4.8"), EDEMA, score=0.1)
    found, headers = two_images()
    images = merge([scored(film(), CARDIOMEGALY), scored(second_film(), EDEMA), quiet])
    headers = {**headers, "1.2.3.4.8": film(SOPInstanceUID="1.2.3.4.8", InstanceNumber=2)}
    results = build(dataclasses.replace(found, images=images.images), sources=headers)
    assert results.findings_report is not None
    for report in (results.triage_report, results.findings_report):
        (study,) = report.CurrentRequestedProcedureEvidenceSequence
        listed = {
            series.SeriesInstanceUID: {sop.ReferencedSOPInstanceUID for sop in series.ReferencedSOPSequence}
            for series in study.ReferencedSeriesSequence
        }
        assert listed == {"1.2.3.4": {"1.2.3.4.5", "1.2.3.4.8"}, "1.2.3.6": {"1.2.3.6.7"}}


@pytest.mark.parametrize("shape", [(COLUMNS, ROWS), (ROWS, COLUMNS, 3)])
def test_pixels_must_be_the_films(shape: tuple[int, ...]) -> None:
    """Pixels of another shape would put the evidence in the wrong place."""
    with pytest.raises(ValueError, match="pixels"):
        build(pixels=np.zeros(shape, np.uint8))


@pytest.mark.parametrize("field", ["name", "version", "device_uid", "sha256"])
def test_an_algorithm_must_be_identified(field: str) -> None:
    """No result leaves without the name, version, weights digest and device UID of what made it."""
    with pytest.raises(ValueError, match="algorithm"):
        build(analysis(PNEUMOTHORAX, scorer=dataclasses.replace(SCORER, **{field: ""})))


@pytest.mark.parametrize(("code", "message"), [("Low Contrast", "Flat."), ("low_contrast", " ")])
def test_a_quality_note_must_be_stable_and_speak(code: str, message: str) -> None:
    """A note that could not be read back is refused when it is built."""
    with pytest.raises(ValueError, match="quality note"):
        build(analysis(EDEMA, quality=(QualityNote(code=code, message=message),)))


def test_an_image_of_unknown_size_can_still_fail() -> None:
    """A failure report needs no rows and columns, so an image whose size is broken gets one."""
    source = raw(film(), "Rows", "US", b"\x01")
    report = build_failure(source, code="unreadable", message="No size.")
    assert parse(report.triage_report).source.rows == 0


def test_a_revision_needs_a_number_and_zones() -> None:
    """Revisions count from 1 and their times are unambiguous."""
    with pytest.raises(ValueError, match="count from 1"):
        revision(0)
    with pytest.raises(ValueError, match="time zone"):
        dataclasses.replace(revision(), scored_at=datetime(2026, 11, 22))  # noqa: DTZ001 - the point
