"""UPS Push, Pull, Watch and Query as SCP (PS3.4 Annex CC): the same workitems as by UPS-RS, in the same order.

What subscribers hear is sent by event_reports.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import structlog
from pydicom.uid import UID
from pynetdicom.dimse_primitives import C_FIND, N_ACTION, N_CREATE, N_GET, N_SET
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
)
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit.operations import entry_of, entry_of_workitem
from gateway.dimse.association import GuestAssociation
from gateway.dimse.operations import Operation
from gateway.dimse.peers import PeerRoles
from gateway.dimse.statuses import (
    BAD_VALUE,
    CANCELLED,
    FAULT,
    NOT_PERMITTED,
    OUT_OF_RESOURCES,
    PENDING,
    SUCCESS,
    Refusal,
)
from gateway.dimse.workitem_datasets import asked_values, decoded_json, encoded_json, keys_of
from worklist.audit import AuditEntry
from worklist.errors import InvalidInput, NotPermitted
from worklist.matching import Key
from worklist.procedure_step import ProcedureStepState
from worklist.procedure_step import Status as StepStatus
from worklist.reading import Actor
from worklist.records import SubscriptionRecords, WorkitemRecords, WorkitemSearches
from worklist.roles import UseCase
from worklist.workitems import refusal as refusals
from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson, text
from worklist.workitems.identity import FILTERED_GLOBAL, WELL_KNOWN
from worklist.workitems.refusal import WorkitemRefused

STATE, CANCEL, SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 1, 2, 3, 4, 5
"""Action Type ID (0000,1008), PS3.4 Tables CC.2.1-1 to CC.2.3-1."""
ACTION_NAMES: Final[Mapping[int, str]] = {
    STATE: "change state",
    CANCEL: "request cancel",
    SUBSCRIBE: "subscribe",
    UNSUBSCRIBE: "unsubscribe",
    SUSPEND: "suspend global subscription",
}

_UNKNOWN_RECEIVER: Final = 0xC308
_NOT_OF_ONE: Final = 0xC314
_NO_EVENT_REPORTS: Final = 0xC315
_NO_SUCH_ACTION: Final = 0x0123
_UNRECOGNIZED_OPERATION: Final = 0x0211
_PROCESSING_FAILURE: Final = 0x0110
_PAGE: Final = 500

OFFERED: Final[Mapping[UID, tuple[type, ...]]] = {
    UnifiedProcedureStepPush: (N_CREATE, N_GET, N_ACTION),
    UnifiedProcedureStepPull: (C_FIND, N_GET, N_SET, N_ACTION),
    UnifiedProcedureStepWatch: (C_FIND, N_GET, N_ACTION),
    UnifiedProcedureStepQuery: (C_FIND,),
}
"""The operations of each SOP class (PS3.4 Table CC.2-1)."""
ACTIONS: Final[Mapping[UID, frozenset[int]]] = {
    UnifiedProcedureStepPush: frozenset({CANCEL}),
    UnifiedProcedureStepPull: frozenset({STATE}),
    UnifiedProcedureStepWatch: frozenset({CANCEL, SUBSCRIBE, UNSUBSCRIBE, SUSPEND}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemServices:
    """Serves requests about workitems.

    Attributes:
        records: what is done with workitems.
        searches: of them.
        subscriptions: who hears of them.
        receivers: AE titles of those who can be sent event reports.
        peers: know who asks, and what they may do.
        keep: keeps what each request leaves in the audit trail.
    """

    records: WorkitemRecords
    searches: WorkitemSearches
    subscriptions: SubscriptionRecords
    receivers: Collection[str] = frozenset()
    peers: PeerRoles = field(default_factory=PeerRoles)
    keep: Callable[[AuditEntry], None] = lambda _: None

    def serve(self, association: GuestAssociation, request: Any, context: PresentationContext) -> bool:  # noqa: ANN401
        """Serve a request; False where it is of another SOP class."""
        sop_class = UID(context.abstract_syntax or "")
        if sop_class not in OFFERED:
            return False
        one = _Request(association, request, context, self.peers.actor(association))
        if type(request) not in OFFERED[sop_class]:
            one.answer(_UNRECOGNIZED_OPERATION, comment=f"{sop_class.name} has no such operation")
        elif isinstance(request, C_FIND):
            search = Operation(association, request, context)
            self._find(search, one.actor)
            self.keep(entry_of(search, one.actor))
        else:
            self._normalized(one)
            entry = one.entry()
            if entry:
                self.keep(entry)
        return True

    # ---- N-CREATE, N-GET, N-SET, N-ACTION ----

    def _normalized(self, one: _Request) -> None:
        serve: dict[type, Callable[[_Request], None]] = {
            N_CREATE: self._create,
            N_GET: self._get,
            N_SET: self._set,
            N_ACTION: self._act,
        }
        try:
            serve[type(one.request)](one)
        except WorkitemRefused as refused:
            one.answer(_code(refused.status), comment=refused.message)
        except NotPermitted as refused:
            one.answer(NOT_PERMITTED.code, comment=refused.message)
        except Refusal as refused:
            one.answer(int(refusals.Refusal.INVALID_VALUE, 16), comment=refused.comment)
        except SQLAlchemyError as error:
            structlog.get_logger().warning("no answer for a DIMSE request", error=type(error).__name__)
            one.answer(_PROCESSING_FAILURE, comment="the database does not answer: try again")
        except Exception:  # noqa: BLE001 - whatever it is, the peer gets an answer and keeps its association
            structlog.get_logger().exception("a DIMSE request failed")
            one.answer(_PROCESSING_FAILURE, comment="a fault of Firstread: see its log")

    def _create(self, one: _Request) -> None:
        given = one.dataset(one.request.AttributeList)
        one.uid, _ = self.records.create(one.actor, given, one.uid)
        one.answer(0x0000)

    def _get(self, one: _Request) -> None:
        one.actor.require(UseCase.SEARCH)
        dataset = self.records.retrieve(one.uid)
        wanted = {f"{int(tag):08X}" for tag in one.request.AttributeIdentifierList or ()}
        told = {tag: held for tag, held in dataset.items() if not wanted or tag in wanted}
        one.answer(0x0000, told=told)

    def _set(self, one: _Request) -> None:
        given = one.dataset(one.request.ModificationList)
        transaction_uid = text(given, rules.TRANSACTION)
        given.pop(rules.TRANSACTION, None)
        is_changed = self.records.update(one.actor, one.uid, given, transaction_uid)
        one.answer(0x0001 if is_changed else 0x0000)  # 0001: requested optional attributes are not supported

    def _act(self, one: _Request) -> None:
        action = one.request.ActionTypeID
        if action not in ACTIONS.get(one.sop_class, ()):
            one.answer(_NO_SUCH_ACTION, comment=f"{one.sop_class.name} has no action {action}")
            return
        given = one.dataset(one.request.ActionInformation)
        if action in {SUBSCRIBE, UNSUBSCRIBE, SUSPEND}:
            self._watch(one, action, given)
            return
        if action == CANCEL:
            status = self.records.request_cancel(one.actor, one.uid, given, one.actor.name)
        else:
            try:
                state = ProcedureStepState(text(given, rules.STATE))
            except ValueError as error:
                raise Refusal(BAD_VALUE, "Procedure Step State is IN PROGRESS, COMPLETED or CANCELED") from error
            one.state = state.value
            status = self.records.change_state(one.actor, one.uid, state, text(given, rules.TRANSACTION)).warning
        one.answer(_code(status) if status else 0x0000)

    def _watch(self, one: _Request, action: int, given: DicomJson) -> None:
        """Subscribe, unsubscribe or suspend (PS3.4 section CC.2.3)."""
        receiver = text(given, RECEIVING_AE)
        if not self.receivers:
            one.answer(_NO_EVENT_REPORTS, comment="no receiver is named in FIRSTREAD_DIMSE_SUBSCRIBERS")
        elif receiver not in self.receivers:
            one.answer(_UNKNOWN_RECEIVER, comment="ReceivingAE is not in FIRSTREAD_DIMSE_SUBSCRIBERS")
        elif action == SUBSCRIBE:
            self._subscribe(one, receiver, given)
        elif action == UNSUBSCRIBE:
            self.subscriptions.unsubscribe(one.actor, receiver, one.uid)
            one.answer(0x0000)
        elif one.uid not in WELL_KNOWN:
            one.answer(_NOT_OF_ONE, comment="only a subscription to all workitems can be suspended")
        else:
            self.subscriptions.suspend(one.actor, receiver, one.uid)
            one.answer(0x0000)

    def _subscribe(self, one: _Request, receiver: str, given: DicomJson) -> None:
        lock = text(given, DELETION_LOCK)
        if lock not in {"TRUE", "FALSE"}:
            raise Refusal(BAD_VALUE, "DeletionLock is TRUE or FALSE")
        asked = {tag: held for tag, held in given.items() if tag not in {RECEIVING_AE, DELETION_LOCK}}
        keys = list(asked_values(asked))
        if keys and one.uid != FILTERED_GLOBAL:
            raise Refusal(BAD_VALUE, f"keys belong to {FILTERED_GLOBAL}")
        try:
            self.subscriptions.subscribe(one.actor, receiver, one.uid, has_lock=lock == "TRUE", keys=keys)
        except InvalidInput as error:
            raise Refusal(BAD_VALUE, error.message) from error
        one.answer(0x0000)

    # ---- C-FIND ----

    def _find(self, operation: Operation, actor: Actor) -> None:
        try:
            actor.require(UseCase.SEARCH)
            asked = decoded_json(operation.identifier, is_implicit=operation.is_implicit)
            keys = list(keys_of(asked))
            for found in self._found(keys):
                if operation.is_abandoned:
                    return
                if operation.is_cancelled:
                    operation.answer(CANCELLED)
                    return
                told = {tag: held for tag, held in found.items() if tag in asked or tag in _ALWAYS}
                operation.tell(PENDING, encoded_json(told, is_implicit=operation.is_implicit))
            operation.answer(CANCELLED if operation.is_cancelled else SUCCESS)
        except Refusal as refused:
            operation.refuse(refused)
        except NotPermitted as error:
            operation.refuse(Refusal(NOT_PERMITTED, error.message))
        except InvalidInput as error:
            operation.refuse(Refusal(BAD_VALUE, error.message))
        except SQLAlchemyError:
            operation.refuse(Refusal(OUT_OF_RESOURCES, "the database does not answer: try again"))
        except Exception:  # noqa: BLE001 - the same
            structlog.get_logger().exception("a DIMSE request failed")
            operation.refuse(Refusal(FAULT, "a fault of Firstread: see its log"))

    def _found(self, keys: list[Key]) -> Iterator[DicomJson]:
        offset = 0
        while True:
            page = self.searches.page(keys, offset=offset, limit=_PAGE).workitems
            yield from page
            if len(page) < _PAGE:
                return
            offset += _PAGE


RECEIVING_AE, DELETION_LOCK = "00741234", "00741230"
_ALWAYS: Final = frozenset({rules.SOP_CLASS, rules.SOP_INSTANCE, "00080005"})
_NAMES: Final = {N_CREATE: "N-CREATE", N_GET: "N-GET", N_SET: "N-SET", N_ACTION: "N-ACTION"}


class _Request:
    """A request of a normalized service, and the answer to it."""

    def __init__(
        self,
        association: GuestAssociation,
        request: Any,  # noqa: ANN401
        context: PresentationContext,
        actor: Actor,
    ) -> None:
        self.request = request
        self.actor = actor
        named = "AffectedSOPInstanceUID" if isinstance(request, N_CREATE) else "RequestedSOPInstanceUID"
        self.uid = str(getattr(request, named, None) or "")  # of the workitem
        self.state = ""
        self.status = 0
        self.sop_class = UID(context.abstract_syntax or "")
        self._association = association
        self._context = context
        self._is_implicit = bool(UID(context.transfer_syntax[0]).is_implicit_VR)

    def dataset(self, encoded: BytesIO | None) -> DicomJson:
        """A data set of the request."""
        return decoded_json(encoded, is_implicit=self._is_implicit)

    def entry(self) -> AuditEntry | None:
        """What the request leaves in the audit trail."""
        action = self.request.ActionTypeID if isinstance(self.request, N_ACTION) else None
        return entry_of_workitem(
            self.actor,
            service=_NAMES.get(type(self.request), ""),
            status=self.status,
            workitem_uid=self.uid,
            is_change=type(self.request) in {N_CREATE, N_SET} or action in {STATE, CANCEL},
            action=ACTION_NAMES.get(action, "") if action else "",
            state=self.state,
        )

    def answer(self, status: int, *, comment: str = "", told: DicomJson | None = None) -> None:
        """Send it."""
        self.status = status
        response = type(self.request)()
        response.MessageIDBeingRespondedTo = self.request.MessageID
        response.AffectedSOPClassUID = UnifiedProcedureStepPush  # PS3.4 section CC.3.1
        if self.uid:
            response.AffectedSOPInstanceUID = self.uid
        response.Status = status
        if comment:
            response.ErrorComment = Refusal(BAD_VALUE, comment).comment
        if told is not None:
            response.AttributeList = BytesIO(encoded_json(told, is_implicit=self._is_implicit))
        if isinstance(self.request, N_ACTION):
            response.ActionTypeID = self.request.ActionTypeID
        self._association.dimse.send_msg(response, self._context.context_id or 0)


def _code(status: StepStatus | refusals.Refusal) -> int:
    gone = status is refusals.Refusal.GONE
    return int(StepStatus.UNKNOWN_INSTANCE if gone else status, 16)
