"""The safety layers one by one: what each lets pass, changes and refuses."""

from __future__ import annotations

import pytest

from models.safety.assertions import Strength, assertions_in, has_absence
from models.safety.confirmation import confirmable, require_confirmation
from models.safety.consistency import faults_of_consistency, marked, own_findings_sentence, unfaithful
from models.safety.input_gate import admit, film_refused, plain
from models.safety.language import faults_of_language
from tests.language_films import GOOD_SENTENCE, LanguageStudy
from worklist.account import CONFIRM, Certainty, Statement, Verdict
from worklist.errors import PermanentError
from worklist.finding import TURNED_FILM, FindingType, Side, Snippet

STUDY = LanguageStudy()


def language(text: str, *identifiers: str) -> list[str]:
    """What the language layer has against a text."""
    return faults_of_language(text, triage=STUDY.triage, identifiers=identifiers)


def consistency(text: str, *statements: Statement) -> list[str]:
    """What the consistency layer has against a text and its statements."""
    return faults_of_consistency(text, statements, analysis=STUDY.analysis, triage=STUDY.triage)


def statement(kind: FindingType, *sides: Side, certainty: Certainty = Certainty.POSSIBLE) -> Statement:
    """A statement as a model makes it."""
    return Statement(type=kind, certainty=certainty, sides=sides)


# (a) the input gate


@pytest.mark.parametrize(
    "report",
    [
        "No pneumothorax. Small left pleural effusion, unchanged since the previous study.",
        "Follow-up of pneumonia. Compared with 3 March: improved. The report of the outside hospital states a nodule.",
        "Please rule out pneumothorax. Urgent! Report by phone to the ward.",
        "Keine Infiltrate, kein Erguss. Verdacht auf Rundherd rechts, Z. n. Drainage.",
        "Pas d'épanchement. Cardiomégalie stable. Opacité basale gauche à contrôler.",
        "Derrame pleural izquierdo, sin neumotórax. Se compara con estudio previo.",
        "Versamento pleurico sinistro. Non pneumotorace. Cuore nei limiti.",
        "Без свежих очаговых изменений. Плевральный выпот слева.",
        "左側胸水。気胸なし。",
    ],
)
def test_reports_that_people_wrote_pass_the_gate(report: str) -> None:
    """What a radiologist writes in any language is shown to the model, sentence by sentence and as it stands."""
    admitted = admit("Dyspnea, r/o pneumonia", (("1.2.9", report),))
    assert admitted.check.verdict is Verdict.PASSED
    assert " ".join(line.snippet.snippet for line in admitted.lines) == f"Dyspnea, r/o pneumonia {report}"


def test_a_sentence_that_names_the_patient_stays_in_the_record() -> None:
    """It is neither sent to a model, which may run elsewhere, nor quoted."""
    admitted = admit("Cough", (("1.2.9", "Mrs. DOE was seen. Left effusion. MRN P1234."),), ("Doe^Jane", "P1234"))
    assert [line.snippet.snippet for line in admitted.lines] == ["Cough", "Mrs.", "Left effusion."]
    assert "2 of 5 sentences withheld" in admitted.check.detail


def test_a_report_of_megabytes_is_read_to_a_bound() -> None:
    """It is cut, said to be, and what mentions a finding is kept."""
    report = "Patient was cooperative. Left pleural effusion. " * 50_000
    admitted = admit("", (("1.2.9", report),))
    assert len(admitted.lines) <= 24
    assert {line.snippet.snippet for line in admitted.lines} == {"Left pleural effusion."}
    assert "sentences shown" in admitted.check.detail
    assert "20000 characters" in admitted.check.detail


def test_a_sentence_without_end_is_cut() -> None:
    """No single sentence fills the prompt; what is quoted of it stands in its source."""
    admitted = admit("", (("1.2.9", "effusion " * 500),))
    assert len(admitted.lines[0].snippet.snippet) <= 300
    assert not unfaithful([admitted.lines[0].snippet], {"1.2.9": ["effusion " * 500]})


def test_markup_is_disarmed_and_compatibility_characters_are_folded() -> None:
    """What a model might take for a mark of its own is shown with other brackets."""
    assert plain("ﬁne <b>film</b> {x} [y] `z`\tw") == "fine (b)film(/b) (x) (y) 'z' w"


