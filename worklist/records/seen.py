"""What of the records is seen, by whoever is being served: the one place where that is enforced.

Where somebody sees some sites alone, each statement of a transaction that is begun on their behalf is held to the
studies of these, wherever a table of theirs stands in it: in lists, counts, places, joins, subqueries, aliases, by key,
for update. What is of no study of theirs is as if it were not there. Where everything is seen it costs nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, event, literal, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from worklist.records.tables import (
    AuditRow,
    Base,
    CardRow,
    ChoiceRow,
    FeedRow,
    LeaseRow,
    PolicyRow,
    PredictionRow,
    SessionRow,
    StudyRow,
    SubscriptionRow,
    WorkitemRow,
)
from worklist.sight import Sight

_OF_NO_STUDY: Final = frozenset(
    {AuditRow, CardRow, ChoiceRow, FeedRow, LeaseRow, PolicyRow, PredictionRow, SessionRow, SubscriptionRow}
)
"""Tables that name no study, or that no use case of somebody who sees some sites reads (roles.py, BY_SITE)."""
_SEEN: Final = StudyRow.__table__.alias("seen")


def limit(session: Session, seen: Sight) -> None:
    """Hold a session, from its first statement on, to what is seen."""
    criteria = _criteria(seen)

    def hold(state: ORMExecuteState) -> None:
        if not state.is_insert:
            state.statement = state.statement.options(*criteria)

    event.listen(session, "do_orm_execute", hold)


@lru_cache(maxsize=256)
def _criteria(seen: Sight) -> tuple[Any, ...]:
    institutions = sorted(seen.institutions)

    def is_seen(row: type[StudyRow]) -> ColumnElement[bool]:
        return row.institution.in_(institutions)

    def is_of_seen(row: Any) -> Any:  # noqa: ANN401 - of each table that has a study_orthanc_id
        # By the study's key, row by row: a list of all that is seen would be made for each statement.
        of_row = (_SEEN.c.orthanc_id == row.study_orthanc_id, _SEEN.c.institution.in_(institutions))
        return select(literal(1)).select_from(_SEEN).where(*of_row).correlate_except(_SEEN).exists()

    def is_of_reading(row: type[WorkitemRow]) -> ColumnElement[bool]:
        # Those of other systems are of no site; those of readings are found by their study alone.
        return row.state.is_(None)

    conditions: dict[type[Base], Any] = {StudyRow: is_seen, WorkitemRow: is_of_reading}
    # As functions, so that each is of the alias where an alias of the table is joined.
    return tuple(
        with_loader_criteria(row, conditions.get(row, is_of_seen), include_aliases=True)
        for row in tables()
        if row not in _OF_NO_STUDY
    )


def tables() -> list[type[Base]]:
    """The class of each table."""
    return sorted((mapper.class_ for mapper in Base.registry.mappers), key=lambda row: row.__name__)
