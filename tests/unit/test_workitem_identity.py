"""The UIDs of readings' workitems, and the keys by which workitems are searched."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dimse.services import SERVICES
from worklist.attributes import Level
from worklist.errors import InvalidInput
from worklist.matching import is_uid
from worklist.workitems.identity import ReadingName, new_uid, reading_name, reading_uid
from worklist.workitems.keys import workitem_key

STUDY = "0a9b3153-2512774b-2d9580de-1fc29dcd-3bd83918"
DIGITS = st.text("0123456789abcdef", min_size=40, max_size=40)


@given(DIGITS, st.integers(1, 2**18 - 1))
def test_the_uid_of_a_reading_can_be_read_back(digits: str, number: int) -> None:
    """It is a UID of a UUID of version 8, and says which study and which reading."""
    orthanc_id = "-".join(digits[start : start + 8] for start in range(0, 40, 8))
    uid = reading_uid(orthanc_id, number)
    assert is_uid(uid)
    assert UUID(int=int(uid.removeprefix("2.25."))).version == 8
    assert reading_name(uid) == ReadingName(beginning=orthanc_id[:29], number=number)


def test_the_uid_stays_what_it_is() -> None:
    """Other systems keep it: another version must not make another one."""
    assert reading_uid(STUDY, 1) == "2.25.14098086396403470327136651226858127361"
    assert reading_uid(STUDY, 2) == "2.25.14098086396403470327136651226858127362"


@pytest.mark.parametrize(("orthanc_id", "number"), [("nonsense", 1), (STUDY, 0), (STUDY, 2**18)])
def test_what_is_no_reading_has_no_uid(orthanc_id: str, number: int) -> None:
    """No identifier of Orthanc's, no first reading, and one more than can be told."""
    with pytest.raises(ValueError, match="no workitem"):
        reading_uid(orthanc_id, number)


@pytest.mark.parametrize("uid", ["1.2.3", "2.25.", "2.25.1.2", f"2.25.{2**128}", "2.25." + "9" * 59])
def test_other_uids_are_of_no_reading(uid: str) -> None:
    """Made by others, or none at all."""
    assert reading_name(uid) is None
    assert reading_name(new_uid()) is None


@pytest.mark.parametrize(
    ("value", "held", "is_met"),
    [
        ("20261126", "20261126081500.000000+0000", True),
        ("2026112608", "20261126091500.000000+0000", False),
        ("20261126-20261127", "20261127235959.000000+0000", True),
        ("-20261126080000", "20261126080000.500000+0000", True),
        ("20261126100000+0200-", "20261126080000.000000+0000", True),
        ("20261126100000+0200-", "20261126075959.000000+0000", False),
        ("20261126000000-0500-20261126010000-0500", "20261126053000.000000+0000", True),
        ("20261126000000-0500", "20261126050000.000000+0000", True),
    ],
)
def test_moments_match_wherever_they_are_told(value: str, held: str, is_met: bool) -> None:  # noqa: FBT001 - expected
    """A moment as exact as it is told, or a range; one with an offset is compared in UTC."""
    key = workitem_key("ScheduledProcedureStepStartDateTime", value)
    assert key
    assert key.matches(held) is is_met


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("StudyDate", "20260101"),
        ("Nonsense", "1"),
        ("ScheduledWorkitemCodeSequence", "1"),
        ("PatientName.CodeValue", "1"),
        ("ScheduledProcedureStepStartDateTime", "-"),
        ("ScheduledProcedureStepStartDateTime", "20261399000000+0100"),
        ("SOPInstanceUID", "1.2.*"),
    ],
)
def test_keys_that_cannot_be_meant(name: str, value: str) -> None:
    """They are refused by name."""
    with pytest.raises(InvalidInput, match=name.partition(".")[0]):
        workitem_key(name, value)


def test_no_query_retrieve_model_has_workitems() -> None:
    """They are a level of the table of attributes alone."""
    assert all(Level.WORKITEM not in one.levels for one in SERVICES)


def test_a_lone_asterisk_matches_everything() -> None:
    """As an empty value does."""
    assert workitem_key("PatientName", "*") is workitem_key("00741000", "") is None
