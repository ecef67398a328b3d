"""The composition root of the DICOM server: settings in, a listening application entity out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from firstread.compose import build_orthanc_client, open_database
from firstread.settings import Settings
from gateway.audit.recorder import AuditRecorder
from gateway.audit.refusals import RefusedAssociations
from gateway.dimse.admission import Admission
from gateway.dimse.event_reports import EventReports, read_destinations
from gateway.dimse.find import Finder
from gateway.dimse.peers import PeerRoles
from gateway.dimse.retrieve import Retriever
from gateway.dimse.server import DimseServer, Listening, receiver_tls_context, tls_context
from gateway.dimse.services import Services
from gateway.dimse.workitems import WorkitemServices
from gateway.search.pacs import PacsStudies
from gateway.search.retrieval import Retrieval
from gateway.search.studies import StudySearch
from worklist.errors import InvalidInput
from worklist.records import AuditRecords, StudySearches, SubscriptionRecords, WorkitemRecords, WorkitemSearches
from worklist.sight import Sites


@contextmanager
def running_dimse(settings: Settings) -> Iterator[int]:
    """A DICOM server for the time of a block; yields its port.

    Raises:
        InvalidInput: peers, subscribers, certificate or key cannot be used; narrow_subscriber, one that would be told
            of every site sees some alone.
        PermanentError: the port is taken.
    """
    admission = Admission(
        settings.dimse_peers, most=settings.dimse_associations, most_of_one=settings.dimse_associations_of_one
    )
    listening = Listening(
        host=settings.dimse_host,
        port=settings.dimse_port,
        ae_title=settings.aet,
        most=settings.dimse_associations,
        pdu_bytes=settings.dimse_pdu_bytes,
        idle_s=settings.dimse_idle_s,
        stall_s=settings.dimse_stall_s,
        tls=tls_context(settings.dimse_tls_certificate, settings.dimse_tls_key, settings.dimse_tls_client_ca)
        if settings.dimse_tls_certificate and settings.dimse_tls_key
        else None,
    )
    receivers = read_destinations(settings.dimse_subscribers)
    _require_every_site(receivers, settings.shared_by)
    receiver_tls = (
        receiver_tls_context(settings.dimse_tls_certificate, settings.dimse_tls_key, settings.dimse_tls_client_ca)
        if receivers and settings.dimse_tls_certificate and settings.dimse_tls_key
        else None
    )
    with closing(open_database(settings)) as database, closing(build_orthanc_client(settings)) as orthanc:
        peers = PeerRoles(settings.dimse_roles if settings.is_login_required else None, settings.shared_by)
        recorder = AuditRecorder(AuditRecords(database=database), "dimse")
        records = StudySearches(database)
        search = StudySearch(records, PacsStudies(orthanc))
        services = Services(
            Finder(search=search, ae_title=settings.aet),
            Retriever(retrieval=Retrieval(orthanc, records)),
            WorkitemServices(
                records=WorkitemRecords(database=database, rules=settings.site_rules),
                searches=WorkitemSearches(database),
                subscriptions=SubscriptionRecords(database=database),
                receivers=frozenset(receivers),
                peers=peers,
                keep=recorder.add,
            ),
            peers,
            keep=recorder.add,
        )
        with (
            closing(EventReports(database, receivers, settings.aet, receiver_tls)) as reports,
            closing(DimseServer(listening, admission, services, RefusedAssociations(recorder.add).note)) as server,
        ):
            reports.start()
            recorder.start()
            try:
                yield server.port
            finally:
                recorder.stop()


def _require_every_site(receivers: Iterable[str], sites: Sites) -> None:
    """Subscribers hear of every site."""
    narrow = [title for title in receivers if sites.sight(sites.of_peer(title, ())) is not None]
    if narrow:
        raise InvalidInput(
            "narrow_subscriber",
            f"FIRSTREAD_DIMSE_SUBSCRIBERS has {', '.join(narrow)}, and subscribers hear of every site: leave it out, "
            'or let it see all, as FIRSTREAD_SEES={"ae:TITLE": ["*"]}',
        )
