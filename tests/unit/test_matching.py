"""Attribute matching (PS3.4 section C.2.2.2), by examples and against other people's code."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_keyword, dictionary_VR
from pydicom.valuerep import PersonName

from worklist.attributes import (
    ATTRIBUTES,
    PRIVATE_ATTRIBUTES,
    PRIVATE_CREATOR_TAG,
    Attribute,
    Level,
    Matching,
    attribute,
)
from worklist.errors import InvalidInput
from worklist.matching import Key, key_of


def key(name: str, value: str, level: Level = Level.STUDY) -> Key:
    """A key that matches something and not everything."""
    found = key_of(name, value, level)
    assert found is not None
    return found


# ---- The table ----


@pytest.mark.parametrize("one", ATTRIBUTES, ids=lambda one: one.keyword)
def test_the_table_agrees_with_the_dictionary(one: Attribute) -> None:
    """Keyword, tag and VR are those of PS3.6, as pydicom has them; both names lead to the row."""
    assert dictionary_keyword(int(one.tag, 16)) == one.keyword
    assert dictionary_VR(int(one.tag, 16)) == one.vr
    assert attribute(one.keyword) is attribute(one.tag) is attribute(one.tag.lower()) is one


def test_private_elements_lie_in_the_block_of_their_creator() -> None:
    """Each private tag has the odd group of the creator's element, and the block that it reserves (PS3.5 7.8.1)."""
    group, block = PRIVATE_CREATOR_TAG[:4], PRIVATE_CREATOR_TAG[6:]
    assert int(group, 16) % 2 == 1
    assert all(one.tag.startswith(group + block) for one in PRIVATE_ATTRIBUTES)


def test_the_required_keys_of_studies_are_there() -> None:
    """Every attribute of PS3.18 Table 10.6.1-5 at the level of studies can be matched."""
    required = (
        "StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName PatientName PatientID "
        "StudyInstanceUID StudyID"
    )
    for keyword in required.split():
        one = attribute(keyword)
        assert one
        assert one.matching is not Matching.NONE
        assert one.is_returned


# ---- Examples ----


@pytest.mark.parametrize(
    ("name", "value", "held", "is_met"),
    [
        ("StudyInstanceUID", "1.2,1.3", "1.3", True),
        ("StudyInstanceUID", "1.2\\1.3", "1.3", True),
        ("StudyInstanceUID", "1.2", "1.2.3", False),
        ("StudyDate", "20260102", "20260102", True),
        ("StudyDate", "20260101-20260131", "20260131", True),
        ("StudyDate", "20260101-20260131", "20260201", False),
        ("StudyDate", "20260101-", "20270101", True),
        ("StudyDate", "-20260101", "20260101", True),
        ("StudyDate", "-20260101", "", False),
        ("StudyTime", "10-1130", "113059.5", True),
        ("StudyTime", "10-1130", "1131", False),
        ("PatientName", "doe^JANE", "Doe^Jane", True),
        ("PatientName", "Doe", "Doe^Jane", False),
        ("PatientName", "Doe*", "Doe^Jane", True),
        ("PatientName", "Doe^*", "Doe", True),
        ("PatientName", "*^Jane", "Doe^Jane", True),
        ("PatientName", "Doe^Jane^^^", "Doe^Jane", True),
        ("PatientName", "Doe^?ane", "Doe^Jane", True),
        ("PatientName", "müller*", "MÜLLER^Jörg", True),
        ("PatientName", "mu\u0308ller*", "Müller^Jörg", True),
        ("PatientName", "王^小東", "Wang^XiaoDong=王^小東=", True),
        ("PatientName", "=王*", "Wang^XiaoDong=王^小東=", True),
        ("PatientName", "Wang*=李*", "Wang^XiaoDong=王^小東=", False),
        ("PatientName", "соколова*", "Соколова^Вера", True),
        ("PatientID", "bad-*", "BAD-0001", True),
        ("PatientID", "BAD-000?", "BAD-00011", False),
        ("PatientID", "[A-Z]*", "BAD-0001", False),
        ("PatientID", "[1]", "[1]", True),
        ("PatientID", "a,b", "a,b", True),
        ("PatientID", " BAD-0001 ", "BAD-0001", True),
        ("ModalitiesInStudy", "CR,DX", "DX\\SR", True),
        ("ModalitiesInStudy", "D?", "DX\\SR", True),
        ("ModalitiesInStudy", "CT", "DX\\SR", False),
        ("ReportingPriority", "HIGH", "HIGH", True),
        ("ReportingPriority", "HIGH", "", False),
    ],
)
def test_values_are_met(name: str, value: str, held: str, *, is_met: bool) -> None:
    """Each kind of key is met by what the standard says, and by nothing else."""
    assert bool(key(name, value).matches(held)) is is_met


