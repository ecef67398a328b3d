"""Choosing at run time: what would become of the list, and the choice itself, under which the list stands at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worklist.card import ScorerCard
from worklist.choices import Choices, check_against, one_line
from worklist.errors import Conflict, InvalidInput
from worklist.reading import Actor
from worklist.records.adoption import rekey
from worklist.records.assessing import Rule, assess_rows, stands_as_it_was
from worklist.records.choices import Choice, choice_in_force, choices_in_force, choices_made, keep_choice
from worklist.records.database import Database
from worklist.records.places import BY_READING
from worklist.records.policies import one_at_a_time, own_cards, policies_in_force, policies_under, put_in_force
from worklist.records.tables import ON_THE_LIST, StudyRow
from worklist.roles import UseCase
from worklist.site import SiteRules
from worklist.study import StudyStatus
from worklist.triage import TriagePolicy, Urgency


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedStudy:
    """Where a study on the list stands, and where it would.

    Attributes:
        study_instance_uid, orthanc_id, patient_id, patient_name, accession_number: which study it is.
        place_now, place_then: counted from 1.
        urgency_now, urgency_then: None where it is not assessed.
        queue_at_then: the moment by which it would be sorted.
    """

    study_instance_uid: str
    orthanc_id: str
    patient_id: str
    patient_name: str
    accession_number: str
    place_now: int
    place_then: int
    urgency_now: Urgency | None
    urgency_then: Urgency | None
    queue_at_then: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What the list would look like; nothing was written.

    Attributes:
        choices: those that it would look like this under.
        policies: the digests of the policies, by scorer's name and version.
        studies: all that is on the list, in the order that it would have.
    """

    choices: Choices
    policies: Mapping[str, TriagePolicy]
    studies: tuple[PlacedStudy, ...]

    @property
    def now(self) -> list[PlacedStudy]:
        """The studies in the order that they have."""
        return sorted(self.studies, key=lambda study: study.place_now)

    @property
    def moved(self) -> int:
        """How many would stand elsewhere."""
        return sum(1 for study in self.studies if study.place_now != study.place_then)

    def count(self, *, now: bool | None = None, then: bool | None = None, critical: bool = False) -> int:
        """How many are flagged now, or would be then; of those called critical alone, where that is asked."""

        def is_so(urgency: Urgency | None) -> bool:
            return urgency is Urgency.CRITICAL if critical else urgency in {Urgency.CRITICAL, Urgency.URGENT}

        return sum(
            1
            for study in self.studies
            if (now is None or is_so(study.urgency_now) is now) and (then is None or is_so(study.urgency_then) is then)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """What holds now: the choice, the policies, and the scorers' own cards as far as they are known, by digest."""

    choice: Choice
    policies: Mapping[str, TriagePolicy]
    cards: Mapping[str, ScorerCard]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceRecords:
    """The site's choices.

    Attributes:
        database: where they are kept.
        rules: what holds until the first one.
    """

    database: Database
    rules: SiteRules

    def in_force(self) -> InForce:
        """What holds now."""
        with self.database.read() as session:
            return InForce(
                choice=choice_in_force(session, self.rules.start),
                policies=policies_in_force(session),
                cards=own_cards(session),
            )

    def history(self, limit: int = 100) -> list[Choice]:
        """The last choices, newest first; number 0 is what held before the first."""
        with self.database.read() as session:
            return choices_made(session, self.rules.start, limit)

    def preview(self, values: Mapping[str, Any]) -> Preview:
        """What the list would look like if some choices were others.

        Args:
            values: those that would be others, by name.

        Raises:
            InvalidInput: as change.
            Conflict: unknown_card.
        """
        with self.database.read() as session:
            choices = choices_in_force(session, self.rules.start).changed(values)
            policies = self._policies(session, choices)
            rule = Rule(
                policies={**policies_in_force(session), **{p.card.sha256: p for p in policies}}, site=choices.triage
            )
            rows = session.scalars(select(StudyRow).where(ON_THE_LIST).order_by(*BY_READING)).all()
            statuses = assess_rows(session, rows, self.rules.start, rule)
            return Preview(
                choices=choices,
                policies={f"{p.card.name} {p.card.version}": p for p in policies},
                studies=_placed(rows, statuses),
            )

    def change(self, actor: Actor, why: str, values: Mapping[str, Any], based_on: int) -> Choice:
        """Choose; the list stands under it from the same moment on.

        Args:
            actor: who.
            why: in their words, one line.
            values: the choices that are to be others, by name.
            based_on: the number of the choice that they saw.

        Raises:
            InvalidInput: no_reason, bad_reason, nothing_changed, or values that are none.
            Conflict: changed_meanwhile, or unknown_card.
            NotPermitted: the actor's roles do not reach so far.
        """
        actor.require(UseCase.CHANGE_TRIAGE)
        reason = one_line(why)
        with self.database.write() as session:
            one_at_a_time(session)
            before = choice_in_force(session, self.rules.start)
            if before.number != based_on:
                raise Conflict(
                    "changed_meanwhile",
                    f"{before.by.name} has changed the settings meanwhile ({before.why}): look at them again",
                )
            choices = before.choices.changed(values)
            if choices == before.choices:
                raise InvalidInput("nothing_changed", "these are the settings that hold now: change one")
            now = self.database.now(session)
            choice = Choice(number=before.number + 1, at=now, by=actor, why=reason, choices=choices)
            keep_choice(session, choice, before.choices, now)
            known = policies_in_force(session)
            for policy in self._policies(session, choices):
                if policy != known[policy.card.sha256]:
                    put_in_force(session, policy, now, by=actor, choice=choice.number)
            if choices.triage != before.choices.triage:
                rekey(session, self.rules, now, session.scalars(select(StudyRow.orthanc_id).where(ON_THE_LIST)).all())
            return choice

    def _policies(self, session: Session, choices: Choices) -> list[TriagePolicy]:
        known, cards = policies_in_force(session), own_cards(session)
        unknown = [known[sha256].card for sha256 in known if sha256 not in cards]
        if unknown:
            raise Conflict(
                "unknown_card",
                f"the card of {unknown[0].name} {unknown[0].version} is not known without the choices of before: "
                "start firstread worker once, then choose",
            )
        check_against(choices, list(cards.values()))
        return policies_under(session, cards.values(), choices.triage)


def _placed(rows: Sequence[StudyRow], statuses: Mapping[str, StudyStatus | None]) -> tuple[PlacedStudy, ...]:
    placed = []
    for place, row in enumerate(rows, start=1):
        status = statuses[row.orthanc_id]
        is_same = status is None or stands_as_it_was(row, status)
        queue_at = row.queue_at if status is None or is_same else status.queue_at
        triage = None if status is None else status.triage
        then = row.urgency if is_same else triage.urgency if triage else None
        study = PlacedStudy(
            study_instance_uid=row.study_instance_uid,
            orthanc_id=row.orthanc_id,
            patient_id=row.patient_id,
            patient_name=row.patient_name,
            accession_number=row.accession_number,
            place_now=place,
            place_then=0,
            urgency_now=row.urgency,
            urgency_then=then,
            queue_at_then=queue_at,
        )
        key = (row.stat_rank, queue_at, row.received_at, row.study_instance_uid, row.orthanc_id)  # BY_READING
        placed.append((key, study))
    ordered = sorted(placed, key=lambda pair: pair[0])
    return tuple(replace(study, place_then=place) for place, (_, study) in enumerate(ordered, start=1))