def test_a_turned_film_is_not_shown_to_the_model() -> None:
    """It knows upright films alone, and would take top for left."""
    assert "lies on its side" in film_refused(STUDY.noted(TURNED_FILM).analysis)
    assert not film_refused(STUDY.noted("low_contrast").analysis)


# (c) language


@pytest.mark.parametrize(
    "text",
    [
        GOOD_SENTENCE,
        "Suspected left pleural effusion with blunting of the costophrenic angle.",
        "Hazy opacity in the left lower zone, possible pleural effusion and a heart that may be enlarged.",
        "Left pleural effusion suspected, and a possible nodule in the right upper lobe.",
        "Limited by a rotated supine view and low lung volumes.",
    ],
)
def test_plain_words_of_suspicion_pass(text: str) -> None:
    """A description that suspects is what a model may say."""
    assert language(text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Possible left effusion, chest tube recommended.", "advice"),
        ("Possible left effusion, start antibiotics.", "advice"),
        ("Possible left effusion, follow-up suggested.", "advice"),
        ("The findings confirm left pleural effusion.", "diagnoses"),
        ("Definite left pleural effusion.", "diagnoses"),
        ("Possible mass, likely malignant.", "diagnoses"),
        ("Normal heart size.", "reassures"),
        ("The lungs are otherwise clear.", "reassures"),
        ("Possible effusion, unremarkable mediastinum.", "reassures"),
        ("Urgent review, possible left effusion.", "urgency"),
        ("Possible effusion, which can wait.", "urgency"),
        ("Possible tension pneumothorax.", "urgency"),
        ("You are shown a possible effusion.", "people, machines"),
        ("Possible effusion, probability 70 percent.", "percentage"),
        ("No pneumothorax.", "absent"),
        ("Possible left effusion without pneumothorax.", "absent"),
        ("Pneumothorax is not seen.", "absent"),
        ("Possible left effusion, pneumothorax ruled out.", "absent"),
        ("The former effusion has resolved.", "absent"),
        ("Left pleural effusion.", "more certain than the score of pleural effusion"),
        ("Likely pleural effusion and likely cardiomegaly.", "more certain than the score of cardiomegaly"),
        ("Highly suspicious nodule on the right.", "more certain than the score of nodule"),
        ("Moeglicher Erguss links an der Basis.", "plain English"),
        ("Possible xqzv brrt effusion plmk.", "plain English"),
        ("POSSIBLE LEFT EFFUSION WITH HAZY OPACITY.", "plain English"),
        ("Possible effusion in 20261122 film.", "a name, a number or a date"),
        ("Possible effusion since 3/4/2026.", "a name, a number or a date"),
    ],
)
def test_what_no_model_may_say_is_refused(text: str, fault: str) -> None:
    """Advice, diagnosis, comfort, urgency, absence, false certainty, other tongues, numbers: each with its reason."""
    assert any(fault in one for one in language(text)), language(text)


@pytest.mark.parametrize("name", ["Doe^Jane", "DOE^JANE^^DR", "Müller-Doe", "jane", "P1234", "A-77 Doe"])
def test_no_identifier_is_repeated(name: str) -> None:
    """Parts of names and numbers of the patient are found in whatever case they are written."""
    text = "Possible left effusion in Doe Jane müller-doe P1234."
    assert any("a name" in fault for fault in language(text, name))
    assert not any("a name" in fault for fault in language("Possible left effusion.", name))


def test_a_patient_who_is_called_like_an_organ_does_not_silence_the_model() -> None:
    """A name that is a word of every report gives nobody away."""
    assert language("Possible left pleural effusion with hazy opacity.", "Left^Base") == []


# What is asserted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("No pneumothorax.", [("pneumothorax", set(), True)]),
        ("No effusion, mass or pneumothorax.", [("pleural_effusion", set(), True), ("pneumothorax", set(), True)]),
        (
            "Effusion possible, but no pneumothorax.",
            [("pleural_effusion", set(), False), ("pneumothorax", set(), True)],
        ),
        ("Pneumothorax cannot be excluded on the right.", [("pneumothorax", {Side.RIGHT}, False)]),
        ("Bilateral effusions suspected.", [("pleural_effusion", {Side.LEFT, Side.RIGHT}, False)]),
        ("On the right, an effusion.", [("pleural_effusion", {Side.RIGHT}, False)]),
        ("Left and right effusions.", [("pleural_effusion", {Side.LEFT, Side.RIGHT}, False)]),
        ("Effusion left and nodule.", [("pleural_effusion", {Side.LEFT}, False)]),
        ("Left effusion, right nodule.", [("pleural_effusion", {Side.LEFT}, False), ("nodule", {Side.RIGHT}, False)]),
        ("The pneumothorax is gone.", [("pneumothorax", set(), True)]),
        ("Pericardial effusion.", []),
    ],
)
def test_a_sentence_is_read_with_its_negations_and_sides(text: str, found: list[tuple[str, set[Side], bool]]) -> None:
    """Each finding with the side of its clause, and whether it is said to be absent."""
    read = [(one.finding, set(one.sides), one.is_absent) for one in assertions_in(text)]
    assert [one for one in found if one not in read] == []
    assert len(read) >= len(found)
    assert has_absence(text) is any(absent for *_, absent in found)


