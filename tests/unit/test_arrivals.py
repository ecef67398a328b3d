"""When an image was taken, from headers that nobody vouches for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.arrivals import acquired_at, received_instance
from gateway.intake.orthanc import InstanceFacts
from worklist.records import ReceivedInstance
from worklist.scope import ScopeRules

SEVEN = datetime(2026, 3, 4, 7, 30, 15, tzinfo=UTC)


def taken_in(header: dict[str, str], request: dict[str, str] | None = None) -> ReceivedInstance:
    """An instance with this header, and this first item of its Request Attributes Sequence, as the records see it."""
    facts = InstanceFacts(
        header={"StudyInstanceUID": "1.2", **header},
        orthanc_id="i",
        digest="d",
        study_orthanc_id="o",
        first_items={} if request is None else {"RequestAttributesSequence": request},
    )
    return received_instance(facts, SEVEN, ScopeRules())


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock shows Berlin's time: an hour ahead of UTC in winter, two in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    "header",
    [
        {"AcquisitionDateTime": "20260304083015"},
        {"AcquisitionDateTime": "20260304083015.123456 "},
        {"AcquisitionDateTime": "20260304023015-0500", "AcquisitionDate": "20200101", "AcquisitionTime": "000000"},
        {"AcquisitionDateTime": "20260304163015", "TimezoneOffsetFromUTC": "+0900"},
        {"AcquisitionDate": "20260304", "AcquisitionTime": "083015.5", "StudyDate": "20200101", "StudyTime": "00"},
        {"AcquisitionDate": "2026.03.04", "AcquisitionTime": "08:30:15"},
        {"AcquisitionDate": "20260304", "ContentDate": "20260304", "ContentTime": "083015"},
        {"AcquisitionDateTime": "2026", "StudyDate": "20260304", "StudyTime": "083015"},
        {"AcquisitionDate": "20261304", "AcquisitionTime": "08", "StudyDate": "20260304", "StudyTime": "083015"},
        {"StudyDate": "20260304", "StudyTime": "073015", "TimezoneOffsetFromUTC": "+0000"},
    ],
)
def test_the_moment_of_acquisition(header: dict[str, str]) -> None:
    """Acquisition comes before content and study, a stated offset before this machine's zone."""
    assert acquired_at(header) == SEVEN


@pytest.mark.usefixtures("in_berlin")
def test_summer_time_counts() -> None:
    """A local time of summer is two hours ahead of UTC in Berlin."""
    assert acquired_at({"StudyDate": "20260704", "StudyTime": "0800"}) == datetime(2026, 7, 4, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"AcquisitionDateTime": "20260304"},
        {"StudyDate": "20260304"},
        {"StudyDate": "20260304", "StudyTime": "midnight"},
        {"StudyDate": "20260230", "StudyTime": "0800"},
        {"StudyDate": "00010101", "StudyTime": "000000", "TimezoneOffsetFromUTC": "+0900"},
        {"StudyDate": "99991231", "StudyTime": "235959", "TimezoneOffsetFromUTC": "-0900"},
    ],
)
def test_what_says_no_moment_is_none(header: dict[str, str]) -> None:
    """A date alone, nonsense, and years that no clock can count give no moment, and no error."""
    assert acquired_at(header) is None


@given(st.dictionaries(st.sampled_from(["AcquisitionDateTime", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC"]),
                       st.text("0123456789.:+-\\ ", max_size=27)))  # fmt: skip
def test_no_header_raises(header: dict[str, str]) -> None:
    """Whatever stands there, the answer is a moment in UTC or None."""
    moment = acquired_at(header)
    assert moment is None or moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("stated", "kept"),
    [("20260304", "20260304"), ("2026.03.04", "20260304"), ("04/03/2026", ""), ("20261399", "")],
)
def test_a_study_date_is_kept_where_it_is_one(stated: str, kept: str) -> None:
    """The records see a date of eight digits or none, so that nonsense makes no prior."""
    assert taken_in({"StudyDate": stated}).study_date == kept


@pytest.mark.parametrize(
    ("header", "ward"),
    [
        ({"RequestingService": "ICU", "CurrentPatientLocation": "B", "InstitutionalDepartmentName": "C"}, "ICU"),
        ({"RequestingService": " ", "CurrentPatientLocation": "Ward 3 ", "InstitutionalDepartmentName": "C"}, "Ward 3"),
        ({"InstitutionalDepartmentName": "Radiology"}, "Radiology"),
        ({}, ""),
    ],
)
def test_the_ward_is_who_asks_or_else_where_the_patient_lies(header: dict[str, str], ward: str) -> None:
    """The requesting service comes before the patient's location, that before the department; else it is empty."""
    assert taken_in(header).ward == ward


def test_station_and_view_are_as_the_modality_says() -> None:
    """The view in upper case, so that "ap" and "AP" are one; both empty where nothing is said."""
    stated = taken_in({"StationName": " ER-PORTABLE-2 ", "ViewPosition": "ap "})
    assert (stated.station, stated.view) == ("ER-PORTABLE-2", "AP")
    assert (taken_in({}).station, taken_in({}).view) == ("", "")


@pytest.mark.parametrize(
    ("header", "request_item", "question"),
    [
        ({"ReasonForTheRequestedProcedure": "Fever", "ReasonForStudy": "old"}, {}, "Fever"),
        ({"ReasonForStudy": "old"}, {"ReasonForTheRequestedProcedure": "Pneumothorax?"}, "Pneumothorax?"),
        ({"ReasonForStudy": "Cough since 2 weeks"}, {"RequestedProcedureID": "1"}, "Cough since 2 weeks"),
        ({"ReasonForTheRequestedProcedure": " \r\n Fall,\tpain\r\nfracture?"}, None, "Fall, pain"),
        ({"ReasonForTheRequestedProcedure": "  "}, {"ReasonForTheRequestedProcedure": "Tube?"}, "Tube?"),
        ({"ReasonForStudy": "x" * 4000}, None, "x" * 300),
        ({}, None, ""),
    ],
)
def test_the_question_is_one_line_of_the_request(
    header: dict[str, str], request_item: dict[str, str] | None, question: str
) -> None:
    """Of the image, else of the request that it belongs to, else of the study; its first line, of 300 characters."""
    assert taken_in(header, request_item).question == question


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ({"PatientAge": " 071Y", "PatientBirthDate": "19900101", "StudyDate": "20260102"}, "071Y"),
        ({"PatientBirthDate": "19560103", "StudyDate": "20260102"}, "069Y"),
        ({"PatientBirthDate": "20251231", "StudyDate": "20260102"}, ""),
        ({"PatientBirthDate": "19560103"}, ""),
        ({}, ""),
    ],
)
def test_the_age_is_stated_or_follows_from_the_birth_date(header: dict[str, str], age: str) -> None:
    """Modalities often send the birth date alone; below one year, or without a date, nothing is made up."""
    assert taken_in(header).patient_age == age
