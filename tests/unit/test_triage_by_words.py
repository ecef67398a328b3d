"""What a language model's statements may do to a study's place, where a site allows it and where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.parse import parse
from models.context import StudyContext
from tests.language_films import GOOD_SENTENCE, LanguageStudy, explainer_at
from tests.language_servers import answer_json, scripted
from tests.records import HOUR, NOON, policy, scorer_card
from tests.sr_films import CARDIOMEGALY, CONSOLIDATION, POLICY, analysis, build, sentences, stored
from worklist.account import Account, Certainty, Statement
from worklist.finding import Analysis, FindingType
from worklist.order import OrderPriority
from worklist.triage import Grounds, SiteChoices, TriagePolicy, Urgency, assess, queue_at

MakeAnalysis = Callable[..., Analysis]

RANK = {Urgency.NONE: 0, Urgency.URGENT: 1, Urgency.CRITICAL: 2}
KINDS = tuple(card.type for card in scorer_card().findings)
MAY, MAY_NOT = SiteChoices(language_model_may_raise=True), SiteChoices()
FINDINGS = st.dictionaries(st.sampled_from(KINDS), st.floats(0, 1))
STATED = st.lists(st.sampled_from(KINDS), max_size=4)
FLAG_FROM = st.floats(0.01, 0.99)


def in_words(found: Analysis, *kinds: FindingType, saw_film_alone: bool = True) -> Analysis:
    """An Analysis with a language model's statements beside it."""
    account = Account(
        explained_at=NOON,
        statements=tuple(Statement(type=kind, certainty=Certainty.POSSIBLE) for kind in kinds),
        saw_film_alone=saw_film_alone,
    )
    return replace(found, account=account)


def rule(flag_from: float, site: SiteChoices) -> TriagePolicy:
    """A policy by which a pneumothorax from 0.9 is critical."""
    return policy(scorer_card(flag_from=flag_from, pneumothorax=0.9), site)


@settings(deadline=None)
@given(FINDINGS, STATED, FLAG_FROM)
def test_no_words_move_a_study_unless_the_site_allows_it(
    make_analysis: MakeAnalysis, findings: dict[FindingType, float], stated: list[FindingType], flag_from: float
) -> None:
    """By default the triage is the scorer's to the last bit."""
    found, by = make_analysis(0.5, findings), rule(flag_from, MAY_NOT)
    assert assess(in_words(found, *stated), by, Grounds(stated=frozenset(kind.key for kind in stated))) == assess(
        found, by
    )


@settings(deadline=None)
@given(FINDINGS, STATED, STATED, FLAG_FROM)
def test_words_only_raise_and_no_further_than_the_least_flag(
    make_analysis: MakeAnalysis,
    findings: dict[FindingType, float],
    stated: list[FindingType],
    more: list[FindingType],
    flag_from: float,
) -> None:
    """Class and place stay or rise, never to critical, never beyond the least head start; more words never lower."""
    found, by = make_analysis(0.5, findings), rule(flag_from, MAY)
    bare, worded, wordier = (assess(in_words(found, *kinds), by) for kinds in ((), stated, [*stated, *more]))
    assert RANK[wordier.urgency] >= RANK[worded.urgency] >= RANK[bare.urgency]
    assert wordier.head_start >= worded.head_start >= bare.head_start
    assert worded.head_start <= max(bare.head_start, MAY.least_head_start)
    assert (worded.urgency is Urgency.CRITICAL) == (bare.urgency is Urgency.CRITICAL)
    assert (worded.shown, worded.named) == (bare.shown, bare.named)
    assert worded.is_raised_by_words == (worded.urgency is not bare.urgency)
    for priority in OrderPriority:
        assert queue_at(NOON, priority, worded, MAY) <= queue_at(NOON, priority, bare, MAY)


