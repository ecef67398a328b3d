"""What no validator checks: identity, honesty and geometry of the objects, and odd sources."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import UID, Comprehensive3DSRStorage, ComputedRadiographyImageStorage, EnhancedSRStorage

from dicom_sr.build import InstanceReference, Results, Revision, build_failure_report, build_results
from dicom_sr.parse import parse
from dicom_sr.uids import derive_uid
from worklist.errors import PermanentError
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference, QualityNote, Region, Side
from worklist.urgency import Urgency

ROWS, COLUMNS = 1200, 1000
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SCORER = Algorithm(name="embedded", version="1.0.0", sha256="ab" * 32, device_uid="2.25.7")
EXPLAINER = Algorithm(name="template", version="2.0", sha256="", device_uid="2.25.8")
PNEUMOTHORAX = Finding(
    type=FindingType.PNEUMOTHORAX,
    probability=0.93,
    threshold=0.5,
    side=Side.RIGHT,
    region=Region(x=100, y=200, width=300, height=400),
)
EFFUSION = Finding(
    type=FindingType.PLEURAL_EFFUSION,
    probability=0.71,
    threshold=0.5,
    side=Side.LEFT,
    region=Region(x=600, y=800, width=400, height=400),
)
CARDIOMEGALY = Finding(
    type=FindingType.CARDIOMEGALY,
    probability=0.6,
    threshold=0.5,
    region=Region(x=300, y=500, width=500, height=300),
)
EDEMA = Finding(type=FindingType.PULMONARY_EDEMA, probability=0.12, threshold=0.5)


def film(**attributes: Any) -> Dataset:  # noqa: ANN401 - DICOM attributes of any kind
    """A film as the PACS describes it."""
    dataset = Dataset()
    defaults = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": "1.2.3.4.5",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
        "StudyDate": "20261122",
        "StudyTime": "060000",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyDescription": "Chest PA",
        "ReferringPhysicianName": "Roe^Richard",
        "BodyPartExamined": "CHEST",
        "PatientOrientation": ["L", "F"],
        "Rows": ROWS,
        "Columns": COLUMNS,
    }
    for keyword, value in {**defaults, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def analysis(*findings: Finding, score: float = 0.95, **changes: Any) -> Analysis:  # noqa: ANN401 - any field
    """An explained Analysis of that film."""
    image = ImageReference(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        sop_class_uid=ComputedRadiographyImageStorage,
        sop_instance_uid="1.2.3.4.5",
        rows=ROWS,
        columns=COLUMNS,
    )
    plain = Analysis(
        image=image,
        scorer=SCORER,
        findings=findings,
        score=score,
        threshold=0.3,
        completed_at=NOON,
        elapsed_ms=12.0,
    )
    explained = plain.explained("The lung edge is displaced.", explainer=EXPLAINER, prompt_version="t2")
    return dataclasses.replace(explained, **changes)


def revision(number: int = 1, predecessor: tuple[InstanceReference, ...] = ()) -> Revision:
    """A run at noon."""
    return Revision(
        number=number,
        predecessor=predecessor,
        fetched_at=NOON,
        scored_at=NOON + timedelta(milliseconds=300),
        reported_at=NOON + timedelta(seconds=5),
    )


def build(
    found: Analysis | None = None,
    *,
    source: Dataset | None = None,
    pixels: npt.NDArray[np.uint8] | None = None,
    run: Revision | None = None,
) -> Results:
    """The objects of three located findings and one below its threshold, unless told otherwise."""
    return build_results(
        found or analysis(PNEUMOTHORAX, EFFUSION, CARDIOMEGALY, EDEMA),
        urgency=Urgency.CRITICAL,
        source=film() if source is None else source,
        pixels=np.full((ROWS, COLUMNS), 128, np.uint8) if pixels is None else pixels,
        revision=run or revision(),
    )


def encoded(dataset: Dataset) -> bytes:
    """The bytes that are stored."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def stored(dataset: Dataset) -> Dataset:
    """The object as another program reads it."""
    return pydicom.dcmread(io.BytesIO(encoded(dataset)))


