"""The triage rule: which class and place a study gets, and what neither a finding nor an image may do to it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records import HOUR, NOON, policy, scorer_card
from worklist.card import Precision
from worklist.errors import InvalidInput
from worklist.finding import Analysis, Code, FindingType, Side, merge
from worklist.order import OrderPriority
from worklist.triage import SiteChoices, Triage, TriagePolicy, Urgency, assess, queue_at

MakeAnalysis = Callable[..., Analysis]
Findings = dict[FindingType, float]

RANK = {Urgency.NONE: 0, Urgency.URGENT: 1, Urgency.CRITICAL: 2}
KINDS = tuple(card.type for card in scorer_card().findings)
UNKNOWN = FindingType(key="unknown", code=Code(value="1", scheme="99X", meaning="Unknown"), label="Unknown")
KNOWN_PRECISION = Precision(value=0.6, n=50)

PROBABILITIES = st.floats(0, 1)
FINDINGS = st.dictionaries(st.sampled_from((*KINDS, UNKNOWN)), PROBABILITIES)
IMAGES = st.lists(st.tuples(PROBABILITIES, FINDINGS), min_size=1, max_size=4)


@st.composite
def sites(draw: st.DrawFn) -> SiteChoices:
    """Any choices that do not contradict each other."""
    horizon_s = draw(st.just(0) | st.integers(2, 100 * 3600))
    return SiteChoices(
        horizon=timedelta(seconds=horizon_s),
        least_head_start=timedelta(seconds=draw(st.integers(1, max(1, horizon_s - 1)))),
        high_head_start=timedelta(seconds=draw(st.integers(0, horizon_s))),
        steepness=draw(st.floats(1e-6, 50)),
        alert_budget=draw(st.floats(0.001, 1)),
    )


@st.composite
def policies(draw: st.DrawFn) -> TriagePolicy:
    """Any policy of a scorer of six findings."""
    card = scorer_card(flag_from=draw(st.floats(1e-6, 1 - 1e-6)))
    findings = []
    for known in card.findings:
        critical_from = draw(st.none() | PROBABILITIES)
        findings.append(
            replace(
                known,
                weight=1.0 if known.type is FindingType.PNEUMOTHORAX else draw(PROBABILITIES),
                critical_from=critical_from,
                critical_precision=KNOWN_PRECISION if critical_from is not None else None,
            )
        )
    return TriagePolicy.of(replace(card, findings=tuple(findings)), draw(sites()))


POLICIES = policies()


def analyses(make_analysis: MakeAnalysis, images: list[tuple[float, Findings]]) -> list[Analysis]:
    """One Analysis an image."""
    return [
        make_analysis(score, findings, sop_instance_uid=f"1.{number}")
        for number, (score, findings) in enumerate(images)
    ]


def triaged(make_analysis: MakeAnalysis, findings: Findings, by: TriagePolicy | None = None) -> Triage:
    """What the rule makes of one image."""
    return assess(make_analysis(0.5, findings), by or policy())


# ---- What never happens ----


@given(IMAGES, st.tuples(PROBABILITIES, FINDINGS), POLICIES)
def test_one_more_image_never_lowers_a_study_and_drops_no_finding(
    make_analysis: MakeAnalysis, images: list[tuple[float, Findings]], late: tuple[float, Findings], by: TriagePolicy
) -> None:
    """Class, head start, score and every finding's probability stay or rise, and so does what is named."""
    before, after = (merge(analyses(make_analysis, some)) for some in (images, [*images, late]))
    one, two = assess(before, by), assess(after, by)
    assert RANK[two.urgency] >= RANK[one.urgency]
    assert (two.head_start, two.harm, after.score) >= (one.head_start, one.harm, before.score)
    assert two.harm >= one.harm
    found = {finding.type.key: finding for finding in after.findings}
    assert all(found[finding.type.key].probability >= finding.probability for finding in before.findings)
    assert {named.finding.type.key for named in two.named} >= {named.finding.type.key for named in one.named}


@given(IMAGES, FINDINGS, POLICIES)
def test_a_higher_probability_never_lowers_a_study(
    make_analysis: MakeAnalysis, images: list[tuple[float, Findings]], others: Findings, by: TriagePolicy
) -> None:
    """Raising any finding of any image keeps class and head start, or raises them."""
    score, first = images[0]
    raised = {kind: max(p, others.get(kind, 0.0)) for kind, p in first.items()}
    before = assess(merge(analyses(make_analysis, images)), by)
    after = assess(merge(analyses(make_analysis, [(score, raised), *images[1:]])), by)
    assert RANK[after.urgency] >= RANK[before.urgency]
    assert after.head_start >= before.head_start


