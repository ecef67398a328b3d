"""The words of the reading list, as the server writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.list.words import FLAGS, STATES, being_read, sex_age, waiting, where
from worklist.person_name import person_name
from worklist.study import StudyState
from worklist.triage import NOT_ASSESSED, Urgency

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_every_flag_and_state_has_its_word() -> None:
    """Flags bear the labels of the triage rule, and no state is without a word."""
    assert [word.label for word in FLAGS] == [*(urgency.label for urgency in Urgency), NOT_ASSESSED]
    assert {word.key for word in STATES} == set(StudyState)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Doe^Jane", ("Doe, Jane", "")),
        ("Doe^Jane^Ann^Dr.^PhD", ("Doe, Jane Ann, Dr. PhD", "")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("Yamada, Tarou", "山田 太郎")),
        ("=山田^太郎", ("山田 太郎", "")),
        ("==やまだ^たろう", ("やまだ たろう", "")),
        ("DOE", ("DOE", "")),
        ("", ("No name", "")),
        ("^^^=^=", ("No name", "")),
    ],
)
def test_person_names_read_as_people_write_them(value: str, shown: tuple[str, str]) -> None:
    """A PN shows family, given and middle, prefix and suffix, with its ideographic group beside the alphabetic."""
    assert person_name(value) == shown


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(-5, "< 1 min"), (0.9, "< 1 min"), (12, "12 min"), (60, "1 h 00 min"), (185, "3 h 05 min"), (52 * 60, "2 d 4 h")],
)
def test_waiting_time_is_said_in_the_unit_that_matters(minutes: float, shown: str) -> None:
    """Minutes below an hour, hours below two days, then days; a clock that runs ahead gives no negative time."""
    assert waiting((NOON - timedelta(minutes=minutes)).isoformat(), NOON) == shown


def test_a_reading_names_its_reader() -> None:
    """Who reads, and since when; nothing where nobody does."""
    since = (NOON - timedelta(minutes=2)).isoformat()
    assert being_read({"state": "reading", "by": "Dr. N", "since": since}, NOON) == "being read by Dr. N since 2 min"
    for state in ("unread", "read", "prior"):
        assert being_read({"state": state, "by": "Dr. N", "since": since}, NOON) == ""


@pytest.mark.parametrize(
    ("sex", "age", "shown"),
    [
        ("F", "071Y", "F 71 y"),
        ("M", "008M", "M 8 mo"),
        ("O", "003W", "O 3 w"),
        ("F", "000D", "F 0 d"),
        ("", "104Y", "104 y"),
        ("F", "", "F"),
        ("female", "71", ""),
        ("", "", ""),
        ("M", "٠٧١Y", "M"),
    ],
)
def test_sex_and_age_are_said_in_the_unit_of_the_header(sex: str, age: str, shown: str) -> None:
    """Years, months, weeks or days as they were sent; what is unknown or malformed is left out, never guessed."""
    assert sex_age(sex, age) == shown


@pytest.mark.parametrize(
    ("view", "ward", "station", "shown"),
    [
        ("AP", "Ward 3", "DX-1", "AP, Ward 3"),
        ("PA", "", "DX-1", "PA, DX-1"),
        ("", "ICU", "", "ICU"),
        ("AP", "", "", "AP"),
        ("", "", "", ""),
    ],
)
def test_where_a_film_was_taken(view: str, ward: str, station: str, shown: str) -> None:
    """View and ward; the station where no ward is stated."""
    assert where({"study_description": "Chest", "view": view, "ward": ward, "station": station}) == shown


@pytest.mark.parametrize(
    ("description", "shown"), [("Chest PA", "ED"), ("chest pa", "ED"), ("SPA", "PA, ED"), ("", "PA, ED")]
)
def test_a_view_is_said_once(description: str, shown: str) -> None:
    """Where the description ends with it, it is not repeated."""
    assert where({"study_description": description, "view": "PA", "ward": "ED", "station": ""}) == shown
