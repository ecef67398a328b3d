"""What a language model is taught: the product's own question, and an answer that all its safety layers accept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imaging.files import read_image_file
from imaging.radiograph import read_radiograph
from models.embedded.scorer import EmbeddedScorer
from models.evaluation.films import Box, Label
from models.fitting.films import Listed
from models.gates.scorer import GatedScorer
from models.medgemma.answer import read_answer
from models.medgemma.film import show_film
from models.medgemma.prompt import load_prompt
from models.training.lessons import Lesson, make_lessons
from models.training.simulated import plant_films
from worklist.account import Certainty
from worklist.finding import FindingType, Side

PROMPT = load_prompt()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 224 x 224 pixels, in which the shipped model names nothing."""
    return plant_films(tmp_path_factory.mktemp("site"), teaching=1, judging=0).parent / "films" / "000.png"


def lesson_of(film: Path, report: str = "", boxes: tuple[Box, ...] = (), **truth: bool) -> Lesson | str:
    """The lesson of a film with these labels, or why there is none."""
    label = Label(file="000.png", truth=truth, patient="P0", groups={}, boxes=boxes, foreign_boxes=0)
    listed = Listed(file=film, label=label, patient="P0", judges=False)
    scorer = GatedScorer(EmbeddedScorer())
    analysis = scorer.score(read_radiograph(read_image_file(film)))
    analysis = replace(analysis, findings=tuple(replace(each, probability=0.01) for each in analysis.findings))
    (made,) = make_lessons([listed], [analysis], {"000.png": report}, scorer, PROMPT)
    return made


def test_a_lesson_is_the_products_question_and_an_answer_of_its_schema(film: Path) -> None:
    """A label with its box gives a statement with side and box, which the product reads back as it was drawn."""
    box = Box(x=20, y=100, w=60, h=50, target="pneumonia")
    made = lesson_of(film, boxes=(box,), pneumonia=True, urgent=True)
    assert isinstance(made, Lesson), made
    assert made.question.system == PROMPT.system
    assert made.question.text == PROMPT.question(scores=[], data=[], has_prior_film=False)
    assert made.asked().images[0].size == (896, 896)
    answer = read_answer(made.answer, PROMPT, show_film(made.radiograph()))
    assert answer.explanation == "Possible right pneumonia on this film."
    (statement,) = answer.statements
    assert (statement.type, statement.sides, statement.certainty) == (
        FindingType.PNEUMONIA,
        (Side.RIGHT,),
        Certainty.POSSIBLE,
    )
    assert statement.region
    assert statement.region.x == pytest.approx(20, abs=1)
    assert statement.region.y == pytest.approx(100, abs=1)


def test_a_radiologists_sentence_is_taught_where_the_layers_accept_it(film: Path) -> None:
    """As a suspicion, where it asserts what the label says; one that they refuse gives way to a plain sentence."""
    made = lesson_of(film, "Heart normal. Consolidation in the left lower lobe.", consolidation=True)
    assert isinstance(made, Lesson), made
    assert '"explanation":"Suspected consolidation in the left lower lobe."' in made.answer
    assert '"side":"left"' in made.answer
    treated = lesson_of(film, "Left consolidation, start antibiotics today.", consolidation=True)
    assert isinstance(treated, Lesson), treated
    assert '"explanation":"Possible left consolidation on this film."' in treated.answer


def test_no_lesson_says_that_a_film_is_normal(film: Path) -> None:
    """Of a film without any finding the answer names none, and reassures of nothing."""
    made = lesson_of(film, "Normal chest.", pneumonia=False, urgent=False)
    assert isinstance(made, Lesson), made
    assert '"explanation":"Heart and lungs as shown on this frontal chest film."' in made.answer
    assert '"statements":[]' in made.answer
