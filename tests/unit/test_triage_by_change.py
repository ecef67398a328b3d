"""What a change since an earlier film may do to a study's place, where a site allows it and where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.parse import parse
from dicom_sr.table import rows_of
from models.template import TemplateExplainer
from tests.records import HOUR, NOON, policy, scorer_card
from tests.sr_films import CONSOLIDATION, PNEUMOTHORAX, POLICY, analysis, build, sentences, stored
from worklist.account import Change
from worklist.comparison import ComparedFinding, PriorComparison, compare
from worklist.finding import Analysis, FindingType
from worklist.order import OrderPriority
from worklist.triage import Grounds, SiteChoices, TriagePolicy, Urgency, assess, queue_at

MakeAnalysis = Callable[..., Analysis]

RANK = {Urgency.NONE: 0, Urgency.URGENT: 1, Urgency.CRITICAL: 2}
KINDS = tuple(card.type for card in scorer_card().findings)
MAY, MAY_NOT = SiteChoices(prior_raises=True), SiteChoices()
FINDINGS = st.dictionaries(st.sampled_from(KINDS), st.floats(0, 1))
FLAG_FROM = st.floats(0.01, 0.99)
BY_CHANGE = "Urgent finding suspected by the change since an earlier film alone"


def beside(now: Analysis, then: Analysis) -> Analysis:
    """A study with an earlier film's scores by the same weights beside it."""
    prior = PriorComparison(study_instance_uid="1.9", study_date="20260303", compared=compare(now, then))
    return replace(now, prior=prior)


def changed(now: Analysis, kind: FindingType, change: Change) -> Analysis:
    """A study of which one finding's difference is called so."""
    one = ComparedFinding(type=kind, then=0.1, now=0.3, change=change)
    return replace(now, prior=PriorComparison(study_instance_uid="1.9", study_date="20260303", compared=(one,)))


def rule(flag_from: float, site: SiteChoices) -> TriagePolicy:
    """A policy by which a pneumothorax from 0.9 is critical."""
    return policy(scorer_card(flag_from=flag_from, pneumothorax=0.9), site)


@settings(deadline=None)
@given(FINDINGS, FINDINGS, FLAG_FROM)
def test_no_change_moves_a_study_unless_the_site_allows_it(
    make_analysis: MakeAnalysis, now: dict[FindingType, float], then: dict[FindingType, float], flag_from: float
) -> None:
    """By default the triage is that of the scores to the last bit, whatever changed."""
    found, by = make_analysis(0.5, now), rule(flag_from, MAY_NOT)
    compared = beside(found, make_analysis(0.5, then))
    everything = Grounds(worse=frozenset(kind.key for kind in KINDS))
    assert assess(compared, by, everything) == assess(found, by)


@settings(deadline=None)
@given(FINDINGS, FINDINGS, FLAG_FROM)
def test_a_change_only_raises_and_no_further_than_the_least_flag(
    make_analysis: MakeAnalysis, now: dict[FindingType, float], then: dict[FindingType, float], flag_from: float
) -> None:
    """Class and place stay or rise, never to critical nor beyond the least head start, and only for what is worse."""
    found, by = make_analysis(0.5, now), rule(flag_from, MAY)
    compared = beside(found, make_analysis(0.5, then))
    bare, after = assess(found, by), assess(compared, by)
    assert RANK[after.urgency] >= RANK[bare.urgency]
    assert after.head_start >= bare.head_start
    assert after.head_start <= max(bare.head_start, MAY.least_head_start)
    assert (after.urgency is Urgency.CRITICAL) == (bare.urgency is Urgency.CRITICAL)
    assert (after.shown, after.named) == (bare.shown, bare.named)
    assert after.is_raised_by_change == (after.urgency is not bare.urgency)
    if after.is_raised_by_change:
        assert compared.prior is not None
        assert any(
            one.change in {Change.NEW, Change.WORSENED} and one.now > one.then for one in compared.prior.compared
        )
    for priority in OrderPriority:
        assert queue_at(NOON, priority, after, MAY) <= queue_at(NOON, priority, bare, MAY)


@settings(deadline=None)
@given(FINDINGS, st.sets(st.sampled_from(KINDS)), st.sets(st.sampled_from(KINDS)), FLAG_FROM)
def test_more_that_got_worse_never_lowers(
    make_analysis: MakeAnalysis,
    now: dict[FindingType, float],
    worse: set[FindingType],
    more: set[FindingType],
    flag_from: float,
) -> None:
    """What was worse in an earlier revision goes on to count beside what is worse now."""
    found, by = make_analysis(0.5, now), rule(flag_from, MAY)
    some, all_of_it = (Grounds(worse=frozenset(kind.key for kind in kinds)) for kinds in (worse, worse | more))
    less, after = assess(found, by, some), assess(found, by, all_of_it)
    assert RANK[after.urgency] >= RANK[less.urgency]
    assert after.head_start >= less.head_start