def stored_film(dataset: Dataset) -> Dataset:
    """The film's attributes as read from a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue()), force=True)


def tree(item: Dataset) -> Iterator[Dataset]:
    """Every content item below an item."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from tree(child)


def meaning(item: Dataset) -> str:
    """The name of a content item."""
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def sentences(report: Dataset) -> list[str]:
    """The texts of a report in reading order."""
    return [str(item.TextValue) for item in tree(report) if item.ValueType == "TEXT"]


def groups(report: Dataset | None) -> list[Dataset]:
    """The measurement groups of the findings report."""
    assert report is not None
    return [item for item in tree(report) if meaning(item) == "Measurement Group"]


def raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> Dataset:
    """The data set with an element as it came off the wire."""
    tag = Tag(keyword)
    dataset.__setitem__(tag, RawDataElement(tag, vr, len(value), value, 0, False, True))  # noqa: FBT003
    return dataset


# --- identity -------------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes() -> None:
    """Doing the work twice writes the same objects once."""
    assert [encoded(item) for item in build().objects] == [encoded(item) for item in build().objects]


def overview(results: Results) -> Dataset:
    """The whole film with all boxes."""
    assert results.overview is not None
    return results.overview


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
    ],
    ids=["revision", "weights", "explainer", "prompt"],
)
def test_other_origins_give_other_uids(other: Results) -> None:
    """A new revision, other weights, another explainer or prompt never overwrite earlier results."""
    uids = {uid for item in build().objects for uid in (item.SOPInstanceUID, item.SeriesInstanceUID)}
    assert uids.isdisjoint(uid for item in other.objects for uid in (item.SOPInstanceUID, item.SeriesInstanceUID))


def test_a_failure_and_a_result_of_one_revision_differ() -> None:
    """A failure report never overwrites a result."""
    failure = build_failure_report(source=film(), code="x", message="y", revision=revision(), scorer=SCORER)
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
    """Where the film's offset is none, the times are told in the zone of the run."""
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
    """A character set that nobody knows gives UTF-8 objects instead of a failure."""
    with pytest.warns(UserWarning, match="Unknown encoding"):
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
        build_failure_report(source=film(StudyInstanceUID=None), code="x", message="y", revision=revision())
    assert caught.value.code == "unidentified_source"


def test_results_never_go_to_another_film() -> None:
    """An Analysis of one film with the attributes of another is refused."""
    with pytest.raises(PermanentError) as caught:
        build(source=film(SOPInstanceUID="1.2.3.4.6"))
    assert caught.value.code == "wrong_source"


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
    report = build_failure_report(source=source, code="unreadable", message="No size.", revision=revision())
    assert parse(report.triage_report).source.rows == 0


def test_a_revision_needs_a_number_and_zones() -> None:
    """Revisions count from 1 and their times are unambiguous."""
    with pytest.raises(ValueError, match="count from 1"):
        revision(0)
    with pytest.raises(ValueError, match="time zone"):
        dataclasses.replace(revision(), scored_at=datetime(2026, 11, 22))  # noqa: DTZ001 - the point


# --- honesty ---------------------------------------------------------------------------------------------------------


def test_every_object_says_what_it_is() -> None:
    """Objects are marked for research, name their maker and, as IHE AIR wants, the device of each algorithm."""
    for item in build().objects:
        assert item.ContentQualification == "RESEARCH"
        assert (item.Manufacturer, item.ManufacturerModelName) == ("Firstread", "Firstread")
        assert item.SoftwareVersions
        assert item.DeviceSerialNumber == SCORER.device_uid
        assert "not a diagnosis" in item.SeriesDescription
        scored_by, explained_by = item.ContributingEquipmentSequence
        assert scored_by.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (scored_by.Manufacturer, scored_by.ManufacturerModelName) == ("Firstread", "embedded")
        assert (scored_by.SoftwareVersions, scored_by.DeviceUID) == ("1.0.0", "2.25.7")
        assert SCORER.sha256 in scored_by.ContributionDescription
        assert explained_by.DeviceUID == EXPLAINER.device_uid


