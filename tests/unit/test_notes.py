"""Clinical notes: what is extracted and how well, what is asked and suggested, and what is no note."""

from __future__ import annotations

import json
import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.notes.marked import DEVELOP, HELD_OUT, count, sentences_of
from worklist.errors import InvalidInput
from worklist.finding import DISCLAIMER, FindingType
from worklist.notes.answers import note_answer
from worklist.notes.lexicon import Kind
from worklist.notes.reading import MOST_CHARACTERS, findings_asked_in, read_note
from worklist.notes.risk import RiskClass
from worklist.notes.statements import When, Who

ATTACKS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("attacks.json").read_text(encoding="utf-8"))
TREATS = re.compile(
    r"\b(?:treat|start|stop|give|prescri|administ|recommend|advis|should|must|therap|antibiotic|surg|biops|urgent|immediat|"
    r"discharge|diagnos|confirm|normal|reassur)",
    re.IGNORECASE,
)
NOTE = (
    "71-year-old woman with fever, confusion and cough. ?left lower lobe pneumonia. T 38.9, HR 112, BP 100/62, RR 24, "
    "SpO2 93% on air, alert. PMH: COPD."
)


@pytest.mark.parametrize("path", [DEVELOP, HELD_OUT], ids=["develop", "held out"])
def test_statements_are_extracted(path: Path) -> None:
    """F1 of .93 and more without a language model, on the sentences that the rules were made on and on the others."""
    counted = count(path)
    assert counted.sentences >= 80
    assert counted.f1 >= 0.93, "\n".join(counted.faults)


def test_the_sets_do_not_share_sentences_and_cover_what_they_should() -> None:
    """At least 150 sentences in all, each in one set, with negation, uncertainty, family, past, sides and doses."""
    sets = [list(sentences_of(path)) for path in (DEVELOP, HELD_OUT)]
    texts = [text.lower() for found in sets for text, _ in found]
    assert len(texts) == len(set(texts)) >= 150
    for found in sets:
        marks = [mark for _, marks in found for mark in marks]
        assert (
            min(
                sum(mark.negated for mark in marks),
                sum(mark.uncertain for mark in marks),
                sum(mark.who is Who.FAMILY for mark in marks),
                sum(mark.when is When.PAST for mark in marks),
                sum(bool(mark.sides) for mark in marks),
                sum(bool(mark.dose) for mark in marks),
            )
            >= 5
        )


def readable_characters(text: str) -> bool:
    """Whether a reader sees anything of a text."""
    return any(not one.isspace() and unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Co"} for one in text)


@example("\U00017000\U00018d00")  # letters without a name
@given(st.text(max_size=300) | st.lists(st.sampled_from(NOTE.split()), max_size=60).map(" ".join))
def test_any_text_is_read_and_its_places_are_true(text: str) -> None:
    """Whatever is sent is read or refused with a reason; each statement and sentence stands where it is said to."""
    if not readable_characters(text):
        with pytest.raises(InvalidInput, match="the note is empty"):
            read_note(text)
        return
    reading = read_note(text)
    answer = note_answer(reading)
    json.dumps(answer)
    for one in answer["statements"]:
        assert " ".join(reading.text[one["begin"] : one["end"]].split()) == one["text"]
        assert reading.text[one["sentence_begin"] : one["sentence_end"]] == one["sentence"]
        assert one["sentence_begin"] <= one["begin"] < one["end"] <= one["sentence_end"]


def test_a_note_of_several_sections_is_read_line_by_line() -> None:
    """Headings say whether what stands below them is of the past, of the family, a medicine or an allergy."""
    reading = read_note(
        "HPC: cough for 3 days\nPMH:\n- hypertension\n- asthma\nFamily history: lung cancer\nDrug history:\n"
        "1. ramipril 5 mg\n2. zorvolex 35 mg od\nAllergies: penicillin\n\nO/E: bibasal crackles"
    )
    found = {one.text.lower(): one for one in reading.statements}
    assert {found[name].when for name in ("hypertension", "asthma")} == {When.PAST}
    assert found["lung cancer"].who is Who.FAMILY
    assert (found["ramipril"].kind, found["ramipril"].dose) == (Kind.MEDICATION, "5 mg")
    assert (found["zorvolex"].kind, found["zorvolex"].dose) == (Kind.MEDICATION, "35 mg")
    assert (found["penicillin"].kind, found["penicillin"].is_allergy) == (Kind.CONDITION, True)
    assert [found[name].when for name in ("cough", "crackles")] == [When.NOW, When.NOW]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("?PTX", ["pneumothorax"]),
        ("Post op. ? pneumothorax", ["pneumothorax"]),
        ("fever and cough x3d, r/o chf", ["pulmonary_edema"]),
        ("Cough and fever, rule out pneumonia. Small left effusion.", ["pneumonia", "pleural_effusion"]),
        ("Mother had pneumonia.", []),
        ("No effusion.", []),
        ("Cough.", []),
    ],
)
def test_a_text_raises_questions(text: str, keys: list[str]) -> None:
    """What it is uncertain of comes first, then what it states; what it denies or says of others asks nothing."""
    assert list(findings_asked_in(text)) == keys


