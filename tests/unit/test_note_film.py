"""A note beside a film: what contradicts, what does not, and whose note it is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from worklist.finding import FindingType, Side
from worklist.notes.film import FilmFacts, NamedFinding, age_of
from worklist.notes.reading import read_note
from worklist.notes.risk import Rule
from worklist.notes.statements import Source

EFFUSION = NamedFinding(key=FindingType.PLEURAL_EFFUSION.key, label=FindingType.PLEURAL_EFFUSION.label, side=Side.RIGHT)
FILM = FilmFacts(
    named=(EFFUSION,),
    patient_name="Doe^Jane^Mary",
    patient_id="P-0042",
    birth_date="19540312",
    sex="F",
    age=Decimal(71),
)


def told(note: str, film: FilmFacts = FILM) -> list[str]:
    """The contradictions between a note and a film."""
    return [one.text for one in read_note(note, film=film).contradictions]


@pytest.mark.parametrize(
    ("note", "text"),
    [
        ("Left pleural effusion, drained last year.", "The note says left, the film right: pleural effusion."),
        ("?effusion on the left", "The note says left, the film right: pleural effusion."),
        ("No pleural effusion.", "The note denies pleural effusion, the film names it on the right."),
        ("No effusion on the right.", "The note denies pleural effusion, the film names it on the right."),
    ],
)
def test_side_and_presence_are_named(note: str, text: str) -> None:
    """What the note states on the other side, or denies, and the triage names, is said with both sides of it."""
    assert told(note) == [text]


def test_a_request_is_called_a_request() -> None:
    """In each sentence about it; what it asks is its own line and is not repeated."""
    request = "Patient: John Smith, MRN 77, 40M. Left effusion. ?pneumonia. Left pneumothorax."
    reading = read_note(request, film=FILM, source=Source.REQUEST)
    assert len(reading.contradictions) == 5
    assert all(one.text.startswith("The request ") for one in reading.contradictions)
    assert reading.attention == ("The request states pneumothorax. The film does not name it, which excludes nothing.",)
    foreign = read_note("Der Patient hat Husten und Fieber.", source=Source.REQUEST)
    assert foreign.remarks == ("the request seems to be in German: only English is read, so nothing of it was",)


@pytest.mark.parametrize(
    "note",
    [
        "Right pleural effusion.",
        "Bilateral pleural effusions.",
        "Left and right effusions.",
        "Small left effusion, larger right effusion.",
        "Pleural effusion.",
        "No left pleural effusion.",
        "Her mother had a left pleural effusion.",
        "History of left pleural effusion.",
        "Return if left pleural effusion recurs.",
        "Left knee pain.",
        "Left pneumothorax.",
        "Fever.",
    ],
)
def test_what_may_both_be_true_is_no_contradiction(note: str) -> None:
    """Another time, another person, both sides, another finding, or a side that neither states."""
    assert told(note) == []


def test_a_film_that_names_nothing_contradicts_nothing() -> None:
    """The absence of a flag is never a negative: what the note states and the film does not name is only suggested."""
    reading = read_note("Left pneumothorax.", film=FilmFacts(named=()))
    assert reading.contradictions == ()
    assert "The note states pneumothorax. The film does not name it, which excludes nothing." in reading.attention
    unjudged = read_note("Left pneumothorax.", film=FilmFacts(named=None))
    assert not any("does not name" in one for one in unjudged.attention)


@pytest.mark.parametrize(
    ("note", "text"),
    [
        ("Patient: John Smith. Cough.", "The note names John Smith, the film Doe Jane Mary."),
        ("Patient: Doe, John", "The note names Doe, John, the film Doe Jane Mary."),
        ("Mr Smith has a cough.", "The note names Smith, the film Doe Jane Mary."),
        ("MRN: 991. Cough.", "The note gives the number 991, the film P-0042."),
        ("DOB 12/03/1964. Cough.", "The note gives another date of birth than the film."),
        ("71-year-old man with cough.", "The note is of a man, the film of a woman."),
        ("34-year-old with cough.", "The note gives an age of 34 years, the film 71."),
    ],
)
def test_a_note_of_another_patient_is_said(note: str, text: str) -> None:
    """Name, number, date of birth, sex or age that is not the film's."""
    assert text in told(note)


@pytest.mark.parametrize(
    "note",
    [
        "Patient: Jane Doe, DOB 12.03.1954, MRN P0042. 71-year-old woman with cough.",
        "Name: Doe",
        "Mrs Doe has a cough.",
        "Patient: Jane Doe-Miller Mary",
        "70F with cough",
        "Referred by Dr Smith.",
        "born 1954-03-12",
        "DOB 3/12/54",
    ],
)
def test_the_patient_in_other_words_is_no_other(note: str) -> None:
    """The order of names, a part of them, another way to write the date, or nothing at all."""
    assert told(note) == []


def test_a_film_without_a_header_names_no_other_patient() -> None:
    """What the film does not state contradicts nothing."""
    assert told("Patient: John Smith, 34-year-old man, MRN 1.", FilmFacts(named=(EFFUSION,))) == []


def test_a_named_pneumonia_calls_for_curb65() -> None:
    """The film raises pneumonia where the note does not, and that is the reason given."""
    pneumonia = NamedFinding(key=FindingType.PNEUMONIA.key, label="Pneumonia", side=None)
    risk = read_note("Cough, RR 20.", film=FilmFacts(named=(pneumonia,))).risk
    assert risk.scores[0].rule is Rule.CRB65
    assert "the film names pneumonia" in risk.reasons[0]


def test_the_films_age_counts_where_the_note_states_none() -> None:
    """And is told as the film's; one that the note states comes first."""
    score = read_note("?pneumonia", film=FILM).risk.scores[0]
    assert [one.points for one in score.items if one.name == "age"] == [1]
    own = read_note("40-year-old, ?pneumonia", film=FILM)
    assert [one.points for one in own.risk.scores[0].items if one.name == "age"] == [0]


def test_ages_of_headers() -> None:
    """Age Strings in years, months, weeks and days; whatever else stands there is no age."""
    assert [age_of(one) for one in ("071Y", "018M", "", "71", "0X1Y")] == [
        Decimal(71),
        Decimal("1.5"),
        None,
        None,
        None,
    ]
