"""The composition root of the DICOM server: settings in, a listening application entity out."""

from __future__ import annotations

from collections.abc import Iterator
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
from worklist.records import AuditRecords, StudySearches, SubscriptionRecords, WorkitemRecords, WorkitemSearches


@contextmanager
def running_dimse(settings: Settings) -> Iterator[int]:
    """A DICOM server for the time of a block; yields its port.

    Raises:
        InvalidInput: peers, subscribers, certificate or key cannot be used.
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
    receiver_tls = (
        receiver_tls_context(settings.dimse_tls_certificate, settings.dimse_tls_key, settings.dimse_tls_client_ca)
        if receivers and settings.dimse_tls_certificate and settings.dimse_tls_key
        else None
    )
    with closing(open_database(settings)) as database, closing(build_orthanc_client(settings)) as orthanc:
        peers = PeerRoles(settings.dimse_roles if settings.is_login_required else None)
        recorder = AuditRecorder(AuditRecords(database=database), "dimse")
        search = StudySearch(StudySearches(database), PacsStudies(orthanc))
        services = Services(
            Finder(search=search, ae_title=settings.aet),
            Retriever(retrieval=Retrieval(orthanc)),
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