@given(IMAGES, POLICIES, st.sampled_from(OrderPriority))
def test_class_and_place_never_disagree(
    make_analysis: MakeAnalysis, images: list[tuple[float, Findings]], by: TriagePolicy, order_priority: OrderPriority
) -> None:
    """What is flagged has a head start between the least that counts and H; what is not stands where it arrived."""
    triage = assess(merge(analyses(make_analysis, images)), by)
    if not by.site.horizon:
        assert triage.head_start == timedelta(0)
        assert queue_at(NOON, order_priority, triage, by.site) == NOON
    elif triage.urgency is Urgency.NONE:
        assert triage.head_start == timedelta(0)
    else:
        assert by.site.least_head_start <= triage.head_start <= by.site.horizon
        assert triage.urgency is Urgency.URGENT or triage.head_start == by.site.horizon
    assert NOON - by.site.horizon <= queue_at(NOON, order_priority, triage, by.site) <= NOON - triage.head_start


def test_a_late_image_hides_no_pneumothorax(make_analysis: MakeAnalysis) -> None:
    """An image with a higher score and no pneumothorax leaves the class, and the finding with its own image."""
    by = policy(scorer_card(pneumothorax=0.6))
    first = make_analysis(0.75, {FindingType.PNEUMOTHORAX: 0.65}, sop_instance_uid="1.2")
    late = make_analysis(0.79, {FindingType.PNEUMOTHORAX: 0.05}, sop_instance_uid="1.3")
    assert assess(first, by).urgency is Urgency.CRITICAL
    study = merge([first, late])
    triage = assess(study, by)
    assert triage.urgency is Urgency.CRITICAL
    assert triage.leading is not None
    assert (triage.leading.type, triage.leading.probability) == (FindingType.PNEUMOTHORAX, 0.65)
    assert study.image_of(triage.leading) == first.image
    assert study.image == late.image
    assert triage.evidence == "Pneumothorax likely"


# ---- The number ----


@pytest.mark.parametrize(
    ("harm", "seconds"),
    [
        # The pivot's odds are (0.4 / 0.6) * ((1 - 1/32) / (1 + 1/32)) ** (1 / 1.5) = 0.639451, so that the head start
        # at 0.4 is 1/32 of 16 h. At 0.8 the odds ratio is 4 / 0.639451 = 6.25537, 6.25537 ** 1.5 = 15.6452 and
        # (15.6452 - 1) / (15.6452 + 1) * 57600 s = 50679 s.
        (0.4, 1800),
        (math.nextafter(0.4, 0), 0),
        (0.5, 18624),
        (0.72, 44890),
        (0.8, 50679),
        (0.95, 56893),
        (1.0, 57600),
        (0.0, 0),
    ],
)
def test_head_start_has_the_promised_size(harm: float, seconds: int) -> None:
    """With H = 16 h, k = 1.5 and flags from 0.4 each harm has the head start that a hand can compute."""
    by = policy()
    assert (by.site.horizon, by.site.steepness, by.flag_from) == (timedelta(hours=16), 1.5, 0.4)
    assert by.pivot == pytest.approx(0.639451 / 1.639451, abs=1e-6)
    assert by.head_start(harm) == timedelta(seconds=seconds)


@given(PROBABILITIES, POLICIES)
def test_head_start_is_the_formula(harm: float, by: TriagePolicy) -> None:
    """To the second it is H * max(0, 2 * sigmoid(k * (logit harm - logit pivot)) - 1), where it counts at all."""

    def logit(p: float) -> float:
        p = min(max(p, 1e-9), 1 - 1e-9)
        return math.log(p / (1 - p))

    if harm < by.flag_from or not by.site.horizon:
        assert by.head_start(harm) == timedelta(0)
        return
    horizon_s, least_s = by.site.horizon.total_seconds(), by.site.least_head_start.total_seconds()
    logit_pivot = logit(by.flag_from) - math.log((horizon_s + least_s) / (horizon_s - least_s)) / by.site.steepness
    exponent = by.site.steepness * (logit(harm) - logit_pivot)
    expected = horizon_s * (2 / (1 + math.exp(-min(exponent, 700))) - 1)
    assert abs(by.head_start(harm).total_seconds() - max(expected, least_s)) <= 0.5 + 1e-6 * horizon_s


