"""Keeps entries without making anybody wait: they are gathered for a moment and written together.

What cannot be written, because the database is away, waits in memory up to a bound. Beyond it the newest are lost, and
an entry says later how many.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from worklist.audit import AuditEntry, AuditKind, Outcome
from worklist.reading import SYSTEM
from worklist.records import AuditRecords

_EVERY_S: Final = 0.2
_AGAIN_S: Final = 2.0
_MOST: Final = 20_000
_AT_ONCE: Final = 500
_SAME_S: Final = 300.0  # so long the same look at the same study, or at the list, is one entry
_REMEMBERED: Final = 5_000
_LOOKS: Final = frozenset({AuditKind.QUERY, AuditKind.ACCESS})

log = structlog.get_logger()


class AuditRecorder:
    """Takes entries from any thread.

    Args:
        records: where they are kept.
        program: what is told as having started and stopped.
        monotonic: a clock.
    """

    def __init__(self, records: AuditRecords, program: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._program = program
        self._monotonic = monotonic
        self._waiting: deque[AuditEntry] = deque()
        self._lost = 0
        self._is_failing = False
        self._seen: OrderedDict[tuple[object, ...], float] = OrderedDict()
        self._lock = threading.Lock()
        self._has_more = threading.Event()
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Write from now on; the start itself is the first entry."""
        self.add(self._of_program(AuditKind.START))
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, the stop included, as far as the database answers within a few seconds."""
        self.add(self._of_program(AuditKind.STOP))
        self._stops.set()
        self._has_more.set()
        self._thread.join(timeout=5)

    def add(self, entry: AuditEntry) -> None:
        """Take an entry. The same look by the same person within five minutes counts once."""
        with self._lock:
            if entry.kind in _LOOKS and entry.outcome is Outcome.SUCCESS and self._is_known(entry):
                return
            if len(self._waiting) >= _MOST:
                self._lost += 1
                return
            self._waiting.append(entry)
        self._has_more.set()

    def _is_known(self, entry: AuditEntry) -> bool:
        same = (entry.kind, entry.actor, entry.address, entry.study_instance_uid, repr(sorted(entry.detail.items())))
        now, before = self._monotonic(), self._seen.pop(same, None)
        is_known = before is not None and now - before < _SAME_S
        self._seen[same] = before if is_known and before is not None else now
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return is_known

    def _run(self) -> None:
        while True:
            self._has_more.wait()
            if not self._stops.is_set():
                time.sleep(_EVERY_S)  # so that what comes at about the same time is one transaction
            self._has_more.clear()
            if not self._write_all():
                self._has_more.set()
                if self._stops.wait(_AGAIN_S):
                    return
            elif self._stops.is_set():
                return

    def _write_all(self) -> bool:
        while True:
            with self._lock:
                some = [self._waiting[place] for place in range(min(_AT_ONCE, len(self._waiting)))]
                lost = self._lost
            if not some:
                return True
            gap = [replace(self._of_program(AuditKind.GAP), detail={"entries lost": lost})] if lost else []
            try:
                self._records.append([*some, *gap])
            except SQLAlchemyError as error:
                if not self._is_failing:  # once, and not every two seconds while a disk is full
                    log.warning("the audit trail cannot be written; entries wait", error=type(error).__name__)
                self._is_failing = True
                return False
            if self._is_failing:
                log.info("the audit trail is written again")
            self._is_failing = False
            with self._lock:
                for _ in some:
                    self._waiting.popleft()
                self._lost -= lost

    def _of_program(self, kind: AuditKind) -> AuditEntry:
        return AuditEntry(
            at=datetime.now(UTC),
            kind=kind,
            actor=SYSTEM.name,
            actor_source=SYSTEM.source,
            detail={"program": self._program},
        )
