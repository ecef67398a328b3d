"""How triage policies come into force, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest
from sqlalchemy import select, text

from tests.records import (
    ANN,
    DAY,
    HOUR,
    NOON,
    OTHER_SCORER,
    SCORER,
    SECOND,
    Records,
    at_once,
    policy,
    received,
    scorer_card,
)
from worklist.finding import FindingType
from worklist.records import policies
from worklist.records.tables import PolicyRow
from worklist.triage import SiteChoices, TriagePolicy, Urgency

EFFUSION = {FindingType.PLEURAL_EFFUSION: 0.7}


@pytest.fixture
def ten_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site whose own scores count from ten studies on."""
    monkeypatch.setattr(policies, "BUDGET_STUDIES", 10)


def test_a_policy_comes_into_force_once(records: Records) -> None:
    """The same card and choices change nothing; a new one is in force for its scorer, and none is forgotten."""
    assert records.jobs.policy() is None
    first = policy()
    assert records.jobs.adopt_policy(first)
    assert not records.jobs.adopt_policy(policy())
    assert records.jobs.policy() == first
    second = policy(site=SiteChoices(horizon=8 * HOUR))
    assert records.jobs.adopt_policy(second)
    other = policy(scorer_card(OTHER_SCORER))
    assert records.jobs.adopt_policy(other)
    assert records.jobs.policies() == {SCORER: second, OTHER_SCORER: other}
    assert records.jobs.policy() == other
    with records.database.read() as session:
        assert [row.digest for row in session.scalars(select(PolicyRow).order_by(PolicyRow.policy_id))] == [
            first.digest,
            second.digest,
            other.digest,
        ]
        assert policies.policy_of_digest(session, first.digest) == first


def test_workers_that_start_at_once_bring_one_policy_into_force(records: Records) -> None:
    """Whoever comes first, the same policy is in force at the end."""
    at_once(*[partial(records.jobs.adopt_policy, policy())] * 4)
    assert records.jobs.policies() == {SCORER: policy()}
    assert not records.jobs.adopt_policy(policy())


def test_a_new_policy_triages_all_that_is_to_be_read(records: Records) -> None:
    """Classes, places, digests and reasons follow, watchers hear of it, and the history tells why."""
    records.ingest(received("1.1"), received("1.2", at=NOON + SECOND), received("1.3", at=NOON + SECOND))
    for _ in range(3):
        records.score(EFFUSION)
    records.readings.complete(ANN, "1.3")
    assert records.study("1.1").urgency is None
    assert records.jobs.adopt_policy(policy())
    line = records.study("1.2")
    assert (line.urgency, line.policy) == (Urgency.URGENT, policy())
    assert line.harm == pytest.approx(0.56)
    assert line.queue_at < NOON
    assert line.reason == "Pleural effusion likely"
    before = records.worklist.newest()
    strict = policy(scorer_card(flag_from=0.7))
    assert records.jobs.adopt_policy(strict)
    newest, changed, gone = records.worklist.changed_after(before)
    assert newest > before
    assert ([line.study_instance_uid for line in changed], gone) == (["1.1", "1.2"], [])
    assert {line.urgency for line in changed} == {Urgency.NONE}
    last = records.readings.history("1.1")[-1]
    assert (last.kind, last.detail["policy"]) == ("triaged", strict.digest)
    assert records.study("1.3").urgency is None  # nobody waits for it


def test_what_a_crash_left_under_the_old_policy_is_triaged_at_the_next_start(records: Records) -> None:
    """Though the policy is in force by then."""
    records.jobs.adopt_policy(policy())
    records.ingest(received())
    records.score(EFFUSION)
    with records.database.write() as session:
        session.execute(text("UPDATE studies SET policy_digest = 'old', urgency = 'none', harm = 0.1"))
    assert not records.jobs.adopt_policy(policy())
    assert records.study().urgency is Urgency.URGENT


