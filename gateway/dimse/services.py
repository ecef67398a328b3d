"""The one table of what Firstread offers by DIMSE: SOP classes, their operations, and who serves them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit.operations import entry_of
from gateway.dimse.association import GuestAssociation
from gateway.dimse.find import Finder
from gateway.dimse.operations import OPERATIONS, Operation
from gateway.dimse.peers import PeerRoles
from gateway.dimse.question import LEVELS
from gateway.dimse.retrieve import Retriever
from gateway.dimse.statuses import (
    BAD_VALUE,
    FAULT,
    FIND,
    GET,
    MOVE,
    NOT_COUNTED,
    NOT_PERMITTED,
    NOT_THIS_CLASS,
    NOT_THIS_OPERATION,
    OUT_OF_RESOURCES,
    Refusal,
)
from gateway.dimse.workitems import OFFERED, WorkitemServices
from worklist.attributes import Level
from worklist.audit import AuditEntry
from worklist.errors import InvalidInput, NotPermitted, PacsUnavailable
from worklist.roles import UseCase
from worklist.sight import seeing

ECHO: Final = "C-ECHO"
TRANSFER_SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
STORED_SYNTAXES: Final = tuple(dict.fromkeys((*TRANSFER_SYNTAXES, *map(UID, ALL_TRANSFER_SYNTAXES))))
"""In which a C-GET sends, the first of them where a peer offers several in one presentation context."""
_STUDY_ROOT: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)
_USE_CASES: Final = {FIND: UseCase.SEARCH, MOVE: UseCase.OPEN_STUDY, GET: UseCase.OPEN_STUDY}
_PATIENT_ROOT: Final = (Level.PATIENT, *_STUDY_ROOT)

ServeOperation = Callable[[Operation, Sequence[Level]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One SOP class of which we are the SCP.

    Attributes:
        sop_class: its UID.
        operation: C-ECHO, C-FIND, C-MOVE or C-GET.
        levels: that its information model has; none where it has no model.
    """

    sop_class: UID
    operation: str
    levels: Sequence[Level] = ()

    @property
    def name(self) -> str:
        """The standard's."""
        return UID(self.sop_class).name


SERVICES: Final = (
    Service(sop_class=Verification, operation=ECHO),
    Service(sop_class=PatientRootQueryRetrieveInformationModelFind, operation=FIND, levels=LEVELS),
    Service(sop_class=PatientRootQueryRetrieveInformationModelMove, operation=MOVE, levels=LEVELS),
    Service(sop_class=PatientRootQueryRetrieveInformationModelGet, operation=GET, levels=LEVELS),
    Service(sop_class=StudyRootQueryRetrieveInformationModelFind, operation=FIND, levels=_STUDY_ROOT),
    Service(sop_class=StudyRootQueryRetrieveInformationModelMove, operation=MOVE, levels=_STUDY_ROOT),
    Service(sop_class=StudyRootQueryRetrieveInformationModelGet, operation=GET, levels=_STUDY_ROOT),
)
RELATIONAL: Final = frozenset(one.sop_class for one in SERVICES if one.operation == FIND)
"""SOP classes whose queries may leave out unique keys, where the peer asks for that right (PS3.4 section C.5.1.1)."""


class Services:
    """Serves what comes in by the table.

    Args:
        finder: answers C-FIND.
        retriever: answers C-MOVE and C-GET.
        workitems: serve all of UPS.
        peers: know who asks, and what they may do.
        keep: keeps what each operation leaves in the audit trail.
    """

    def __init__(
        self,
        finder: Finder,
        retriever: Retriever,
        workitems: WorkitemServices,
        peers: PeerRoles | None = None,
        keep: Callable[[AuditEntry], None] = lambda _: None,
    ) -> None:
        self._peers = peers or PeerRoles()
        self._keep = keep
        self._workitems = workitems
        self._table: dict[tuple[str, str], Service] = {(one.sop_class, one.operation): one for one in SERVICES}
        self._serve: dict[str, ServeOperation] = {FIND: finder.serve, MOVE: retriever.move, GET: retriever.get}
        self._log = structlog.get_logger()

    def serve(self, association: GuestAssociation, request: Any, context: PresentationContext) -> bool:  # noqa: ANN401
        """Serve a request; False where it is the library's to serve."""
        with seeing(self._peers.actor(association).sight):
            return self._served(association, request, context)

    def _served(self, association: GuestAssociation, request: Any, context: PresentationContext) -> bool:  # noqa: ANN401
        if self._workitems.serve(association, request, context):
            return True
        if not isinstance(request, tuple(OPERATIONS.values())):
            return False
        operation = Operation(association, request, context)
        started = time.monotonic()
        try:
            self._answer(operation)
        except Refusal as refusal:
            operation.refuse(refusal)
        except NotPermitted as error:
            operation.refuse(Refusal(NOT_PERMITTED, error.message))
        except InvalidInput as error:
            operation.refuse(Refusal(BAD_VALUE, error.message))
        except (PacsUnavailable, SQLAlchemyError) as error:
            self._log.warning("no answer for a DIMSE request", error=type(error).__name__)
            status = OUT_OF_RESOURCES if operation.name == FIND else NOT_COUNTED
            operation.refuse(Refusal(status, "the PACS or the database does not answer: try again"))
        except Exception:  # noqa: BLE001 - whatever it is, the peer gets an answer and keeps its association
            self._log.exception("a DIMSE request failed", operation=operation.name)
            operation.refuse(Refusal(FAULT, "a fault of Firstread: see its log"))
        self._log.info(
            operation.name,
            calling=operation.calling_title,
            address=association.place,
            status=f"{operation.last.code:04X}",
            answers=operation.answers,
            elapsed_ms=round((time.monotonic() - started) * 1000),
        )
        self._keep(entry_of(operation, self._peers.actor(association)))
        return True

    def _answer(self, operation: Operation) -> None:
        service = self._table.get((operation.sop_class, operation.name))
        if operation.request.AffectedSOPClassUID != operation.sop_class:
            raise Refusal(NOT_THIS_CLASS, f"the presentation context is of {operation.sop_class.name}")
        if service is None:
            raise Refusal(NOT_THIS_OPERATION, f"{operation.sop_class.name} has no {operation.name}")
        self._peers.actor(operation.association).require(_USE_CASES[operation.name])
        self._serve[operation.name](operation, service.levels)


def contexts() -> list[PresentationContext]:
    """What associations may be opened for: the table, and what a C-GET needs to be answered."""
    classes = [*(one.sop_class for one in SERVICES), *OFFERED]
    offered = [build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in classes]
    return [*offered, *storage_contexts()]


def storage_contexts() -> list[PresentationContext]:
    """Of C-STORE, as SCU alone: the SOP classes of images and documents, in whatever transfer syntax the peer takes."""
    stored = []
    for known in AllStoragePresentationContexts:
        context = build_context(known.abstract_syntax or "", list(STORED_SYNTAXES))
        context.scu_role, context.scp_role = False, True  # of the requestor: it is to store, and we send
        stored.append(context)
    return stored
