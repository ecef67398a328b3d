"""The template explainer: what it says, what it never says, and what it quotes."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.radiograph import MIRRORED_FILM, Radiograph
from models import Explainer
from models.template import TemplateExplainer, quote
from worklist.errors import InvalidInput
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)

IMAGE = ImageReference(
    study_instance_uid="1.2.1",
    series_instance_uid="1.2.2",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    sop_instance_uid="1.2.3",
    rows=80,
    columns=80,
)
FILM = Radiograph(image=IMAGE, pixels=np.zeros((80, 80), np.float32))
SCORER = Algorithm(name="test", version="1", sha256="0" * 64, device_uid="2.25.1")


def analysis_of(
    *findings: Finding, score: float = 0.2, threshold: float = 0.5, quality: tuple[QualityNote, ...] = ()
) -> Analysis:
    """An analysis with these findings, and the other types as negative ones."""
    named = {finding.type for finding in findings}
    rest = [Finding(type=type_, probability=0.1, threshold=0.5) for type_ in FindingType if type_ not in named]
    return Analysis(
        image=IMAGE,
        scorer=SCORER,
        findings=tuple(sorted([*findings, *rest], key=lambda finding: -finding.probability)),
        score=score,
        threshold=threshold,
        completed_at=datetime(2026, 11, 22, tzinfo=UTC),
        elapsed_ms=1.0,
        quality=quality,
    )


def positive(type_: FindingType, probability: float, side: Side | None = None) -> Finding:
    """A finding above its threshold."""
    return Finding(
        type=type_,
        probability=probability,
        threshold=0.3,
        side=side,
        region=Region(x=1, y=1, width=5, height=5) if side else None,
    )


def words(analysis: Analysis, *prior_reports: tuple[str, str]) -> str:
    """The explanation of an analysis."""
    return TemplateExplainer().explain(analysis, FILM, prior_reports).explanation


def test_one_finding_is_named_with_side_and_percent() -> None:
    """The leading finding comes with the patient's side and its probability."""
    analysis = analysis_of(positive(FindingType.PNEUMOTHORAX, 0.874, Side.LEFT))
    assert words(analysis) == "Possible pneumothorax on the patient's left (87%)."


def test_other_findings_follow_the_leading_one() -> None:
    """Every finding above its threshold is named, most probable first, and none below."""
    analysis = analysis_of(
        positive(FindingType.CONSOLIDATION, 0.41),
        positive(FindingType.PLEURAL_EFFUSION, 0.62, Side.RIGHT),
        positive(FindingType.CARDIOMEGALY, 0.5),
    )
    assert words(analysis) == (
        "Possible pleural effusion on the patient's right (62%); "
        "also above threshold: cardiomegaly (50%) and consolidation (41%)."
    )


def test_no_finding_is_no_negative_report() -> None:
    """Without a positive finding the text says what was looked for, and that this is no negative report."""
    assert words(analysis_of()) == (
        "None of the 6 findings looked for reaches its threshold. This is not a negative report."
    )


def test_an_urgent_film_without_a_finding_says_why() -> None:
    """A film that is urgent as a whole but has no single positive finding is explained as just that."""
    text = words(analysis_of(Finding(type=FindingType.PNEUMONIA, probability=0.45, threshold=0.5), score=0.7))
    assert "by itself" in text
    assert "urgent film likely (70%)" in text
    assert "pneumonia (45%)" in text


def test_certainty_is_never_claimed() -> None:
    """Probabilities that would round to all or nothing are given as bounds."""
    assert "(over 99%)" in words(analysis_of(positive(FindingType.PNEUMONIA, 0.997)))
    rare = Finding(type=FindingType.PULMONARY_EDEMA, probability=0.007, threshold=0.005)
    nothing_else = [
        Finding(type=type_, probability=0.001, threshold=0.5) for type_ in FindingType if type_ != rare.type
    ]
    assert words(analysis_of(rare, *nothing_else)) == "Possible pulmonary edema (under 1%)."


@pytest.mark.parametrize("type_", FindingType)
def test_a_poor_film_has_an_alternative_reading(type_: FindingType) -> None:
    """On a film of low quality, the reason and another reading of the leading finding are added."""
    note = QualityNote(code="low_resolution", message="The film has only 300 x 300 pixels.")
    text = words(analysis_of(positive(type_, 0.8), quality=(note,)))
    assert "Film quality limits this: the film has only 300 x 300 pixels; " in text
    assert text.endswith(" can look the same.")


def test_a_poor_film_without_findings_is_qualified() -> None:
    """On a film of low quality, the absence of findings is qualified too."""
    note = QualityNote(code="low_contrast", message="The film shows hardly any contrast.")
    assert words(analysis_of(quality=(note,))).endswith(
        "This is not a negative report. Film quality limits this: the film shows hardly any contrast."
    )