@pytest.mark.usefixtures("ten_are_enough")
def test_the_alert_budget_follows_the_sites_own_scores_once_a_day(records: Records) -> None:
    """With enough of them, by the weights in force; the policy and the list follow, and the history tells."""
    records.jobs.adopt_policy(policy(site=SiteChoices(alert_budget=0.2)))
    for number in range(9):
        records.ingest(received(f"1.{number}"))
        records.score({FindingType.PNEUMOTHORAX: 0.6 + 0.01 * number})
    records.clock.forward(DAY)
    assert not records.jobs.follow_budget()  # too few
    records.ingest(received("1.9"))
    records.score({FindingType.PNEUMOTHORAX: 0.69})
    records.clock.forward(DAY - SECOND)
    assert not records.jobs.follow_budget()  # not yet
    records.clock.forward(SECOND)
    assert records.jobs.follow_budget()
    in_force = records.jobs.policy()
    assert in_force is not None
    assert in_force.budget_basis == "the last 10 studies of this site"
    assert in_force.flag_from == pytest.approx(math.nextafter(0.67, 1))
    flagged = [line for line in records.worklist.page()[1] if line.urgency is Urgency.URGENT]
    assert sorted(line.study_instance_uid for line in flagged) == ["1.8", "1.9"]
    assert not records.jobs.follow_budget()
    records.clock.forward(DAY)
    assert not records.jobs.follow_budget()  # nothing has changed
    assert not records.jobs.adopt_policy(policy(site=SiteChoices(alert_budget=0.2)))


@pytest.mark.usefixtures("ten_are_enough")
def test_two_gateways_set_the_budget_once(records: Records) -> None:
    """Of those who look at the same moment one does it."""
    records.jobs.adopt_policy(policy())
    for number in range(10):
        records.ingest(received(f"1.{number}"))
        records.score({FindingType.PNEUMOTHORAX: 0.6 + 0.01 * number})
    records.clock.forward(DAY)
    assert sorted(map(bool, at_once(*[records.jobs.follow_budget] * 3))) == [False, False, True]
    with records.database.read() as session:
        assert len(session.scalars(select(PolicyRow)).all()) == 2


@pytest.mark.usefixtures("ten_are_enough")
def test_the_budget_counts_only_what_its_scorer_judged_by_the_weights_in_force(records: Records) -> None:
    """Scores of another scorer say nothing of this one, and new weights are applied to the old probabilities."""
    records.jobs.adopt_policy(policy())
    for number in range(10):
        records.ingest(received(f"1.{number}"))
        records.score({FindingType.CARDIOMEGALY: 0.5 + 0.01 * number})
    site = SiteChoices(weights={"cardiomegaly": 1.0})
    assert records.jobs.adopt_policy(policy(site=site))
    in_force = records.jobs.policies()[SCORER]
    assert in_force.flag_from == pytest.approx(0.57)
    assert in_force.budget_basis == "the last 10 studies of this site"
    assert records.jobs.adopt_policy(TriagePolicy.of(scorer_card(OTHER_SCORER), site))
    assert records.jobs.policies()[OTHER_SCORER].budget_basis == "the card: 200 films"


def test_a_policy_of_a_later_version_lowers_nothing(records: Records) -> None:
    """Where this version cannot read it, what the later one found by it stands, and the list goes on."""
    records.jobs.adopt_policy(policy())
    records.ingest(received("1.1"), received("1.2"))
    records.score(EFFUSION)
    before = records.study("1.1")
    with records.database.write() as session:
        later = {"document": json.dumps({"version": 9}), "digest": "later"}
        session.execute(text("UPDATE policies SET document = :document, digest = :digest"), later)
        session.execute(text("UPDATE studies SET policy_digest = :digest"), later)
    records.ingest(received("1.1", image="2"))
    after = records.study("1.1")
    assert (after.urgency, after.queue_at, after.harm) == (before.urgency, before.queue_at, before.harm)
    assert (after.policy, after.triage) == (None, None)
    records.score(EFFUSION)
    records.score(EFFUSION)
    assert len(records.worklist.page()[1]) == 2
    assert records.study("1.1").urgency is Urgency.URGENT
    assert records.jobs.policies() == {}


def test_a_document_of_a_later_version_lowers_nothing_and_stops_nothing(records: Records) -> None:
    """A study with an Analysis that this version cannot read is listed as the later version left it."""
    records.jobs.adopt_policy(policy())
    records.ingest(received("1.1"), received("1.2"), stable=["1.1"])
    records.score(EFFUSION)
    before = records.study("1.1")
    with records.database.write() as session:
        session.execute(text("UPDATE analyses SET document = :document"), {"document": json.dumps({"version": 9})})
    records.ingest(received("1.1", image="2"))
    line = records.study("1.1")
    assert (line.urgency, line.queue_at, line.analysis) == (before.urgency, before.queue_at, None)
    records.score(EFFUSION)
    assert len(records.worklist.page()[1]) == 2
    assert records.study("1.1").urgency is Urgency.URGENT
