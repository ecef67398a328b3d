"""A workstation that speaks UPS by DIMSE, as tests of workitems have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
)

from gateway.dimse.admission import Admission
from gateway.dimse.associate import associate
from gateway.dimse.find import Finder
from gateway.dimse.peers import PeerRoles
from gateway.dimse.retrieve import Retriever
from gateway.dimse.server import DimseServer, Listening
from gateway.dimse.services import Services
from gateway.dimse.workitems import WorkitemServices
from tests.lists import FilledList
from tests.workitems import STATE, TRANSACTION, element
from worklist.audit import AuditEntry
from worklist.records import SubscriptionRecords, WorkitemRecords, WorkitemSearches

PUSH, PULL = UnifiedProcedureStepPush, UnifiedProcedureStepPull
WATCH, QUERY = UnifiedProcedureStepWatch, UnifiedProcedureStepQuery
RECEIVER = "RECEIVER"
"""The one application that the server of the tests knows to listen for event reports."""


@contextmanager
def serving(listed: FilledList, peers: PeerRoles, keep: Callable[[AuditEntry], None] = lambda _: None) -> Iterator[int]:
    """A DICOM server before a list, whose peers may do so much; nobody retrieves anything from it. Yields its port."""
    workitems = WorkitemServices(
        records=WorkitemRecords(database=listed.database, rules=listed.rules),
        searches=WorkitemSearches(listed.database),
        subscriptions=SubscriptionRecords(database=listed.database),
        receivers={RECEIVER},
        peers=peers,
        keep=keep,
    )
    services = Services(cast("Finder", _Nothing()), cast("Retriever", _Nothing()), workitems, peers)
    listening = Listening(host="127.0.0.1", port=0, ae_title="FIRSTREAD")
    with closing(DimseServer(listening, Admission({}, most=20, most_of_one=20), services)) as server:
        yield server.port


class _Nothing:
    """Serves nothing that is asked here."""

    serve = move = get = None


@contextmanager
def associated(port: int) -> Iterator[Association]:
    """A workstation's association for all of UPS."""
    entity = AE(ae_title="STATION")
    for sop_class in (PUSH, PULL, WATCH, QUERY):
        entity.add_requested_context(sop_class)
    association, _ = associate(entity, "127.0.0.1", port, ae_title="FIRSTREAD")
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def dataset(**elements: dict[str, Any]) -> Dataset:
    """A data set of elements by tag."""
    return Dataset.from_json(elements)


def change(association: Association, uid: str, state: str, transaction: str) -> int:
    """Ask for another state; the status."""
    asked = dataset(**{STATE: element("CS", state), TRANSACTION: element("UI", transaction)})
    answer, _ = association.send_n_action(asked, 1, PUSH, uid, meta_uid=PULL)
    return int(answer.Status)
