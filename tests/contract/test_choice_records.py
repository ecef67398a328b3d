"""What somebody chooses at run time: kept for ever, in force at once, and foretold by a preview that writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from tests.records import ANN, BEN, HOUR, NOON, OTHER_SCORER, SCORER, SECOND, Records, at_once, received, scorer_card
from worklist.choices import differences
from worklist.errors import Conflict, FirstreadError, InvalidInput
from worklist.finding import FindingType
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import SYSTEM, ReadingState
from worklist.records import ChoiceRecords, Preview
from worklist.records.tables import PolicyRow
from worklist.scope import NOT_A_RADIOGRAPH
from worklist.site import SiteRules
from worklist.study import Failure, StudyState
from worklist.triage import SiteChoices, TriagePolicy, Urgency

EFFUSION, PNEUMOTHORAX = FindingType.PLEURAL_EFFUSION, FindingType.PNEUMOTHORAX
CARD = scorer_card(pneumothorax=0.9)


@pytest.fixture
def choosing(records: Records) -> ChoiceRecords:
    """The choices of a site with a scorer and six studies: flagged, not flagged, HIGH, STAT, unscored, out of scope."""
    records.jobs.adopt_policy(TriagePolicy.of(CARD, records.rules.triage))
    ages = enumerate(
        (
            {EFFUSION: 0.7},
            {PNEUMOTHORAX: 0.95},
            {FindingType.CARDIOMEGALY: 0.9},
            {EFFUSION: 0.1},
            {EFFUSION: 0.75},
        )
    )
    for number, findings in ages:
        records.ingest(received(f"1.{number}", at=NOON + number * HOUR))
        records.score(findings)
    high, stat = OrderPriority.HIGH, OrderPriority.STAT
    records.ingest(received("2.1", at=NOON + 6 * HOUR, order_priority=high))
    records.ingest(received("2.2", at=NOON + 7 * HOUR, order_priority=stat))
    return ChoiceRecords(database=records.database, rules=records.rules)


def orders(records: Records) -> list[tuple[str, Urgency | None]]:
    """Study Instance UID and class of the list, in order."""
    return [(line.study_instance_uid, line.urgency) for line in records.worklist.page()[1]]


def foreseen(preview: Preview) -> list[tuple[str, Urgency | None]]:
    """The same of a preview."""
    return [(study.study_instance_uid, study.urgency_then) for study in preview.studies]


def test_a_choice_is_in_force_at_once_and_kept_for_ever(records: Records, choosing: ChoiceRecords) -> None:
    """With who, when and why; the first one with what held before it; each study names the new policy."""
    assert choosing.in_force().choice.number == 0
    records.clock.forward(SECOND)
    before = records.worklist.newest()
    chosen = choosing.change(ANN, " fewer\n flags ", {"flag_from": 0.65, "alert_budget_percent": 10}, based_on=0)
    assert (chosen.number, chosen.at, chosen.by, chosen.why) == (1, NOON + SECOND, ANN, "fewer flags")
    policy = records.jobs.policies()[SCORER]
    assert (policy.flag_from, policy.site.flag_from, policy.site.alert_budget) == (0.65, 0.65, 0.1)
    assert records.study("1.0").urgency is Urgency.NONE
    assert {line.policy for line in records.worklist.page()[1] if line.score is not None} == {policy}
    changed = {line.study_instance_uid for line in records.worklist.changed_after(before)[1]}
    assert changed == {"1.0", "1.4"}, "only what is shown otherwise is told of"
    last, first = choosing.history()
    assert (last, first.number, first.by) == (chosen, 0, SYSTEM)
    assert first.choices == records.rules.start
    assert [name for name, _, _ in differences(first.choices, last.choices)] == ["alert_budget_percent", "flag_from"]


def test_a_preview_writes_nothing(records: Records, choosing: ChoiceRecords) -> None:
    """It tells how many would move and lose their flag, and the order before and after."""
    before, newest = orders(records), records.worklist.newest()
    preview = choosing.preview({"weights": {"pleural_effusion": 0.1}})
    assert [(study.study_instance_uid, study.urgency_now) for study in preview.now] == before
    assert foreseen(preview) != before
    assert (preview.count(now=True), preview.count(then=True), preview.count(now=True, then=False)) == (3, 1, 2)
    assert (preview.count(now=True, critical=True), preview.count(now=False, then=True)) == (1, 0)
    then = [uid for uid, _ in foreseen(preview)]
    assert preview.moved == sum(1 for place, (uid, _) in enumerate(before) if then[place] != uid)
    assert (orders(records), records.worklist.newest()) == (before, newest)
    with records.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM choices")) == 0
        assert len(session.scalars(select(PolicyRow)).all()) == 1


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "order_horizon_h": st.sampled_from([0, 5, 48]),
        "order_steepness": st.sampled_from([0.5, 6]),
        "high_head_start_h": st.sampled_from([0, 2]),
        "least_head_start_min": st.sampled_from([1, 240]),
        "alert_budget_percent": st.sampled_from([1, 50, 100]),
        "flag_from": st.sampled_from([0.05, 0.3, 0.7]),
        "weights": st.dictionaries(
            st.sampled_from(["pleural_effusion", "cardiomegaly", "consolidation"]), st.sampled_from([0.0, 0.3, 1.0])
        ),
        "critical_from": st.just({"pneumothorax": 0.99}),
        "named_from": st.just({"pleural_effusion": 0.9}),
        "prior_raises": st.booleans(),
    },
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=VALUES)
def test_what_follows_is_what_the_preview_told_and_there_is_a_way_back(
    records: Records, choosing: ChoiceRecords, wanted: Mapping[str, Any]
) -> None:
    """The order and the flags of the preview are those of the list; the first choice brings the first order again."""
    first, start, number = orders(records), choosing.in_force(), choosing.in_force().choice.number
    try:
        told = choosing.preview(wanted)
        choosing.change(ANN, "a try", wanted, based_on=number)
    except FirstreadError as refusal:
        assert refusal.code in {"contradiction", "nothing_changed"}  # noqa: PT017 - what hypothesis made up
        return
    assert foreseen(told) == orders(records)
    after = [policy.digest for policy in records.jobs.policies().values()]
    assert [policy.digest for policy in told.policies.values()] == after
    back = choosing.preview(start.choice.choices.to_values())
    choosing.change(BEN, "back", start.choice.choices.to_values(), based_on=number + 1)
    assert orders(records) == foreseen(back) == first
    assert records.jobs.policies() == start.policies


def test_no_choice_is_made_on_what_somebody_else_has_changed(choosing: ChoiceRecords) -> None:
    """Of those who choose at once one does; the others are told who was first."""
    choosing.change(ANN, "first", {"order_steepness": 2}, based_on=0)
    with pytest.raises(Conflict, match=r"Ann has changed the settings meanwhile \(first\): look") as refusal:
        choosing.change(BEN, "second", {"order_steepness": 3}, based_on=0)
    assert refusal.value.code == "changed_meanwhile"

    def choose(steepness: float) -> object:
        try:
            return choosing.change(BEN, "at once", {"order_steepness": steepness}, based_on=1).number
        except Conflict as error:
            return error.code

    results = at_once(partial(choose, 3), partial(choose, 4), partial(choose, 5))
    assert sorted(map(str, results)) == ["2", "changed_meanwhile", "changed_meanwhile"]
    assert len(choosing.history()) == 3


def test_a_worker_that_starts_brings_its_card_under_the_choice(records: Records, choosing: ChoiceRecords) -> None:
    """The environment's own choices no longer count, and the card without them is what choices are laid over."""
    choosing.change(ANN, "no heart", {"weights": {"cardiomegaly": 0.0}}, based_on=0)
    in_force = records.jobs.policies()[SCORER]
    environment = SiteChoices(steepness=9, weights={"consolidation": 0.0})
    assert not records.jobs.adopt_policy(TriagePolicy.of(CARD, environment))
    assert records.jobs.policies() == {SCORER: in_force}
    other = scorer_card(OTHER_SCORER)
    assert records.jobs.adopt_policy(TriagePolicy.of(other, environment))
    assert records.jobs.policies()[OTHER_SCORER].site.weights == {"cardiomegaly": 0.0}
    choosing.change(BEN, "as the card has it", {"weights": {}}, based_on=1)
    weights = {found.type.key: found.weight for found in records.jobs.policies()[SCORER].card.findings}
    assert weights == {found.type.key: found.weight for found in CARD.findings}


