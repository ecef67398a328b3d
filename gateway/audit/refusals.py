"""What refused associations leave in the audit trail: little, however often somebody knocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from worklist.audit import NOBODY, AuditEntry, AuditKind, Outcome
from worklist.reading import ActorSource

_SAME_S: Final = 300.0  # so long what one address is refused for is one entry
_MOST: Final = 200  # entries in that time; beyond them one for each reason stands for all other addresses
_ELSEWHERE: Final = ""


@dataclass(kw_only=True, slots=True)
class _Told:
    since: float
    untold: int = 0


class RefusedAssociations:
    """Makes entries of refused associations. Safe for use by several threads.

    Args:
        keep: keeps an entry.
        monotonic: a clock.
    """

    def __init__(self, keep: Callable[[AuditEntry], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keep = keep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], _Told] = {}

    def note(self, address: str, why: str, calling: str = "", called: str = "") -> None:
        """An association was refused; of one address for one reason there is an entry in five minutes.

        The next entry says how many there were that had none.
        """
        with self._lock:
            now = self._monotonic()
            place = address
            if (place, why) not in self._told and len(self._told) >= _MOST:
                self._told = {key: told for key, told in self._told.items() if now - told.since < _SAME_S}
                place = address if len(self._told) < _MOST else _ELSEWHERE
            told = self._told.get((place, why))
            if told and now - told.since < _SAME_S:
                told.untold += 1
                return
            self._told[place, why] = _Told(since=now)
        titles = {"calling": calling, "called": called} if place else {}
        said = {"why": why, **titles, "not told before": told.untold if told else 0}
        self._keep(
            AuditEntry(
                at=datetime.now(UTC),
                kind=AuditKind.NODE,
                outcome=Outcome.MINOR_FAILURE,
                actor=(calling if place else "") or NOBODY,
                actor_source=ActorSource.DICOM,
                address=place,
                detail={name: one for name, one in said.items() if one},
            )
        )