@pytest.mark.parametrize(
    ("findings", "urgency", "harm"),
    [
        ({}, Urgency.NONE, 0.0),
        ({FindingType.CARDIOMEGALY: 1.0}, Urgency.NONE, 0.2),
        ({FindingType.PLEURAL_EFFUSION: 0.5}, Urgency.URGENT, 0.4),
        ({FindingType.PLEURAL_EFFUSION: 0.49}, Urgency.NONE, 0.8 * 0.49),
        ({FindingType.CONSOLIDATION: 0.8}, Urgency.URGENT, 0.4),
        ({FindingType.CONSOLIDATION: 0.79}, Urgency.NONE, 0.5 * 0.79),
        ({FindingType.PULMONARY_EDEMA: 1.0}, Urgency.NONE, 0.0),
        ({UNKNOWN: 1.0}, Urgency.NONE, 0.0),
        ({FindingType.PNEUMOTHORAX: 0.89}, Urgency.URGENT, 0.89),
        ({FindingType.PNEUMOTHORAX: 0.9}, Urgency.CRITICAL, 0.9),
    ],
)
def test_harm_is_weight_times_probability(
    make_analysis: MakeAnalysis, findings: Findings, urgency: Urgency, harm: float
) -> None:
    """Cardiomegaly alone is not urgent; an output no better than chance, or without a card, counts for nothing."""
    triage = triaged(make_analysis, findings)
    assert triage.urgency is urgency
    assert triage.harm == pytest.approx(harm)


def test_harms_do_not_add_up(make_analysis: MakeAnalysis) -> None:
    """The most harmful finding decides, and many small ones make no large one."""
    both = triaged(make_analysis, {FindingType.CONSOLIDATION: 0.79, FindingType.CARDIOMEGALY: 1.0})
    assert both.urgency is Urgency.NONE
    assert both.harm == pytest.approx(0.395)
    assert both.leading is not None
    assert both.leading.type is FindingType.CONSOLIDATION


def test_critical_needs_an_emergency_finding_with_a_known_threshold(make_analysis: MakeAnalysis) -> None:
    """Without one on the card nothing is critical, however high; with one its head start is H, whatever its weight."""
    everything = dict.fromkeys(KINDS, 1.0)
    assert triaged(make_analysis, everything, policy(scorer_card())).urgency is Urgency.URGENT
    hidden = policy(scorer_card(pulmonary_edema=0.5))
    assert triaged(make_analysis, everything, hidden).urgency is Urgency.URGENT
    light = TriagePolicy.of(scorer_card(pneumothorax=0.9), SiteChoices(weights={"pneumothorax": 0.0}))
    critical = triaged(make_analysis, {FindingType.PNEUMOTHORAX: 0.9}, light)
    assert (critical.urgency, critical.head_start) == (Urgency.CRITICAL, light.site.horizon)


def test_findings_without_a_card_are_kept_and_not_counted(make_analysis: MakeAnalysis) -> None:
    """They stay in the Analysis, and neither move a study nor stand among what is shown."""
    analysis = merge([make_analysis(0.5, {UNKNOWN: 1.0, FindingType.CARDIOMEGALY: 0.7})])
    triage = assess(analysis, policy())
    assert [finding.type for finding in analysis.findings] == [UNKNOWN, FindingType.CARDIOMEGALY]
    assert [finding.type for finding in triage.shown] == [FindingType.CARDIOMEGALY]
    assert triage.leading is not None
    assert triage.leading.type is FindingType.CARDIOMEGALY


# ---- In words ----


def test_the_evidence_names_the_most_harmful_first(make_analysis: MakeAnalysis) -> None:
    """With its side where that is known; what is not flagged has no evidence."""
    analysis = make_analysis(0.5, {FindingType.CARDIOMEGALY: 0.9, FindingType.PLEURAL_EFFUSION: 0.7})
    sided = replace(
        analysis,
        findings=tuple(
            replace(finding, side=Side.RIGHT) if finding.type is FindingType.PLEURAL_EFFUSION else finding
            for finding in analysis.findings
        ),
    )
    assert assess(sided, policy()).evidence == "Pleural effusion likely, right; Cardiomegaly likely"
    assert triaged(make_analysis, {FindingType.CARDIOMEGALY: 0.9}).evidence == ""