def test_nothing_is_chosen_over_a_card_that_is_not_known(records: Records) -> None:
    """An earlier version kept the card with the site's weights in it: a worker must bring its own first."""
    rules = SiteRules(triage=SiteChoices(weights={"consolidation": 0.9}))
    choosing = ChoiceRecords(database=records.database, rules=rules)
    weighed = TriagePolicy.of(CARD, rules.triage)
    records.jobs.adopt_policy(weighed)
    with records.database.write() as session:
        session.execute(text("DELETE FROM cards"))
    with pytest.raises(Conflict, match="start firstread worker once, then choose"):
        choosing.change(ANN, "steeper", {"order_steepness": 2}, based_on=0)
    records.jobs.adopt_policy(weighed)
    choosing.change(ANN, "the card's", {"weights": {}}, based_on=0)
    assert records.jobs.policies() == {SCORER: TriagePolicy.of(CARD, SiteChoices())}


def test_the_scope_is_read_again_for_each_image(records: Records, choosing: ChoiceRecords) -> None:
    """What arrives from then on goes by the new one, in every process; no place changes and no policy."""
    before, policies = orders(records), records.jobs.policies()
    assert records.intake.scope() == records.rules.scope
    choosing.change(ANN, "no captures", {"accept_secondary_capture": False, "modalities": ["dx", "CR"]}, based_on=0)
    wanted = replace(records.rules.scope, accept_secondary_capture=False, modalities=frozenset({"CR", "DX"}))
    assert (records.intake.scope(), records.jobs.choices().scope) == (wanted, wanted)
    assert (orders(records), records.jobs.policies()) == (before, policies)


