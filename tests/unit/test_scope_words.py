"""Descriptions in the languages of hospitals: what each says of part, view, side, exposure and patient."""

from __future__ import annotations

import pytest

from tests.unit.test_scope import refusal
from worklist.scope_words import LANGUAGES

# By language: a frontal film of one side, one from the side, one of a patient who lies, another part, a child's.
DESCRIPTIONS = {
    "English": ("Chest PA left", "Chest lateral", "Chest supine dorsal decubitus", "Right knee", "Chest newborn"),
    "Spanish": ("Tórax PA derecho", "Tórax de perfil", "Tórax en decúbito supino", "Rodilla derecha", "Tórax niño"),
    "Portuguese": ("Tórax PA direito", "Tórax em perfil", "Tórax em decúbito dorsal", "Joelho", "Tórax criança"),
    "French": ("Thorax de face droit", "Thorax profil", "Thorax décubitus dorsal", "Épaule gauche", "Thorax enfant"),
    "Italian": ("Torace PA destro", "Torace latero-laterale", "Torace a letto", "Ginocchio sinistro", "Torace neonato"),
    "German": ("Thorax p.a. rechts", "Thorax seitlich", "Thorax im Liegen", "Schädel", "Thorax Säugling"),
    "Dutch": ("Borstkas links", "Thorax zijdelings", "Thorax liggend", "Schouder links", "Thorax zuigeling"),
    "Polish": ("Klatka piersiowa prawa", "Klatka piersiowa boczne", "Płuca na leżąco", "Miednica", "Płuca dziecko"),
    "Czech": ("Hrudník vpravo", "Plíce bočná", "Plíce vleže", "Pánev", "Plíce dítě"),
    "Russian": ("ОГК прямая справа", "Лёгкие, боковая", "ОГК лёжа", "Коленный сустав", "ОГК, ребёнок"),
    "Turkish": ("Akciğer PA sağ", "Akciğer yan", "Akciğer yatarak", "Omuz sol", "Akciğer çocuk"),
    "Chinese": ("胸部正位 右", "胸部侧位", "胸部卧位", "左膝", "胸部 新生儿"),
    "Japanese": ("胸部正面 右", "胸部側面", "胸部臥位", "左膝", "胸部 小児"),
    "Korean": ("흉부 정면 우측", "흉부 측면", "흉부 앙와위", "무릎", "흉부 소아"),
    "Arabic": ("صدر أمامي يمين", "صدر جانبي", "صدر استلقاء", "الركبة", "صدر طفل"),
    "Swedish": ("Lungor höger", "Lungor från sidan", "Lungor liggande", "Bäcken", "Lungor spädbarn"),
    "Norwegian": ("Brystkasse høyre", "Lunger sidebilde", "Lunger liggende", "Skulder", "Lunger spedbarn"),
    "Danish": ("Brystkasse højre", "Lunger sideoptagelse", "Lunger liggende", "Bækken", "Lunger spædbarn"),
    "Finnish": ("Keuhkot oikea", "Keuhkot sivukuva", "Keuhkot makuuasennossa", "Lantio", "Keuhkot vauva"),
    "Hungarian": ("Mellkas jobb", "Mellkas oldalirányú", "Mellkas fekve", "Térd", "Mellkas újszülött"),
    "Vietnamese": ("Ngực thẳng phải", "Ngực nghiêng", "Ngực tư thế nằm", "Khớp gối", "Ngực trẻ sơ sinh"),
}


def test_every_language_is_tested() -> None:
    """A row of the table has a row here."""
    assert {language.name for language in LANGUAGES} == set(DESCRIPTIONS)


@pytest.mark.parametrize("language", DESCRIPTIONS)
def test_a_description_is_understood(language: str) -> None:
    """A side is no view, lying is no side, and a word for a child counts where no age says otherwise."""
    frontal, lateral, lying, other, child = DESCRIPTIONS[language]
    assert refusal(SeriesDescription=frontal) is None
    assert refusal(SeriesDescription=lateral) == "lateral_view"
    assert refusal(SeriesDescription=lying) is None
    assert refusal(SeriesDescription=other) == "not_chest"
    assert refusal(SeriesDescription=child) == "child"
    assert refusal(SeriesDescription=child, PatientAge="071Y") is None


def test_two_signs_of_a_child_outweigh_one_age() -> None:
    """Where age and birth date disagree the description decides; without one the film is taken for an adult's."""
    ages = {"PatientAge": "005Y", "PatientBirthDate": "19600101", "StudyDate": "20260101"}
    assert refusal(**ages, SeriesDescription="Chest AP") is None
    assert refusal(**ages, SeriesDescription="Chest AP pediatric") == "child"


@pytest.mark.parametrize(("kind", "code"), [("DRW", "derived_image"), ("SYN", "derived_image"), ("WSD", None)])
def test_what_was_drawn_or_computed_is_no_film(kind: str, code: str | None) -> None:
    """By its Conversion Type; a film that a workstation sent on is one."""
    secondary = "1.2.840.10008.5.1.4.1.1.7"
    assert refusal(SOPClassUID=secondary, Modality="OT", BodyPartExamined="CHEST", ConversionType=kind) == code