def test_reports_are_unverified_and_preliminary() -> None:
    """No SR passes for a finished reading."""
    for item in build().objects[-2:]:
        assert (item.VerificationFlag, item.PreliminaryFlag, item.CompletionFlag) == (
            "UNVERIFIED",
            "PRELIMINARY",
            "COMPLETE",
        )


def test_the_observer_matches_the_contributing_equipment() -> None:
    """Device observer and algorithm in both SRs are the ones of the equipment item (IHE AIR 6.5.3.1)."""
    for report in build().objects[-2:]:
        values = {
            meaning(item): item.get("TextValue") or item.get("UID")
            for item in tree(report)
            if item.ValueType in {"TEXT", "UIDREF"} and item.RelationshipType == "HAS OBS CONTEXT"
        }
        assert values["Device Observer UID"] == SCORER.device_uid
        assert values["Device Observer Manufacturer"] == "Firstread"
        assert values["Device Observer Model Name"] == SCORER.name
        versions = {str(item.TextValue) for item in tree(report) if meaning(item) == "Algorithm Version"}
        assert SCORER.version in versions


def test_urgency_and_the_sentence_come_first() -> None:
    """A reader in a hurry sees the class, then one sentence, then one line for each finding."""
    report = build().triage_report
    summary, findings = [item for item in report.ContentSequence if item.ValueType == "CONTAINER"][:2]
    priority, impression = summary.ContentSequence
    assert priority.ConceptCodeSequence[0].CodeValue == "RID49480"
    assert impression.TextValue == (
        "CRITICAL, read first. AI suspects right pneumothorax, left pleural effusion and cardiomegaly. Probability of "
        "any urgent finding 95.0 % (the model's threshold is 30.0 %). Not a diagnosis."
    )
    assert [item.TextValue for item in findings.ContentSequence] == [
        "Pneumothorax, right: 93.0 % (threshold 50.0 %).",
        "Pleural effusion, left: 71.0 % (threshold 50.0 %).",
        "Cardiomegaly: 60.0 % (threshold 50.0 %).",
        "Below threshold, not excluded: pulmonary edema 12.0 %.",
    ]


def test_nothing_found_is_never_called_normal() -> None:
    """Without findings the report says what was looked for, that it is not excluded, and never "normal"."""
    found = analysis(
        dataclasses.replace(EDEMA, probability=0.4),
        Finding(type=FindingType.PNEUMOTHORAX, probability=0.02, threshold=0.5),
        score=0.1,
    )
    report = build(found).triage_report
    said = "\n".join(sentences(report))
    assert "no finding reaches its threshold" in said
    assert "Below threshold, not excluded: pulmonary edema 40.0 % and pneumothorax 2.0 %." in said
    assert "normal" not in said.lower()
    statuses = [item for item in tree(report) if meaning(item) == "CAD Processing and Findings Summary"]
    assert [item.ConceptCodeSequence[0].CodeValue for item in statuses] == ["111241"]
    assert not [item for item in tree(report) if meaning(item) == "Finding"]


def test_a_list_of_names_says_what_it_lists() -> None:
    """Where a viewer drops numbers and names of items, a sentence before each bare list keeps it from misleading."""

    def first_of(report: Dataset, heading: str) -> str:
        (found,) = (item for item in report.ContentSequence if meaning(item) == heading)
        return str(found.ContentSequence[0].TextValue)

    failure = build_failure_report(
        source=film(), code="failed", message="No.", revision=revision(), looked_for=(FindingType.PNEUMONIA,)
    )
    assert first_of(build().triage_report, "Numbers behind the findings").startswith("Everything that was looked for")
    assert first_of(failure.triage_report, "Numbers behind the findings") == "None of these was looked for:"


def test_a_failure_says_so_first() -> None:
    """A failed study is reported as not assessed, with its reason, and without an urgency."""
    report = build_failure_report(
        source=film(),
        code="not_frontal",
        message="This is a lateral film.",
        revision=revision(),
        scorer=SCORER,
        looked_for=(FindingType.PNEUMOTHORAX,),
    ).triage_report
    said = sentences(report)
    spoken = [text for text in said if text not in {"Firstread", "embedded"}]
    assert spoken[0].startswith("NOT ASSESSED by AI.")
    assert spoken[1:3] == ["This is a lateral film.", "Not looked for because of this: pneumothorax."]
    assert "Priority" not in {meaning(item) for item in tree(report)}
    statuses = [item for item in tree(report) if meaning(item) == "CAD Processing and Findings Summary"]
    assert [item.ConceptCodeSequence[0].CodeValue for item in statuses] == ["111245"]