@pytest.mark.parametrize(
    ("kind", "change", "urgency"),
    [
        (FindingType.PNEUMOTHORAX, Change.NEW, Urgency.URGENT),
        (FindingType.PNEUMOTHORAX, Change.WORSENED, Urgency.URGENT),
        (FindingType.PNEUMOTHORAX, Change.STABLE, Urgency.NONE),
        (FindingType.PNEUMOTHORAX, Change.IMPROVED, Urgency.NONE),
        (FindingType.CARDIOMEGALY, Change.NEW, Urgency.NONE),
        (FindingType.MASS, Change.NEW, Urgency.NONE),
    ],
)
def test_only_what_is_worse_and_could_flag_raises(
    make_analysis: MakeAnalysis, kind: FindingType, change: Change, urgency: Urgency
) -> None:
    """What fell, did not clearly change, weighs too little or is not on the card does not."""
    triage = assess(changed(make_analysis(0.1, {}), kind, change), rule(0.4, MAY))
    assert triage.urgency is urgency
    assert triage.evidence == (f"{BY_CHANGE}, none certain enough to name" if urgency is Urgency.URGENT else "")


def test_a_finding_that_is_not_shown_raises_nothing(make_analysis: MakeAnalysis) -> None:
    """Its score is no better than chance, and so is its change."""
    card = scorer_card(flag_from=0.1)
    hidden = replace(card, findings=tuple(replace(one, is_shown=one.type != KINDS[0]) for one in card.findings))
    found = changed(make_analysis(0.1, {}), KINDS[0], Change.NEW)
    assert assess(found, policy(card, MAY)).urgency is Urgency.URGENT
    assert assess(found, policy(hidden, MAY)).urgency is Urgency.NONE


def test_a_clash_raises_nothing(make_analysis: MakeAnalysis) -> None:
    """Nothing of a study that may be somebody else's counts."""
    found = replace(make_analysis(0.1, {}), prior=PriorComparison(clash="it states another name"))
    assert assess(found, rule(0.4, MAY)).urgency is Urgency.NONE


def test_words_and_a_change_are_both_named(make_analysis: MakeAnalysis) -> None:
    """Where both raise a study, the reason says both."""
    grounds = Grounds(stated=frozenset({KINDS[0].key}), worse=frozenset({KINDS[0].key}))
    triage = assess(make_analysis(0.1, {}), rule(0.1, replace(MAY, language_model_may_raise=True)), grounds)
    both = "by the language model and the change since an earlier film alone"
    assert triage.flag == f"Urgent finding suspected {both}"


def test_a_site_without_head_starts_moves_nothing(make_analysis: MakeAnalysis) -> None:
    """Where H is 0 the order is that of arrival, whatever changed."""
    by = rule(0.4, replace(MAY, horizon=HOUR * 0, high_head_start=HOUR * 0))
    found = changed(make_analysis(0.1, {}), FindingType.PNEUMOTHORAX, Change.NEW)
    assert assess(found, by).head_start == HOUR * 0


def test_the_choice_is_part_of_the_policy_and_changes_no_other() -> None:
    """A policy with it comes back from JSON with it; one without has the digest that it had before the choice was."""
    may, may_not = rule(0.4, MAY), rule(0.4, MAY_NOT)
    assert may.digest != may_not.digest
    assert "prior_raises" not in may_not.to_json()
    for by in (may, may_not):
        assert TriagePolicy.from_json(json.loads(json.dumps(by.to_json()))).digest == by.digest


@pytest.mark.parametrize("site", [MAY, MAY_NOT])
def test_report_table_and_explanation_say_what_raised_the_study(site: SiteChoices) -> None:
    """In the first sentence, beside the harm, in QA's table and in the template's words; all of it is read back."""
    low = replace(PNEUMOTHORAX, threshold=0.3)
    now, then = (analysis(CONSOLIDATION, replace(low, probability=one), score=0.1) for one in (0.4, 0.01))
    found = beside(now, then)
    by = TriagePolicy.of(replace(POLICY.card, flag_from=0.99), site)
    report = stored(build(found, policy=by).triage_report)
    told, read = " ".join(sentences(report)), parse(report)
    assert (BY_CHANGE in told) is site.prior_raises
    assert ("by the change since an earlier film alone: the AI places the study" in told) is site.prior_raises
    assert (read.triage, read.policy) == (assess(found, by), by)
    rows = list(rows_of(report, read, received="", stored=""))
    assert {row["raised_by"] for row in rows} == {"change" if site.prior_raises else ""}
    words = TemplateExplainer().explain(found, assess(found, by), lambda _: pytest.fail("asked for a film"))
    assert ("No AI flag" in words.explanation) is not site.prior_raises