def test_an_image_that_is_looked_at_by_now_is_scored_and_no_new_film(records: Records) -> None:
    """Seen again under a wider scope it is scored, and a reading that is done stays so; what was scored stays."""
    refused = Failure(code=NOT_A_RADIOGRAPH, message="a secondary capture")
    records.ingest(received("9.1", scope_failure=refused), received("9.2"))
    records.readings.complete(ANN, "9.1")
    records.ingest(received("9.1"), received("9.2", scope_failure=refused))
    due = {records.claim(Queue.SCORE).study_instance_uid for _ in range(2)}
    assert due == {"9.1", "9.2"}
    assert records.study("9.1").reading.state is ReadingState.READ
    assert records.study("9.1").state is records.study("9.2").state is StudyState.WAITING
    records.ingest(received("9.1"), received("9.2"))
    assert not records.due(Queue.SCORE)


def test_an_order_of_high_priority_waits_by_the_choice_before_it_is_scored(
    records: Records, choosing: ChoiceRecords
) -> None:
    """Those on the list at once, and those that arrive later."""
    choosing.change(ANN, "HIGH is HIGH", {"high_head_start_h": 10}, based_on=0)
    assert records.study("2.1").queue_at == NOON + 6 * HOUR - timedelta(hours=10)
    records.ingest(received("2.3", at=NOON, order_priority=OrderPriority.HIGH))
    assert records.study("2.3").queue_at == NOON - timedelta(hours=10)


def test_what_was_read_stays_as_it_was_judged(records: Records, choosing: ChoiceRecords) -> None:
    """And is judged by the choice once somebody puts it back."""
    records.readings.complete(ANN, "1.0")
    read = records.study("1.0")
    choosing.change(ANN, "hardly any flags", {"flag_from": 0.9}, based_on=0)
    assert (records.study("1.0").policy, records.study("1.0").urgency) == (read.policy, Urgency.URGENT)
    records.readings.put_back(ANN, "1.0")
    assert records.study("1.0").urgency is Urgency.NONE


def test_a_reported_study_is_not_reported_again(records: Records, choosing: ChoiceRecords) -> None:
    """What lies in the PACS keeps the policy that it was written by; the next revision has the new one."""
    records.ingest(received("3.1"), stable=["3.1"])
    for _ in range(3):
        records.score({EFFUSION: 0.7})
    records.report()
    choosing.change(ANN, "hardly any flags", {"flag_from": 0.9}, based_on=0)
    line = records.study("3.1")
    assert (line.urgency, str(line.state)) == (Urgency.NONE, "reported")
    assert records.states(Queue.REPORT) == [(1, ProcedureStepState.COMPLETED)]
    with records.database.read() as session:
        kept = session.execute(text("SELECT policy_digest FROM reports")).scalar_one()
    assert line.policy is not None
    assert kept != line.policy.digest


def test_what_cannot_be_chosen_is_not_kept(choosing: ChoiceRecords) -> None:
    """Neither what is refused nor what nobody gives a reason for."""
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("why not", {"order_horizon_h": -1}, "bad_value"),
        ("why not", {"weights": {"scoliosis": 0.5}}, "unknown_finding"),
        ("why not", {"order_steepness": 1.5}, "nothing_changed"),
        (" \n", {"order_steepness": 2}, "no_reason"),
    ]
    for why, values, code in refused:
        with pytest.raises(InvalidInput) as refusal:
            choosing.change(ANN, why, values, based_on=0)
        assert refusal.value.code == code
    assert choosing.in_force().choice.number == 0


def test_a_choice_of_a_later_version_stops_nothing(records: Records, choosing: ChoiceRecords) -> None:
    """What this version knows of it holds; where it can read nothing, the start values do."""
    choosing.change(ANN, "steeper", {"order_steepness": 2}, based_on=0)
    later = json.dumps({"version": 2, "order_steepness": 3, "moon_phase": "full"})
    with records.database.write() as session:
        session.execute(text("UPDATE choices SET document = :later WHERE number = 1"), {"later": later})
    assert records.jobs.choices().triage.steepness == 3
    with records.database.write() as session:
        session.execute(text("UPDATE choices SET document = '[]' WHERE number = 1"))
    assert records.jobs.choices() == records.rules.start