@pytest.mark.parametrize("value", ["", " ", "*", "**", "\0"])
def test_an_empty_key_is_met_by_everything(value: str) -> None:
    """Universal matching (PS3.4 section C.2.2.2.3): no value, or an asterisk alone."""
    assert key_of("PatientName", value) is None
    assert key_of("StudyDate", value) is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("StudyInstanceUID", "1.2.*", "has no wildcards"),
        ("StudyInstanceUID", "*", "has no wildcards"),
        ("StudyInstanceUID", "1." + "2" * 63, "64 characters at most"),
        ("StudyInstanceUID", "1.2,", "digits and dots"),
        ("StudyInstanceUID", "1..2", "digits and dots"),
        ("StudyDate", "20261231-20260101", "end lies before its beginning"),
        ("StudyDate", "20260230", "takes a date"),
        ("StudyDate", "2026", "takes a date"),
        ("StudyDate", "-", "takes a date"),
        ("StudyDate", "20260101-20260102-20260103", "takes a date"),
        ("StudyTime", "250000", "takes a time"),
        ("StudyTime", "12-11", "end lies before its beginning"),
        ("NumberOfStudyRelatedInstances", "2", "not be matched"),
        ("Modality", "CR", "of the level SERIES"),
        ("SOPInstanceUID", "1.2", "of the level IMAGE"),
        ("Patient Name", "x", "no keyword or tag"),
        ("0010,0010", "x", "no keyword or tag"),
        ("PatientName", "a\nb", "control characters"),
        ("PatientName", "a" * 20_000, "too long"),
        ("ModalitiesInStudy", ",", "without a value"),
    ],
)
def test_a_key_that_nothing_could_meet_is_refused(name: str, value: str, said: str) -> None:
    """The one line says which key is wrong, and how."""
    with pytest.raises(InvalidInput, match=said) as refused:
        key_of(name, value)
    assert refused.value.code == "bad_key"
    assert "\n" not in refused.value.message


def test_a_key_that_the_table_does_not_have_is_orthancs() -> None:
    """It is kept with its name, so that Orthanc can match it."""
    assert not key("PatientComments", "x").is_ours
    assert not key("StudyTime", "10").is_ours
    assert key("StudyDate", "20260101").is_ours


# ---- Against other people's code ----

LETTERS = st.text(alphabet="aAbÄä01[]!^ -", max_size=8)
GLOBS = st.text(alphabet="aAbÄä01[]!^ -*?", min_size=1, max_size=8)


@given(pattern=GLOBS, held=LETTERS)
def test_wildcards_are_those_of_a_shell_without_its_brackets(pattern: str, held: str) -> None:
    """`*` and `?` mean what fnmatch means by them, and every other character is itself."""
    asked = key_of("PatientID", pattern)
    quoted = pattern.strip().replace("[", "[[]").lower()
    expected = fnmatch.fnmatchcase(held.strip().lower(), quoted) or not pattern.strip(" ").strip("*")
    assert (asked is None or asked.matches(held)) == expected


@given(parts=st.lists(st.text(alphabet="aBé 王", max_size=4), min_size=1, max_size=5), group=st.integers(0, 2))
def test_a_name_meets_itself_in_whichever_group_it_stands(parts: list[str], group: int) -> None:
    """A person name that pydicom takes for the same, trailing delimiters aside, meets the key."""
    name = "^".join(part.strip() for part in parts)
    held = "=" * group + name
    asked = key_of("PatientName", name.upper())
    assert asked is None or asked.matches(held)
    wanted = PersonName(held.rstrip("^ "))
    assert asked is None or asked.matches(str(wanted))


@given(st.lists(st.dates(), min_size=3, max_size=3))
def test_a_range_holds_what_lies_within(days: list[object]) -> None:
    """Of three dates in order the middle one lies in the range of the others, and each end does too."""
    first, middle, last = (str(day).replace("-", "") for day in sorted(map(str, days)))
    asked = key("StudyDate", f"{first}-{last}")
    assert all(map(asked.matches, (first, middle, last)))
    if middle < last:
        assert not key("StudyDate", f"{first}-{middle}").matches(last)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_whatever_breaks_a_key(value: str, held: str) -> None:
    """Every text is a key or is refused with our own error, and every key can be held against every text."""
    for one in ("PatientName", "StudyDate", "StudyTime", "StudyInstanceUID", "ModalitiesInStudy", "StudyID"):
        try:
            asked = key_of(one, value)
        except InvalidInput:
            continue
        if asked:
            asked.matches(held)


def test_many_asterisks_cost_no_time() -> None:
    """A hundred wildcards against a long value are decided at once, where a plain pattern would take for ever."""
    assert not key("PatientID", "*a" * 100 + "b").matches("a" * 5000)
