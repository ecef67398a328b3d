"""Scores of two films beside each other: what is called a change, what is not, and what is never said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sr_films import EFFUSION, PNEUMOTHORAX, POLICY, analysis
from worklist.account import Change
from worklist.comparison import (
    ComparedFinding,
    PriorComparison,
    change_of,
    compare,
    comparison_of_json,
    comparison_to_json,
    day_in_words,
)
from worklist.finding import Finding, FindingType
from worklist.records.documents import analysis_of_document, analysis_to_document
from worklist.same_patient import PatientFacts, disagreement
from worklist.triage import assess

JANE = PatientFacts(issuer="", name="Roe^Jane", birth_date="19500203", sex="F")
SHOWN = {FindingType.PLEURAL_EFFUSION.key}


def effusion(probability: float) -> Finding:
    """An effusion whose operating point is one half."""
    return replace(EFFUSION, probability=probability, threshold=0.5)


@pytest.mark.parametrize(
    ("then", "now", "change"),
    [
        (0.12, 0.71, Change.NEW),
        (0.55, 0.95, Change.WORSENED),
        (0.95, 0.4, Change.IMPROVED),
        (0.45, 0.55, Change.STABLE),  # within the noise
        (0.30, 0.69, Change.STABLE),  # across the operating point, still within it
        (0.93, 0.995, Change.STABLE),  # large odds, too small to see
        (0.01, 0.3, Change.STABLE),  # never near the operating point
        (0.0, 1.0, Change.NEW),
        (1.0, 0.0, Change.IMPROVED),
        (0.5, 0.5, Change.STABLE),
    ],
)
def test_only_what_exceeds_the_noise_is_a_change(then: float, now: float, change: Change) -> None:
    """A change is clear in odds, large enough to see, and reaches the operating point on one of the films."""
    assert change_of(then, effusion(now)) is change


def test_the_words_name_both_scores_and_exclude_nothing() -> None:
    """Each line tells both numbers and the day; a score that fell says that it excludes nothing."""
    fell = ComparedFinding(type=FindingType.PLEURAL_EFFUSION, then=0.95, now=0.12, change=Change.IMPROVED)
    assert fell.words("20260303") == (
        "Pleural effusion: 0.95 on 3 March 2026, 0.12 now, improved by the score, not excluded"
    )
    rose = replace(fell, then=0.12, now=0.71, change=Change.NEW)
    assert rose.words("20260303") == "Pleural effusion: 0.12 on 3 March 2026, 0.71 now, new by the score"


def test_only_findings_that_may_be_shown_are_told() -> None:
    """A score that is not better than chance is compared for machines, and told to nobody."""
    now = analysis(replace(PNEUMOTHORAX, probability=0.9, threshold=0.5), effusion(0.71))
    then = analysis(replace(PNEUMOTHORAX, probability=0.01), effusion(0.12))
    found = PriorComparison(study_instance_uid="1.2", study_date="20260303", compared=compare(now, then))
    assert len(found.compared) == 2
    assert found.lines(SHOWN) == ("Pleural effusion: 0.12 on 3 March 2026, 0.71 now, new by the score.",)
    assert found.summary(SHOWN) == (
        "Compared with the film of 3 March 2026: pleural effusion 0.12 then, 0.71 now, new by the score."
    )
    assert found.summary(set()) == ""


def test_where_nothing_changed_clearly_that_is_all_that_is_said() -> None:
    """It is no statement on the patient."""
    found = PriorComparison(study_date="20260303", compared=compare(analysis(effusion(0.5)), analysis(effusion(0.45))))
    assert found.summary(SHOWN) == "Compared with the film of 3 March 2026, no score shown has clearly changed."


def test_scores_of_two_models_are_not_compared() -> None:
    """Their numbers mean different things."""
    now = analysis(effusion(0.7))
    with pytest.raises(ValueError, match="two models"):
        compare(now, replace(now, scorer=replace(now.scorer, sha256="0" * 64)))


def test_nothing_of_a_study_that_clashes_can_be_told() -> None:
    """There is no value that holds a clash and something of the study."""
    with pytest.raises(ValueError, match="nothing of a study that clashes"):
        PriorComparison(clash="it states another name", study_instance_uid="1.2")


def test_a_comparison_survives_as_a_document() -> None:
    """It is kept with its Analysis to the last bit; an Analysis of an earlier version has none."""
    now = analysis(effusion(1 / 3))
    kept = replace(
        now,
        prior=PriorComparison(
            study_instance_uid="1.2", study_date="20260303", film=now.image, compared=compare(now, now)
        ),
    )
    assert analysis_of_document(analysis_to_document(kept)) == kept
    assert now.prior is None
    assert analysis_of_document(analysis_to_document(now)) == now
    clash = PriorComparison(clash="it states another name")
    assert comparison_of_json(comparison_to_json(clash)) == clash


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (JANE, ""),
        (replace(JANE, name="ROE^JANE^MARY^DR^PHD"), ""),
        (replace(JANE, name="Röe^Jane"), ""),
        (replace(JANE, issuer="HOSPITAL A"), ""),
        (replace(JANE, sex=""), ""),
        (replace(JANE, sex="O"), ""),
        (replace(JANE, name="Roe^John"), "it states another name"),
        (replace(JANE, name="Roe"), "it states another name"),
        (replace(JANE, name="^^"), "one of the two states no name"),
        (replace(JANE, birth_date="19500204"), "it states another birth date"),
        (replace(JANE, birth_date=""), "one of the two states no birth date"),
        (replace(JANE, sex="M"), "it states another sex"),
    ],
)
def test_the_same_patient_states_the_same_name_and_birth_date(other: PatientFacts, why: str) -> None:
    """Spelling that changes nothing agrees; what is missing or differs does not."""
    assert disagreement(JANE, other) == why


def test_another_issuer_is_another_patient() -> None:
    """Two hospitals count their patients alike."""
    one, other = replace(JANE, issuer="A"), replace(JANE, issuer="B")
    assert disagreement(one, other) == "it states another issuer of the Patient ID"


def test_names_in_another_script_agree_by_one_of_their_groups() -> None:
    """A name with an ideographic group is the same as one that has that group alone."""
    japanese = replace(JANE, name="Yamada^Tarou=山田^太郎")
    assert disagreement(japanese, replace(JANE, name="=山田^太郎")) == ""


def test_a_day_reads_as_people_write_it() -> None:
    """Without a leading zero."""
    assert day_in_words("20260303") == "3 March 2026"


def test_a_comparison_never_moves_a_study() -> None:
    """The triage of an Analysis is the same with and without what changed."""
    now = analysis(effusion(0.71))
    compared = replace(
        now,
        prior=PriorComparison(study_date="20260303", compared=compare(now, replace(now, findings=(effusion(0.01),)))),
    )
    assert assess(now, POLICY) == assess(compared, POLICY)