def test_a_mirrored_film_has_no_other_reading() -> None:
    """Orientation is told, but does not make a finding look like another."""
    note = QualityNote(code=MIRRORED_FILM, message="The film is mirrored.")
    text = words(analysis_of(positive(FindingType.PNEUMOTHORAX, 0.8), quality=(note,)))
    assert text.endswith("limits this: the film is mirrored.")


@given(
    probabilities=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    thresholds=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    score=st.floats(0, 1),
    poor=st.sampled_from([(), ("low_contrast",), ("low_contrast", MIRRORED_FILM)]),
)
def test_no_text_calls_a_film_normal(
    probabilities: list[float], thresholds: list[float], score: float, poor: tuple[str, ...]
) -> None:
    """Whatever the numbers, the text is one or two whole sentences, or three with the disclaimer, never "normal"."""
    findings = [
        Finding(type=type_, probability=probability, threshold=threshold)
        for type_, probability, threshold in zip(FindingType, probabilities, thresholds, strict=True)
    ]
    notes = tuple(QualityNote(code=code, message="The film is poor.") for code in poor)
    text = words(analysis_of(*findings, score=score, quality=notes))
    assert text.endswith(".")
    assert "{" not in text
    assert text.count(". ") <= 2
    assert not any(word in text.lower() for word in ("normal", "diagnos", "negative for", "clear", "unremarkable"))


def test_the_analysis_keeps_its_numbers() -> None:
    """An explanation adds words and provenance and changes nothing else."""
    analysis = analysis_of(positive(FindingType.PNEUMONIA, 0.8))
    explainer: Explainer = TemplateExplainer()
    explained = explainer.explain(analysis, FILM)
    assert explained.explainer == explainer.algorithm
    assert explained.prompt_version == "template-en-1"
    assert explained.findings == analysis.findings
    assert len(explainer.algorithm.sha256) == 64
    assert explainer.algorithm.device_uid.startswith("2.25.")


def test_an_unknown_language_is_refused() -> None:
    """A language without texts is refused, naming those there are."""
    with pytest.raises(InvalidInput, match="there are: en") as refused:
        TemplateExplainer("tlh")
    assert refused.value.code == "unknown_language"


@pytest.mark.parametrize(
    "sentence",
    [
        "No PTX.",
        "Tiny apical pneumothorax, unchanged.",
        "Bilateral effusions have grown.",
        "Blunting of the left costophrenic angle.",
        "Patchy airspace opacities in the right base.",
        "Infiltrate in the lingula.",
        "Findings suggest bronchopneumonia.",
        "Enlarged heart.",
        "The heart is mildly enlarged.",
        "Heart size is enlarged.",
        "The cardiomediastinal silhouette is stable and enlarged.",
        "Mild pulmonary oedema.",
        "No vascular congestion.",
        "No evidence of consolidation or effusion.",
    ],
)
def test_sentences_on_a_finding_are_quoted(sentence: str) -> None:
    """Each way to write of a finding is recognized, negated or not, and quoted as it stands."""
    assert quote((("1.2.3", f"Comparison to prior. {sentence} Lines in place."),)) == (
        Snippet(source="1.2.3", snippet=sentence),
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "Small pericardial effusion.",
        "Knee joint effusion.",
        "Subcutaneous edema of the chest wall.",
        "Heart size is within usual limits.",
        "The cartptx catheter ends in the vein.",
        "Port-a-cath in place.",
        "",
    ],
)
def test_other_sentences_are_not_quoted(sentence: str) -> None:
    """Effusions and edema of other places, and words that merely contain a term, are none of ours."""
    assert quote((("1.2.3", sentence),)) == ()


def test_hard_wrapped_reports_give_whole_sentences() -> None:
    """A sentence that a printer broke over lines is one sentence; a heading or list item starts another."""
    report = (
        "FINDINGS:\nThere is a small left\n  pleural effusion.\n1. No pneumothorax\n- Lungs expanded\nImpression: same"
    )
    assert [snippet.snippet for snippet in quote((("a", report),))] == [
        "There is a small left pleural effusion.",
        "No pneumothorax",
    ]


def test_at_most_three_sentences_are_quoted_the_relevant_first() -> None:
    """Sentences on what was found now come first, then newer reports before older ones; none twice."""
    reports = (
        ("newer", "No consolidation. Cardiomegaly. No consolidation."),
        ("older", "Left pneumothorax drained. Pneumonia cleared."),
    )
    analysis = analysis_of(positive(FindingType.PNEUMOTHORAX, 0.9))
    assert TemplateExplainer().explain(analysis, FILM, reports).snippets == (
        Snippet(source="older", snippet="Left pneumothorax drained."),
        Snippet(source="newer", snippet="No consolidation."),
        Snippet(source="newer", snippet="Cardiomegaly."),
    )


@given(text=st.text(max_size=300))
def test_any_text_can_be_searched(text: str) -> None:
    """Whatever a report holds, quoting ends, with sentences that occur in it."""
    flat = " ".join(text.split())
    assert all(snippet.snippet in flat for snippet in quote((("1.2.3", text),)))
