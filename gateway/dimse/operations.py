"""One C-FIND, C-MOVE or C-GET of a peer, and the answers to it (PS3.7 section 9.1)."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext

from gateway.dimse.association import GuestAssociation
from gateway.dimse.statuses import FIND, GET, MOVE, SUCCESS, Refusal, Status

OPERATIONS: Final = {FIND: C_FIND, MOVE: C_MOVE, GET: C_GET}
_NAMES: Final = {kind: name for name, kind in OPERATIONS.items()}


@dataclass(kw_only=True, slots=True)
class Counts:
    """Of the sub-operations of a retrieval."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0


class Operation:
    """A request that is being served.

    Args:
        association: of the peer.
        request: as it came.
        context: the presentation context that it came in.
    """

    def __init__(self, association: GuestAssociation, request: Any, context: PresentationContext) -> None:  # noqa: ANN401
        self.association = association
        self.request = request
        self.answers = 0
        self.sent = 0  # instances, by a retrieval
        self.last: Status = SUCCESS
        self._context = context
        self._commands: dict[int, bytes] = {}

    @property
    def name(self) -> str:
        """C-FIND, C-MOVE or C-GET."""
        return _NAMES[type(self.request)]

    @property
    def sop_class(self) -> UID:
        """That of the presentation context."""
        return UID(self._context.abstract_syntax or "")

    @property
    def calling_title(self) -> str:
        """The peer's AE title."""
        return str(self.association.requestor.ae_title).strip()

    @property
    def is_implicit(self) -> bool:
        """Whether identifiers come and go without VRs."""
        return bool(self._context.transfer_syntax[0] == ImplicitVRLittleEndian)

    @property
    def identifier(self) -> BytesIO | None:
        """As it came, encoded."""
        return self.request.Identifier  # type: ignore[no-any-return]

    @property
    def is_relational(self) -> bool:
        """Whether relational queries or retrievals were agreed upon (PS3.4 section C.5.1.1)."""
        negotiated = self.association.acceptor.sop_class_extended.get(self.sop_class, b"")
        return bool(negotiated[:1] == b"\x01")

    @property
    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL for it has come."""
        return self.request.MessageID in self.association.dimse.cancel_req

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for its answers any more."""
        return not self.association.is_open

    def tell(self, status: Status, identifier: bytes) -> None:
        """Send one match of a C-FIND.

        All that have a status have the same command set. pynetdicom would build and encode it each time, which takes
        ten times as long as all else.

        Args:
            status: PENDING, or PARTLY_SUPPORTED.
            identifier: an encoded data set.
        """
        if status.code not in self._commands:
            response = self._response(status)
            response.Identifier = BytesIO(identifier)
            message = C_FIND_RSP()
            message.primitive_to_message(response)
            self._commands[status.code] = encode(message.command_set, True, True) or b""  # noqa: FBT003 - as PS3.7 6.3.1
        self.answers += 1
        self.association.send_encoded(self._context.context_id or 0, self._commands[status.code], identifier)

    def answer(self, status: Status, identifier: bytes | None = None, counts: Counts | None = None) -> None:
        """Send an answer.

        Args:
            status: what it says.
            identifier: an encoded data set.
            counts: of sub-operations; the remaining ones are told of what goes on or was cancelled alone.
        """
        response = self._response(status)
        if identifier is not None:
            response.Identifier = BytesIO(identifier)
        if counts:
            self.sent = counts.completed + counts.warning
            if status.code in {0xFF00, 0xFE00}:
                response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warning
        self._send(response)

    def refuse(self, refusal: Refusal) -> None:
        """Send a failure with what is wrong."""
        response = self._response(refusal.status)
        response.ErrorComment = refusal.comment
        if refusal.offending:
            response.OffendingElement = list(refusal.offending)
        self._send(response)

    def _response(self, status: Status) -> Any:  # noqa: ANN401 - one of the library's primitives
        self.last = status
        response = type(self.request)()
        response.MessageIDBeingRespondedTo = self.request.MessageID
        response.AffectedSOPClassUID = self.request.AffectedSOPClassUID
        response.Status = status.code
        return response

    def _send(self, response: Any) -> None:  # noqa: ANN401 - the same
        self.answers += 1
        self.association.dimse.send_msg(response, self._context.context_id or 0)