def test_a_probability_just_below_its_threshold_never_shows_as_reaching_it() -> None:
    """Percentages are cut, not rounded, so 0.49999 reads 49.9 % beside a threshold of 50 %, and 0.9999 never 100 %."""
    found = analysis(dataclasses.replace(EDEMA, probability=0.49999), score=0.99999)
    said = "\n".join(sentences(build(found).triage_report))
    assert "pulmonary edema 49.9 %" in said
    assert "any urgent finding 99.9 %" in said


# --- findings --------------------------------------------------------------------------------------------------------


def test_no_box_no_findings_report() -> None:
    """Without a located positive finding there is no findings report; a box below threshold is none."""
    below = dataclasses.replace(PNEUMOTHORAX, probability=0.2)
    assert build(analysis(dataclasses.replace(CARDIOMEGALY, region=None), below)).findings_report is None


def test_boxes_are_closed_and_inside_the_film() -> None:
    """Each outline has five points, ends where it began, stays on the film and is the finding's box."""
    for group, finding in zip(groups(build().findings_report), (PNEUMOTHORAX, EFFUSION, CARDIOMEGALY), strict=True):
        (outline,) = (item for item in group.ContentSequence if item.ValueType == "SCOORD")
        points = np.array(outline.GraphicData).reshape(-1, 2)
        assert outline.GraphicType == "POLYLINE"
        assert meaning(outline) == "Image Region"
        assert len(points) == 5
        assert (points[0] == points[-1]).all()
        assert points.min() >= 0
        assert points[:, 0].max() <= COLUMNS
        assert points[:, 1].max() <= ROWS
        box = finding.region
        assert box is not None
        assert points.min(axis=0).tolist() == [box.x, box.y]
        assert np.ptp(points, axis=0).tolist() == [box.width, box.height]
        (image,) = outline.ContentSequence
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_findings_load_in_ohif() -> None:
    """What OHIF 3 is known to stumble over is absent: NUM, groups without a box, shared tracking UIDs, other titles."""
    report = build().findings_report
    assert report is not None
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.ConceptNameCodeSequence[0].CodeValue == codes.DCM.ImagingMeasurementReport.value
    found = groups(report)
    assert not [item for item in tree(report) if item.ValueType == "NUM"]
    assert {group.ContentTemplateSequence[0].TemplateIdentifier for group in found} == {"1410"}
    tracking = [item.UID for item in tree(report) if meaning(item) == "Tracking Unique Identifier"]
    assert len(set(tracking)) == len(found) == 3
    findings = [item for group in found for item in group.ContentSequence if meaning(item) == "Finding"]
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in findings] == [
        "Pneumothorax",
        "Pleural effusion",
        "Cardiomegaly",
    ]


def test_sides_are_stated_where_a_lung_has_them() -> None:
    """A sided finding of the lung names the lung and the patient's side; the heart has none."""
    sides = [
        [
            site.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning
            for site in group.ContentSequence
            if meaning(site) == "Finding Site"
        ]
        for group in groups(build().findings_report)
    ]
    assert sides == [["Right"], ["Left"], []]


# --- crops -----------------------------------------------------------------------------------------------------------


def test_crops_show_the_most_probable_boxes() -> None:
    """At most three crops, the most probable finding first."""
    pneumonia = Finding(
        type=FindingType.PNEUMONIA, probability=0.99, threshold=0.5, region=Region(x=0, y=0, width=50, height=60)
    )
    crops = build(analysis(CARDIOMEGALY, EFFUSION, PNEUMOTHORAX, pneumonia)).crops
    assert [item.InstanceNumber for item in crops] == [1, 2, 3]
    assert crops[0].DerivationDescription.startswith("Columns 0 to ")
    assert len({item.PixelData for item in crops}) == 3