def test_a_critical_finding_is_named_before_a_more_harmful_one(make_analysis: MakeAnalysis) -> None:
    """What makes a study critical comes first in its evidence."""
    findings = {FindingType.PNEUMOTHORAX: 0.65, FindingType.PLEURAL_EFFUSION: 0.9}
    triage = triaged(make_analysis, findings, policy(scorer_card(pneumothorax=0.6)))
    assert triage.evidence == "Pneumothorax likely; Pleural effusion likely"
    assert triage.leading is not None
    assert triage.leading.type is FindingType.PLEURAL_EFFUSION


def test_the_evidence_names_nothing_that_did_not_flag_the_study(make_analysis: MakeAnalysis) -> None:
    """Where the finding that flagged it may not be named, another one that may does not stand in for it."""
    triage = triaged(make_analysis, {FindingType.PLEURAL_EFFUSION: 0.55, FindingType.CARDIOMEGALY: 0.9})
    assert [named.finding.type for named in triage.named] == [FindingType.CARDIOMEGALY]
    assert triage.evidence == "Urgent finding suspected, none certain enough to name"


def test_classes_are_acr_categories_and_no_word_reads_like_a_negative() -> None:
    """Critical and urgent are the categories 1 and 2; what is not flagged has none."""
    assert {urgency: urgency.acr_category for urgency in Urgency} == {
        Urgency.CRITICAL: 1,
        Urgency.URGENT: 2,
        Urgency.NONE: None,
    }
    assert [urgency.label for urgency in Urgency] == [
        "Critical finding suspected",
        "Urgent finding suspected",
        "No AI flag",
    ]


# ---- The order's own priority ----


@pytest.mark.parametrize(
    ("order_priority", "harm", "hours"),
    [
        (OrderPriority.HIGH, None, 4.0),
        (OrderPriority.HIGH, 0.0, 4.0),
        (OrderPriority.HIGH, 0.4, 4.0),
        (OrderPriority.HIGH, 1.0, 16.0),
        (OrderPriority.ROUTINE, None, 0.0),
        (OrderPriority.LOW, 0.4, 0.5),
        (OrderPriority.STAT, None, 0.0),
    ],
)
def test_high_is_a_stated_head_start(
    make_analysis: MakeAnalysis, order_priority: OrderPriority, harm: float | None, hours: float
) -> None:
    """The longer of the order's and the triage's counts; STAT comes first by itself."""
    triage = None if harm is None else triaged(make_analysis, {FindingType.PNEUMOTHORAX: harm}, policy(scorer_card()))
    assert queue_at(NOON, order_priority, triage, SiteChoices()) == NOON - timedelta(hours=hours)


# ---- The site's choices ----


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"horizon": -HOUR}, "head starts are never negative"),
        ({"high_head_start": -HOUR}, "head starts are never negative"),
        ({"least_head_start": timedelta(0)}, "the least head start must be above 0"),
        (
            {"least_head_start": 16 * HOUR},
            r"the least head start \(16 h\) must be shorter than the longest, H \(16 h\)",
        ),
        ({"high_head_start": 17 * HOUR}, r"HIGH orders \(17 h\) must not exceed the longest, H \(16 h\)"),
        ({"steepness": 0}, "the steepness must be above 0, got 0"),
        ({"steepness": math.nan}, "the steepness must be above 0"),
        ({"steepness": math.inf}, "the steepness must be above 0"),
        ({"alert_budget": 0}, "the alert budget is a share above 0 and at most 1, got 0"),
        ({"alert_budget": 20}, "the alert budget is a share above 0 and at most 1, got 20"),
        ({"alert_budget": math.nan}, "the alert budget"),
        ({"weights": {"pneumothorax": 1.5}}, "weights lie between 0 and 1"),
        ({"weights": {"pneumothorax": math.nan}}, "weights lie between 0 and 1"),
    ],
)
def test_choices_that_contradict_themselves_are_refused(choices: dict[str, object], message: str) -> None:
    """Each by a line that says what is wrong, before anything runs under it."""
    with pytest.raises(ValueError, match=message):
        SiteChoices(**choices)  # type: ignore[arg-type] # refused for this


