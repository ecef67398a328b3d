"""The steps by which a result comes about: what they keep, and that one that fails costs its own contribution only."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from imaging.geometry import SquareGeometry
from imaging.radiograph import Radiograph
from imaging.simulated.phantom import simulate_film
from models.context import StudyContext
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import Checked, GatedScorer, Gates
from models.regions import localize
from models.steps import Steps
from models.template import TemplateExplainer
from tests.language_films import GOOD_SENTENCE, LanguageStudy, explainer_at
from tests.language_servers import answer_json, scripted
from tests.servers import free_ports
from tests.sr_films import POLICY
from worklist.errors import OutOfScope, PacsUnavailable
from worklist.finding import Analysis, Finding, FindingType, ImageReference, merge
from worklist.step import Step, StepName, StepVerdict, step_of_json, step_to_json
from worklist.triage import assess

STUDY = LanguageStudy()
GOOD = answer_json(GOOD_SENTENCE)
BAD = answer_json("Normal film without findings.")
EFFUSION = Finding(type=FindingType.PLEURAL_EFFUSION, probability=0.9, threshold=0.5)
EDEMA = Finding(type=FindingType.PULMONARY_EDEMA, probability=0.1, threshold=0.5)

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).filter(
    lambda text: any(letter.isprintable() and not letter.isspace() for letter in text)
)


CHEST = (simulate_film(2, finding=None, rows=300, columns=256) / 4095).astype(np.float32)


def an_image(pixels: npt.NDArray[np.float32] = CHEST, *, number: int = 1) -> Radiograph:
    """A frontal chest film, or other pixels."""
    image = ImageReference(
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        sop_instance_uid=f"1.2.3.{number}",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
    )
    return Radiograph(image=image, pixels=pixels, quality=())


def verdicts(analysis: Analysis) -> dict[str, str]:
    """How each step of an analysis ended."""
    return {step.name.value: step.verdict.value for step in analysis.steps}


def output(analysis: Analysis, name: StepName) -> str:
    """What a step says that it contributed."""
    (found,) = (step.output for step in analysis.steps if step.name is name)
    return found


@settings(deadline=None)
@given(st.sampled_from(StepName), st.sampled_from(StepVerdict), st.floats(0, 1e9), WORDS, WORDS)
def test_a_step_survives_as_a_line_and_as_json(
    name: StepName, verdict: StepVerdict, elapsed_ms: float, given_words: str, output_words: str
) -> None:
    """A report holds it as a line and a document as JSON, and both give it back exactly."""
    step = Step(name=name, verdict=verdict, elapsed_ms=elapsed_ms, input=given_words, output=output_words)
    assert Step.of_line(step.line) == step
    assert step_of_json(json.loads(json.dumps(step_to_json(step) | {"of_a_later_version": 1}))) == step


@pytest.mark.parametrize("line", ["", "score", "score, done in 2 ms: a film", "glance, done in 2 ms: a => b"])
def test_a_line_that_is_no_step_is_refused(line: str) -> None:
    """A damaged report is not read as one that took other steps."""
    with pytest.raises(ValueError, match=r"step|is not a valid"):
        Step.of_line(line)


def test_time_is_that_of_a_clock_that_only_rises() -> None:
    """A step takes what passes between its beginning and its end, and one that is left out takes none."""
    now_s = iter([5.0, 5.0214, 9.0, 9.5])
    steps = Steps(clock=lambda: next(now_s))
    with steps.step(StepName.SCORE, "a film") as outcome:
        outcome.end("score 0.5")
    with steps.step(StepName.COMPARE, "nothing") as outcome:
        outcome.end("nothing to compare with", StepVerdict.LEFT_OUT)
    assert [step.elapsed_ms for step in steps.taken] == [21.4, 0.0]


def test_what_fails_in_a_step_is_told_without_what_it_worked_on() -> None:
    """A fault of our own gives its one line, any other its kind alone: its message may quote the patient."""
    steps, patient = Steps(), "Doe^Jane"
    with capture_logs() as logs:
        with steps.step(StepName.PRIORS, "Patient ID"):
            raise PacsUnavailable("pacs_away", "Orthanc does not answer: start it")
        with steps.step(StepName.COMPARE, "a report"):
            raise KeyError(patient)
    assert [(step.verdict, step.output) for step in steps.taken] == [
        (StepVerdict.FAILED, "Orthanc does not answer: start it"),
        (StepVerdict.FAILED, "unexpected KeyError: see the worker's log"),
    ]
    assert "Doe" not in json.dumps(logs)


# ---- Scope, score, localize ----


def test_a_scored_film_tells_its_steps() -> None:
    """Scope, score and localize, each with what went in and what came out."""
    analysis = GatedScorer(EmbeddedScorer()).score(an_image())
    assert [step.name for step in analysis.steps] == [StepName.SCOPE, StepName.SCORE, StepName.LOCALIZE]
    assert analysis.steps[1].input == "an image of 256 x 300 pixels"
    assert analysis.steps[1].output.endswith(f"of {len(analysis.findings)} findings at the threshold")


def test_a_gate_that_breaks_costs_the_gate_alone() -> None:
    """The film is scored as it is, and both note and step say that nobody checked what it shows."""

    class Broken(Gates):
        def check(self, radiograph: Radiograph) -> Checked:
            raise MemoryError(radiograph.image.sop_instance_uid)

    whole, broken = (GatedScorer(EmbeddedScorer(), gates).score(an_image()) for gates in (Gates(), Broken()))
    assert (broken.findings, broken.score) == (whole.findings, whole.score)
    assert verdicts(broken)["scope"] == StepVerdict.FAILED
    assert "scope_not_checked" in {note.code for note in broken.quality}
    assert "scope_not_checked" not in {note.code for note in whole.quality}


def test_a_gate_that_refuses_still_refuses() -> None:
    """What is no chest film gets no score, whatever the steps are for."""
    noise = np.random.default_rng(3).random((300, 256), dtype=np.float32)
    with pytest.raises(OutOfScope):
        GatedScorer(EmbeddedScorer()).score(an_image(noise))


def _raises(_: Finding) -> npt.NDArray[np.float32]:
    raise RuntimeError


@pytest.mark.parametrize(
    ("evidence_of", "verdict"),
    [
        (lambda _: None, StepVerdict.NOTHING),
        (lambda _: np.zeros((16, 16), np.float32), StepVerdict.NOTHING),
        (lambda _: np.full((16, 16), np.nan, np.float32), StepVerdict.FAILED),
        (_raises, StepVerdict.FAILED),
    ],
)
def test_a_scorer_without_regions_keeps_its_findings(
    evidence_of: Callable[[Finding], npt.NDArray[np.float32] | None], verdict: StepVerdict
) -> None:
    """No map of evidence, an even one, a broken one or none that can be made: the findings stay, without boxes."""
    steps, geometry = Steps(), SquareGeometry(rows=300, columns=256, size_px=64)
    found = localize((EFFUSION, EDEMA), evidence_of, geometry, radiograph=an_image(), steps=steps)
    assert found == (EFFUSION, EDEMA)
    assert [step.verdict for step in steps.taken] == [verdict]


def test_several_images_tell_their_steps_one_after_the_other() -> None:
    """Each step says of which image it is, as the list and the panel number them."""
    scorer = GatedScorer(EmbeddedScorer())
    study = merge([scorer.score(an_image(number=1)), scorer.score(an_image(number=2))])
    assert [step.name for step in study.steps] == [
        name for name in (StepName.SCOPE, StepName.SCORE, StepName.LOCALIZE) for _ in range(2)
    ]
    assert [step.input.partition(":")[0] for step in study.steps] == ["image 1", "image 2"] * 3


# ---- Explain, check ----


def test_the_template_has_nothing_to_check() -> None:
    """Its sentences are fixed: that is said, not passed over."""
    scored = GatedScorer(EmbeddedScorer()).score(an_image())
    explained = TemplateExplainer().explain(scored, assess(scored, POLICY), lambda _: an_image())
    assert verdicts(explained) == verdicts(scored) | {"explain": "done", "check": "left out"}


def test_a_good_answer_is_explained_and_checked() -> None:
    """The check tells each layer's verdict."""
    with scripted(GOOD) as server:
        found = STUDY.explained(explainer_at(server.url))
    assert verdicts(found) == {"explain": "done", "check": "done"}
    assert output(found, StepName.CHECK) == (
        "attempt 1: input gate passed, schema and token limit passed, language passed, consistency passed, disclaimer "
        "and confirmation passed"
    )