def test_a_crop_is_derived_evidence_of_the_film() -> None:
    """A crop or overview says DERIVED, names film and report, and carries how the patient lies in it."""
    results = build()
    for crop in (*results.crops, overview(results)):
        assert crop.ImageType == ["DERIVED", "SECONDARY"]
        assert (crop.Modality, crop.ConversionType, crop.BurnedInAnnotation) == ("OT", "WSD", "NO")
        assert crop.PatientOrientation == ["L", "F"]
        assert crop.BodyPartExamined == "CHEST"
        (source,) = crop.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == "1.2.3.4.5"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        (report,) = crop.ReferencedInstanceSequence
        assert report.ReferencedSOPInstanceUID == results.triage_report.SOPInstanceUID
        assert report.PurposeOfReferenceCodeSequence[0].CodeValue == "128225"
        assert "FrameOfReferenceUID" not in crop


def test_a_crop_shows_the_right_place_the_right_way_round() -> None:
    """Bright quarters of the box lie in the same quarters of the drawn box, and the box has the announced place."""
    pixels = np.full((ROWS, COLUMNS), 20, np.uint8)
    pixels[200:400, 100:250] = 220  # the upper left quarter of the pneumothorax's box
    crop = build(analysis(PNEUMOTHORAX), pixels=pixels).crops[0]
    picture = stored(crop).pixel_array
    orange = (picture == (230, 159, 0)).all(axis=2)
    strip = picture.shape[0] - 57
    rows, columns = np.nonzero(orange[:strip])
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    inside = picture[top + 4 : bottom - 3, left + 4 : right - 3, 0].astype(int)
    middle_row, middle_column = inside.shape[0] // 2, inside.shape[1] // 2
    assert inside[: middle_row - 4, : middle_column - 4].min() > 200
    assert inside[middle_row + 4 :].max() < 40
    assert inside[:, middle_column + 4 :].max() < 40
    height, width = bottom - top + 1 - 4, right - left + 1 - 4
    assert width / height == pytest.approx(300 / 400, abs=0.01)


def test_the_caption_fits_and_stands_below_the_picture() -> None:
    """The strip has white words, ends in black, and leaves the film above it alone."""
    tall = dataclasses.replace(CARDIOMEGALY, region=Region(x=500, y=0, width=2, height=1200))
    dark = np.zeros((ROWS, COLUMNS), np.uint8)
    many = [
        Finding(type=kind, probability=0.999, threshold=0.5, side=Side.RIGHT)
        for kind in (FindingType.PLEURAL_EFFUSION, *FindingType)
    ]
    for found in (analysis(tall), analysis(EDEMA), analysis(PNEUMOTHORAX), analysis(*many)):
        picture = build(found, pixels=dark).crops[0].pixel_array
        strip = picture[-57:]
        assert (strip == 255).all(axis=2).any()
        assert not strip[:, -8:].any()
        assert not (picture[:-57] == 255).any()


def test_a_film_without_boxes_is_shown_whole_and_small() -> None:
    """One crop of at most 768 pixels stands for the film, also where a positive finding has no box."""
    unlocated = dataclasses.replace(PNEUMOTHORAX, region=None)
    for found in (analysis(EDEMA), analysis(unlocated, EDEMA)):
        results = build(found)
        (crop,) = results.crops
        assert crop.Rows - 57 == 768
        assert crop.Columns == round(768 * COLUMNS / ROWS)
        assert "Columns 0 to 999 and rows 0 to 1199" in crop.DerivationDescription
        assert results.overview is None, "it would be the same picture"