def test_suggestions_name_what_to_look_at_and_never_treat() -> None:
    """Fixed sentences for what is stated; none speaks of treatment, urgency or diagnosis, as no explanation may."""
    reading = read_note(
        "Fell, ?rib fracture. Weight loss. On methotrexate. ?PE. NG tube placed. Exposure: mesothelioma, dysphagia, "
        "heart failure, tuberculosis, perforation."
    )
    said = " ".join(reading.attention)
    for words in (
        "ribs",
        "apices",
        "methotrexate",
        "its tip",
        "may show nothing",
        "free air",
        "pleural plaques",
        "heart size",
    ):
        assert words in said
    assert not TREATS.search(said)


def test_the_summary_repeats_and_concludes_nothing() -> None:
    """It says what the note states, raises, denies and takes, in words that no explanation is forbidden to use."""
    summary = note_answer(read_note(f"{NOTE} Denies chest pain. Takes ramipril 5 mg. Mother had asthma."))["summary"]
    assert summary == (
        "The note states fever, confusion and cough. It raises pneumonia (left). It denies chest pain. Of the past it "
        "states COPD. Of the family it states asthma. Medicines: ramipril 5 mg."
    )
    assert "excludes nothing" in note_answer(read_note("Film before surgery."))["summary"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Der Patient hat seit drei Tagen Husten und Fieber, kein Pleuraerguss.", "German"),
        ("Patiente avec douleur thoracique depuis trois jours, pas de fièvre.", "French"),
        ("Paciente con fiebre y tos desde hace tres días, niega dolor.", "Spanish"),
        ("Paziente con tosse e febbre da tre giorni, senza dolore.", "Italian"),
        ("Patiënt met koorts en hoest sinds drie dagen, geen pijn.", "Dutch"),
        ("У пациента кашель и температура три дня, одышки нет.", "a language in Cyrillic letters"),
        ("患者三天来咳嗽发热，无胸痛。", "Chinese or Japanese"),
    ],
)
def test_another_language_is_said_and_not_read(text: str, language: str) -> None:
    """Nothing of it is analysed as if it were English, and no class of risk is given."""
    reading = read_note(f"{text} RR 40, SpO2 80%")
    assert reading.language == language
    assert (reading.statements, reading.measurements, reading.risk.risk) == ((), (), RiskClass.UNKNOWN)
    assert language in note_answer(reading)["summary"]


def test_sentences_in_another_language_are_left_out_and_counted() -> None:
    """Among English ones they are not read, which is said."""
    reading = read_note(f"{NOTE} Der Patient hat kein Pneumothorax und keine Schmerzen. She denies the chest pain.")
    assert "pneumothorax" not in {one.text.lower() for one in reading.statements}
    assert reading.remarks[0] == "1 sentence in another language than English not read"


def test_too_much_and_nothing_are_refused() -> None:
    """A note of a megabyte and an empty one, each with one line that says what to do."""
    with pytest.raises(InvalidInput, match="send the part that matters") as long:
        read_note("fever " * 170_000)
    assert long.value.code == "note_too_long"
    for empty in ("", "  \n\t", "\x00\u200b\u202e"):
        with pytest.raises(InvalidInput) as nothing:
            read_note(empty)
        assert nothing.value.code == "empty_note"


@pytest.mark.parametrize("part", ["no fever,", "?"])
def test_the_longest_notes_are_read(part: str) -> None:
    """What repeats itself to the limit costs no more than any other text: each is read, however slow the machine."""
    text = (part * MOST_CHARACTERS)[:MOST_CHARACTERS]
    assert read_note(text).text == text


def test_hidden_characters_part_no_word() -> None:
    """Control, bidirectional and zero-width characters are taken out before anything is read."""
    reading = read_note("fe\u200bver and \u202eco\x08ugh\r\nno ra\u00adsh")
    assert [(one.text, one.is_negated) for one in reading.statements] == [
        ("fever", False),
        ("cough", False),
        ("rash", True),
    ]


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack["name"] for attack in ATTACKS])
def test_no_attack_changes_risk_or_form(attack: dict[str, Any]) -> None:
    """Words to a machine, in whatever language and form, in front of a note or behind it, move no class of risk."""
    plain, keys = note_answer(read_note(NOTE)), None
    for text in (f"{NOTE}\n{attack['text']}", f"{attack['text']}\n{NOTE}"):
        reading = read_note(text)
        answer = note_answer(reading)
        assert reading.language == ""
        assert answer["risk"]["class"] == plain["risk"]["class"]
        assert answer["risk"]["scores"] == plain["risk"]["scores"]
        assert (answer["disclaimer"], list(answer)) == (DISCLAIMER, list(plain))
        keys = keys or [list(one) for one in answer["statements"]]
    assert all(one == other for one, other in pairwise(keys or []))


def test_findings_of_the_note_are_those_of_the_films() -> None:
    """Each finding that a film may have is asked about by its own name."""
    kinds = (
        FindingType.PNEUMOTHORAX,
        FindingType.MASS,
        FindingType.NODULE,
        FindingType.ATELECTASIS,
        FindingType.CARDIOMEGALY,
    )
    assert [findings_asked_in(f"?{kind.label.lower()}") for kind in kinds] == [(kind.key,) for kind in kinds]
