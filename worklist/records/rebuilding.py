"""How an empty database is filled again: study by study, from what the PACS holds of films and of our own reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worklist.errors import TransientError
from worklist.records import adoption
from worklist.records.database import Database
from worklist.records.found import FoundReports, take_in
from worklist.records.intake import IntakeRecords, ReceivedReport
from worklist.records.leases import Lease
from worklist.records.policies import put_last_reported_in_force
from worklist.records.received import ReceivedInstance
from worklist.records.studies import Study
from worklist.site import SiteRules

_STRETCH = 50  # instances written in one transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildRecords:
    """The rebuilding's side of the records.

    Attributes:
        database: where they are kept.
        rules: the site's choices.
        lease: of the feed, so that no gateway begins meanwhile.
    """

    database: Database
    rules: SiteRules
    lease: Lease

    def take_in(
        self, received: Sequence[ReceivedInstance | ReceivedReport], found: FoundReports, aside_before: datetime
    ) -> None:
        """List a study with the results that the PACS has of it; what arrived before a moment stands aside.

        Raises:
            TransientError: lease_lost, a gateway holds the feed by now.
        """
        intake = IntakeRecords(self.database, self.rules)
        for start in range(0, len(received), _STRETCH):
            self.hold()
            intake.ingest(received[start : start + _STRETCH], [], lease=self.lease)
        images = [one for one in received if isinstance(one, ReceivedInstance)]
        received_at = {image.sop_instance_uid: image.received_at for image in images}
        for orthanc_id in sorted({image.orthanc_id for image in images}):
            with self.database.write() as session:
                self.lease.require(session)
                now = self.database.now(session)
                study = Study.lock(session, orthanc_id, self.rules, now)
                if study:
                    take_in(session, study, found, received_at, aside_before=aside_before, now=now)

    def finish(self) -> None:
        """Triage everything by the policy of the last reports, until a worker brings the site's own into force."""
        self.hold()
        with self.database.write() as session:
            self.lease.require(session)
            put_last_reported_in_force(session, self.database.now(session))
        adoption.triage_again(self.database, self.rules, priors_too=True)

    def hold(self) -> None:
        """Go on holding the feed.

        Raises:
            TransientError: lease_lost.
        """
        if not self.lease.hold():
            raise TransientError("lease_lost", "a gateway has begun to read Orthanc's feed: stop it, and begin again")