@pytest.mark.parametrize(
    ("kind", "saw_film_alone", "urgency"),
    [
        (FindingType.PNEUMOTHORAX, True, Urgency.URGENT),
        (FindingType.PULMONARY_EDEMA, True, Urgency.URGENT),
        (FindingType.CARDIOMEGALY, True, Urgency.NONE),
        (FindingType.MASS, True, Urgency.NONE),
        (FindingType.PNEUMOTHORAX, False, Urgency.NONE),
    ],
)
def test_only_what_could_flag_and_was_seen_on_the_film_raises(
    make_analysis: MakeAnalysis, kind: FindingType, *, saw_film_alone: bool, urgency: Urgency
) -> None:
    """What weighs too little, what the card does not know, and what a text of the record may have suggested do not."""
    found = in_words(make_analysis(0.1, {}), kind, saw_film_alone=saw_film_alone)
    triage = assess(found, rule(0.4, MAY))
    assert triage.urgency is urgency
    words = "Urgent finding suspected by the language model alone, none certain enough to name"
    assert triage.evidence == (words if urgency is Urgency.URGENT else "")


def test_a_site_without_head_starts_moves_nothing(make_analysis: MakeAnalysis) -> None:
    """Where H is 0 the order is that of arrival, whoever speaks."""
    by = rule(0.4, replace(MAY, horizon=HOUR * 0, high_head_start=HOUR * 0))
    assert assess(in_words(make_analysis(0.1, {}), FindingType.PNEUMOTHORAX), by).head_start == HOUR * 0


def test_the_choice_is_part_of_the_policy_and_changes_no_other() -> None:
    """A policy with it comes back from JSON with it; one without has the digest that it had before the choice was."""
    may, may_not = rule(0.4, MAY), rule(0.4, MAY_NOT)
    assert may.digest != may_not.digest
    assert "language_model_may_raise" not in may_not.to_json()
    for by in (may, may_not):
        assert TriagePolicy.from_json(json.loads(json.dumps(by.to_json()))).digest == by.digest


@pytest.mark.parametrize("site", [MAY, MAY_NOT])
def test_the_report_says_who_raised_the_study(site: SiteChoices) -> None:
    """In its first sentence and beside the harm; triage and policy come back as they were."""
    found = in_words(analysis(CARDIOMEGALY, CONSOLIDATION, score=0.1), FindingType.PNEUMOTHORAX)
    by = TriagePolicy.of(replace(POLICY.card, flag_from=0.99), site)
    report = stored(build(found, policy=by).triage_report)
    told = " ".join(sentences(report))
    assert ("suspected by the language model alone" in told) is site.language_model_may_raise
    assert ("by what the language model states alone" in told) is site.language_model_may_raise
    read = parse(report)
    assert (read.triage, read.policy) == (assess(found, by), by)


# ---- The layers ----


@pytest.mark.parametrize("site", [MAY, MAY_NOT])
def test_the_layers_hold_whatever_the_site_allows(site: SiteChoices) -> None:
    """The same answers pass and are refused, and what was refused raises nothing."""
    study, by = LanguageStudy(), TriagePolicy.of(replace(POLICY.card, flag_from=0.99), site)
    stated = [{"finding": "pneumothorax", "side": "right", "certainty": "probable"}]
    bare = assess(study.analysis, by)
    for sentence, is_heard in ((GOOD_SENTENCE, True), ("Normal film, no urgency.", False)):
        with scripted(answer_json(sentence, statements=stated)) as server:
            found = explainer_at(server.url).explain(study.analysis, bare, study.radiograph)
        assert found.account is not None
        assert bool(found.account.statements) is is_heard
        raised = is_heard and site.language_model_may_raise
        assert assess(found, by).is_raised_by_words is raised
        assert found.findings == study.analysis.findings


def test_what_others_wrote_or_took_before_is_told_from_the_film() -> None:
    """An explanation says whether the model was shown the film and the scores alone."""
    study = LanguageStudy()
    for context, alone in ((StudyContext(), True), (StudyContext(reason="Cough."), False)):
        with scripted(answer_json(GOOD_SENTENCE)) as server:
            account = study.explained(explainer_at(server.url), context).account
        assert account is not None
        assert account.saw_film_alone is alone
