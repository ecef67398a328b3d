"""`firstread rebuild`: the database filled again from Orthanc alone, where there is no backup.

Films, analyses, results and policies come back from the PACS; nothing is written to it, and nothing is scored again
that a report tells. What people did is not there: readings, claims, the history. It may be broken off at any moment:
what is known already is passed over the next time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from firstread.compose import build_orthanc_client, open_database
from firstread.compose_worker import build_pacs
from firstread.schema import require_current_database
from firstread.settings import Settings
from gateway.intake.arrivals import read_arrivals
from gateway.intake.changelog import ChangeLog
from gateway.intake.feed import FEED
from gateway.intake.lookback import arrivals_of
from gateway.intake.orthanc import OrthancClient
from worker.found import find_reports
from worker.pacs import Pacs
from worklist.errors import PermanentError
from worklist.records import (
    FoundReports,
    IntakeRecords,
    Lease,
    RebuildRecords,
    ReceivedInstance,
    ReceivedReport,
    living_processes,
)

_PAGE = 50  # studies asked for at once
_STRETCH = 50  # instances, between which the lease is renewed
_SAY_EVERY_S = 10.0


def rebuild_database(settings: Settings) -> Iterator[str]:
    """Fill the database from Orthanc; lines that say how far it is, and what could not come back.

    Raises:
        PermanentError: database_outdated; still_running.
        PacsUnavailable: Orthanc does not answer.
        TransientError: lease_lost, a gateway began meanwhile.
    """
    require_current_database(settings)
    with closing(open_database(settings)) as database, closing(build_orthanc_client(settings)) as orthanc:
        alive = living_processes(database)
        lease = Lease(database, FEED)
        if alive or not lease.hold():
            raise PermanentError(
                "still_running",
                f"still running: {', '.join(alive) or 'a gateway'}. Stop gateway and workers first; one that did not "
                "end by itself counts as running for half a minute",
            )
        try:
            intake = IntakeRecords(database, settings.site_rules)
            is_new = intake.cursor(FEED) is None
            end = ChangeLog(orthanc).end()  # what comes from here on is told by the feed
            records = RebuildRecords(database=database, rules=settings.site_rules, lease=lease)
            yield from _Rebuilding(settings, orthanc, build_pacs(settings), intake, records).run()
            if is_new:
                intake.ingest([], [], feed=FEED, cursor=end, lease=lease)
            records.finish()
        finally:
            lease.release()
    yield "what people did is in no PACS: readings, claims and history; restore a backup where there is one"


@dataclass
class _Counts:
    looked_at: int = 0
    taken_in: int = 0
    reported: int = 0
    left_out: int = 0  # since they are older than the site keeps
    in_part: int = 0  # studies whose images are scored again, at least some of them

    @property
    def words(self) -> str:
        reported = f"{self.reported:,} of them with AI reports"
        return f"{self.looked_at:,} studies looked at, {self.taken_in:,} taken in, {reported}"


class _Rebuilding:
    """One walk through all studies of an Orthanc; only one page and one study of it are held in memory."""

    def __init__(
        self, settings: Settings, orthanc: OrthancClient, pacs: Pacs, intake: IntakeRecords, records: RebuildRecords
    ) -> None:
        self._settings = settings
        self._orthanc = orthanc
        self._pacs = pacs
        self._intake = intake
        self._records = records
        now = datetime.now(UTC)
        self._horizon = now - timedelta(hours=settings.lookback_h)
        self._keep_from = now - timedelta(days=settings.retention_days) if settings.retention_days else None
        self._counts = _Counts()

    def run(self) -> Iterator[str]:
        """Take in what is missing; lines that say how far it is."""
        said_at = time.monotonic()
        offset = 0
        while page := self._orthanc.studies(offset, _PAGE):
            offset += len(page)
            known = self._intake.listed_of([orthanc_id for orthanc_id, _ in page])
            for orthanc_id, updated_at in page:
                self._counts.looked_at += 1
                self._records.hold()
                if orthanc_id not in known:
                    self._take_in(orthanc_id, is_recent=updated_at >= self._horizon)
                if time.monotonic() - said_at > _SAY_EVERY_S:
                    said_at = time.monotonic()
                    yield self._counts.words
        yield self._counts.words
        if self._counts.left_out:
            yield (
                f"{self._counts.left_out:,} of them are older than FIRSTREAD_RETENTION_DAYS="
                f"{self._settings.retention_days} and were left out; the PACS still has them"
            )
        if self._counts.in_part:
            count = self._counts.in_part
            which = "1 study with several images is" if count == 1 else f"{count:,} studies with several images are"
            yield (
                f"{which} scored again, and not reported again: a report tells each finding once, not what was found "
                "on each image"
            )

    def _take_in(self, orthanc_id: str, *, is_recent: bool) -> None:
        series = self._pacs.own_series(orthanc_id)
        if not series and not is_recent:
            return  # of long ago, and never looked at by Firstread
        ours = {instance for one in series for instance in one.instances}
        arrived = [(change.orthanc_id, change.date) for change in arrivals_of(self._orthanc, orthanc_id, ours)]
        if self._keep_from and arrived and max(date for _, date in arrived) < self._keep_from:
            self._counts.left_out += 1
            return
        rules, titles = self._settings.scope_rules, self._settings.report_titles
        received: list[ReceivedInstance | ReceivedReport] = []
        for start in range(0, len(arrived), _STRETCH):
            self._records.hold()
            received += read_arrivals(self._orthanc, arrived[start : start + _STRETCH], rules, titles, is_past=True)
        found = find_reports(self._pacs, series) if series else FoundReports()
        self._records.take_in(received, found, self._horizon)
        if received:
            newest = found.reports[-1].analysis if found.reports else None
            self._counts.taken_in += 1
            self._counts.reported += bool(found.reports)
            self._counts.in_part += newest is not None and len(newest.images) > 1