def test_a_dead_explainer_costs_its_words_alone() -> None:
    """The template's words stand in, the step says in whose place and why, and nothing was there to check."""
    found = STUDY.explained(explainer_at(f"http://127.0.0.1:{free_ports(1)[0]}"))
    assert verdicts(found) == {"explain": "failed", "check": "left out"}
    assert "does not answer" in output(found, StepName.EXPLAIN)
    assert found.explanation == "Pleural effusion likely, left; Cardiomegaly possible."
    assert (found.findings, found.score) == (STUDY.analysis.findings, STUDY.analysis.score)


def test_a_check_that_refuses_costs_the_words_that_it_refuses() -> None:
    """Refused twice, the template's words stand in; findings and scores stay."""
    with scripted(BAD) as server:
        found = STUDY.explained(explainer_at(server.url))
    assert verdicts(found) == {"explain": "refused", "check": "refused"}
    assert found.explanation == "Pleural effusion likely, left; Cardiomegaly possible."
    assert found.findings == STUDY.analysis.findings


def test_a_check_that_breaks_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer with a fault of its own counts as one that did not pass: the template's words stand in."""
    monkeypatch.setattr("models.medgemma.explainer.faults_of_language", _raises)
    with scripted(GOOD) as server:
        found = STUDY.explained(explainer_at(server.url))
    assert verdicts(found) == {"explain": "failed", "check": "failed"}
    assert "in the safety layers" in output(found, StepName.EXPLAIN)
    assert found.explanation == "Pleural effusion likely, left; Cardiomegaly possible."


def test_a_model_that_is_not_to_be_asked_is_left_out() -> None:
    """The step says why, such as that the model was busy."""
    found = STUDY.explained(explainer_at("http://127.0.0.1:1"), StudyContext(skip="the model was busy"))
    assert verdicts(found) == {"explain": "left out", "check": "left out"}
    assert output(found, StepName.EXPLAIN).endswith("the model was busy")