def test_the_nearest_word_of_doubt_counts() -> None:
    """Of several words each finding has its own; without any it is stated."""
    read = {one.finding: one.strength for one in assertions_in("Probable effusion with a possible nodule.")}
    assert read == {"pleural_effusion": Strength.LIKELY, "nodule": Strength.DOUBTED}
    assert assertions_in("Left effusion.")[0].strength is Strength.STATED


# (d) consistency


def test_words_that_agree_with_the_scores_pass() -> None:
    """The named finding on its side, and one of the model's own."""
    assert consistency(GOOD_SENTENCE, statement(FindingType.PLEURAL_EFFUSION, Side.LEFT)) == []
    assert consistency("Probable left effusion and possible right nodule.") == []


@pytest.mark.parametrize(
    ("text", "statements", "fault"),
    [
        ("Probable right pleural effusion.", [], "another side"),
        ("Probable bilateral pleural effusions.", [], "another side"),
        (GOOD_SENTENCE, [statement(FindingType.PLEURAL_EFFUSION, Side.RIGHT)], "another side"),
        ("Possible enlarged heart.", [], "passes over pleural effusion"),
        ("Hazy opacity of the base.", [statement(FindingType.PLEURAL_EFFUSION)], "passes over pleural effusion"),
    ],
)
def test_words_against_the_scores_are_refused(text: str, statements: list[Statement], fault: str) -> None:
    """Another side, and silence on what flags the study."""
    assert any(fault in one for one in consistency(text, *statements))


def test_what_the_scores_do_not_bear_out_is_marked() -> None:
    """In the statements, and in the sentence behind the model's; also what only its sentence says."""
    statements = marked(
        [
            statement(FindingType.PLEURAL_EFFUSION, Side.LEFT, certainty=Certainty.PROBABLE),
            statement(FindingType.MASS, Side.RIGHT, certainty=Certainty.PROBABLE),
            statement(FindingType.CARDIOMEGALY, Side.LEFT, certainty=Certainty.UNCERTAIN),
        ],
        "Probable left effusion and a possible nodule on the right.",
        triage=STUDY.triage,
    )
    assert [(one.words, one.is_supported) for one in statements] == [
        ("Pleural effusion probable, left", True),
        ("Mass possible, right", False),
        ("Cardiomegaly uncertain", True),
        ("Nodule possible, right", False),
    ]
    assert own_findings_sentence(statements) == "Seen by the language model alone, not by the scores: mass and nodule."
    assert own_findings_sentence(statements[:1]) == ""


def test_a_quotation_stands_in_its_source_word_for_word() -> None:
    """Line breaks do not count; another word, another source and nothing at all do."""
    sources = {"1.2.9": ["Small left\npleural effusion. No mass."]}
    faithful = Snippet(source="1.2.9", snippet="Small left pleural effusion.")
    forged = [
        Snippet(source="1.2.9", snippet="Large left pleural effusion."),
        Snippet(source="1.2.8", snippet="Small left pleural effusion."),
        Snippet(source="1.2.9", snippet=""),
    ]
    assert unfaithful([faithful, *forged], sources) == forged


# (e) confirmation


def test_a_models_words_ask_for_confirmation_once() -> None:
    """The sentence stands at the end, however often it is asked for."""
    once = confirmable("Possible left effusion.")
    assert once == f"Possible left effusion. {CONFIRM}"
    assert confirmable(once) == once


def test_nothing_passes_that_does_not_say_who_wrote_it() -> None:
    """An explanation without its account is a fault and is not shown."""
    with pytest.raises(PermanentError, match="does not say who wrote it"):
        require_confirmation(STUDY.analysis)