def test_without_a_horizon_the_other_head_starts_do_not_matter() -> None:
    """H = 0 leaves the order to arrival, whatever else is set."""
    site = SiteChoices(horizon=timedelta(0), least_head_start=HOUR, high_head_start=HOUR)
    assert queue_at(NOON, OrderPriority.HIGH, None, site) == NOON
    assert policy(site=site).head_start(1.0) == timedelta(0)
    assert policy(site=site).pivot == pytest.approx(0.4)


def test_a_site_weighs_only_what_its_scorer_looks_for() -> None:
    """An unknown name is refused with those that are known, and so are weights that leave nothing."""
    with pytest.raises(InvalidInput, match=r"FIRSTREAD_WEIGHTS names scoliosis, .* it knows pneumothorax, ") as refusal:
        TriagePolicy.of(scorer_card(), SiteChoices(weights={"scoliosis": 0.5}))
    assert refusal.value.code == "unknown_finding"
    nothing = {kind.key: 0.0 for kind in KINDS if kind is not FindingType.PULMONARY_EDEMA}
    with pytest.raises(InvalidInput, match=r"FIRSTREAD_WEIGHTS: .* give at least one above 0") as refusal:
        TriagePolicy.of(scorer_card(), SiteChoices(weights=nothing))
    assert refusal.value.code == "no_weights"


def test_a_sites_weights_replace_the_cards(make_analysis: MakeAnalysis) -> None:
    """Those that it does not name stay."""
    by = TriagePolicy.of(scorer_card(), SiteChoices(weights={"cardiomegaly": 0.9}))
    assert triaged(make_analysis, {FindingType.CARDIOMEGALY: 0.5}, by).urgency is Urgency.URGENT
    assert triaged(make_analysis, {FindingType.PLEURAL_EFFUSION: 0.5}, by).harm == pytest.approx(0.4)


# ---- The alert budget ----


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.5, 0.6]), min_size=1, max_size=60), st.floats(0.001, 1))
def test_no_more_are_flagged_than_the_budget_allows(harms: list[float], budget: float) -> None:
    """Of the scores it was set by at most that share is flagged, equal ones included, and never below the card's."""
    by = TriagePolicy.of(scorer_card(flag_from=0.05), SiteChoices(alert_budget=budget), harms)
    flagged = sum(harm >= by.flag_from for harm in harms)
    assert flagged <= budget * len(harms)
    assert by.flag_from >= 0.05
    higher = sorted(harm for harm in harms if harm < by.flag_from and harm >= 0.05)
    if higher:  # it is no stricter than it must be
        assert sum(harm >= higher[-1] for harm in harms) > math.floor(budget * len(harms))


def test_the_budget_goes_by_the_sites_own_scores_where_there_are_any() -> None:
    """Otherwise by the card's reference, and the policy says by which."""
    site = SiteChoices(alert_budget=0.1)
    by_card, by_site = policy(site=site), TriagePolicy.of(scorer_card(), site, [0.9] * 100)
    assert by_card.flag_from == math.nextafter(90 / 250, 1) or by_card.flag_from == 0.4
    assert by_card.budget_basis == "the card: 200 films"
    assert by_site.budget_basis == "the last 100 studies of this site"
    assert by_site.flag_from == math.nextafter(0.9, 1)
    everything = TriagePolicy.of(scorer_card(), SiteChoices(alert_budget=1), [0.9] * 100)
    assert everything.flag_from == 0.4


# ---- The policy as it is kept ----


@given(POLICIES, st.none() | st.dictionaries(st.sampled_from([kind.key for kind in KINDS[1:]]), PROBABILITIES))
def test_a_policy_survives_its_json(by: TriagePolicy, weights: dict[str, float] | None) -> None:
    """With the same digest, which tells it from every other."""
    by = TriagePolicy.of(by.card, replace(by.site, weights=weights))
    again = TriagePolicy.from_json(json.loads(json.dumps(by.to_json())))
    assert (again, again.digest) == (by, by.digest)
    other = replace(by, flag_from=math.nextafter(by.flag_from, 0))
    assert other.digest != by.digest


def test_a_digest_stays_the_same_across_versions() -> None:
    """It stands in reports that lie in the PACS for years; whoever changes the document must say so."""
    assert policy().digest == "224c6e33bb6c1ff4b334d2cecab41e4e02c9f877ab0f8627061e704dd347b1b0"
