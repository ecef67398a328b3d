"""How moments and words are kept in columns, the same on both databases and beside newer versions of Firstread."""

from __future__ import annotations

import enum
from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, String, TypeDecorator

from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import HowRead, ReadingState
from worklist.study import StudyState

# What a word of a later version is read as; None where nothing that this version knows is true of it.
_UNKNOWN: dict[type[enum.Enum], enum.Enum] = {
    StudyState: StudyState.WAITING,
    ReadingState: ReadingState.UNREAD,
    HowRead: HowRead.MESSAGE,
    OrderPriority: OrderPriority.ROUTINE,
    ProcedureStepState: ProcedureStepState.CANCELED,
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no time zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a naive time is refused, because nobody can say what it means."""
        del dialect
        if value is not None and value.utcoffset() is None:
            raise ValueError(f"a moment needs a time zone, got {value}")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(TypeDecorator[enum.Enum]):
    """A word of an enumeration, kept by its value.

    A later version may know more words. One that this version does not know is read as the nearest that is true of it,
    so that a row written by a newer neighbour never takes the list down.
    """

    impl = String(16)
    cache_ok = True

    def __init__(self, words: type[enum.Enum]) -> None:
        super().__init__()
        self.words = words
        self._word_of = {word.value: word for word in words}
        self._unknown = _UNKNOWN.get(words)

    def process_bind_param(self, value: enum.Enum | str | None, dialect: Dialect) -> str | None:
        """To its value."""
        del dialect
        return None if value is None else str(self.words(value).value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> enum.Enum | None:
        """From its value."""
        del dialect
        return None if value is None else self._word_of.get(value, self._unknown)