def test_the_overview_shows_every_box_on_the_whole_film() -> None:
    """The last of the crops' series is the film at 768 pixels with all boxes where they lie, and a line for each."""
    pneumonia = Finding(
        type=FindingType.PNEUMONIA, probability=0.99, threshold=0.5, region=Region(x=500, y=900, width=50, height=60)
    )
    found = analysis(CARDIOMEGALY, EFFUSION, PNEUMOTHORAX, pneumonia)
    results = build(found, pixels=np.full((ROWS, COLUMNS), 90, np.uint8))
    picture = overview(results)
    assert picture.SeriesInstanceUID == results.crops[0].SeriesInstanceUID
    assert picture.InstanceNumber == 4, "three crops come before it"
    assert (picture.Rows, picture.Columns) == (768 + 4 * 26 + 31, 640)
    assert "Columns 0 to 999 and rows 0 to 1199" in picture.DerivationDescription
    assert picture.DerivationDescription.endswith("with boxes and a caption drawn by AI")
    orange = (picture.pixel_array[:768] == (230, 159, 0)).all(axis=2)
    for box in (finding.region for finding in found.findings if finding.region):
        left, right, top, bottom = (
            round(0.64 * edge) for edge in (box.x, box.x + box.width, box.y, box.y + box.height)
        )
        inner = slice(left + 10, right - 10)
        for edge in (top, bottom):  # drawn just outside the box; other boxes and their numbers may cross it
            assert edge + 3 > 768 or orange[edge - 3 : edge + 3, inner].any(axis=0).mean() > 0.8, box
        assert right + 3 > 640 or orange[top + 10 : bottom - 10, right - 3 : right + 3].any(axis=1).mean() > 0.8, box


def test_boxes_at_one_place_keep_their_numbers_apart() -> None:
    """Two findings with the same box are numbered one below the other, and a single box needs no number."""
    twin = dataclasses.replace(PNEUMOTHORAX, type=FindingType.PNEUMONIA, probability=0.9)
    dark = np.full((ROWS, COLUMNS), 90, np.uint8)
    one, two = (overview(build(found, pixels=dark)) for found in (analysis(PNEUMOTHORAX), analysis(PNEUMOTHORAX, twin)))
    black = [(picture.pixel_array[:768] == 0).all(axis=2).sum() for picture in (one, two)]
    assert black[1] - black[0] > 2 * 150, "two numbers on black ground"


def test_pixel_spacing_follows_the_scale() -> None:
    """A length measured on the whole-film crop is the length on the film."""
    (crop,) = build(analysis(EDEMA), source=film(PixelSpacing=[0.2, 0.2])).crops
    assert crop.PixelSpacing[0] * 768 == pytest.approx(0.2 * ROWS)
    assert "PixelSpacing" not in build(analysis(EDEMA), source=film(PixelSpacing=[0, 0])).crops[0]
    assert build(analysis(EDEMA), source=film(PixelAspectRatio=[4, 3])).crops[0].PixelAspectRatio == [4, 3]
    assert "PixelAspectRatio" not in build(analysis(EDEMA), source=film(PixelAspectRatio="1")).crops[0]


def test_lossy_once_is_lossy_for_ever() -> None:
    """A crop of a lossy film carries flag, ratio and method; of a lossless one nothing."""
    lossy = film(
        LossyImageCompression="01",
        LossyImageCompressionRatio=["12.5", "3"],
        LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"],
    )
    for crop in build(source=lossy).crops:
        assert crop.LossyImageCompression == "01"
        assert crop.LossyImageCompressionRatio == [12.5, 3]
        assert crop.LossyImageCompressionMethod == ["ISO_10918_1", "ISO_15444_1"]
    assert not any("LossyImageCompression" in crop for crop in build(source=film(LossyImageCompression="00")).crops)


def test_burned_in_data_of_the_film_are_declared() -> None:
    """A crop of a film that has patient data in its pixels does not claim to be free of them."""
    assert build(source=film(BurnedInAnnotation="YES")).crops[0].BurnedInAnnotation == "YES"


def test_no_patient_data_is_drawn() -> None:
    """The drawn words are the same for two patients, so they cannot hold the patient's data."""
    other = film(PatientName="Roe^Rick", PatientID="P2", PatientBirthDate="19700202", AccessionNumber="A2")
    drawn = [
        [item.PixelData for item in build(source=source).objects if item.Modality == "OT"] for source in (film(), other)
    ]
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1]


def test_reading_a_report_back_needs_no_builder() -> None:
    """Parsing does not import highdicom, so the gateway can read reports."""
    script = "import sys, dicom_sr.parse; print('highdicom' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
