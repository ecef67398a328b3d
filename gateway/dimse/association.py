"""Associations that wait instead of asking a thousand times a second, and of which none can cost the others anything.

pynetdicom's own would let a peer that stops reading grow a queue without end, announce a PDU of 4 GB, or hold up
everybody else by a TLS handshake that it never finishes; and each of them takes two threads that wake every
millisecond. What is overridden here is the part between its reactors and the socket, in version 3.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from socketserver import TCPServer
from typing import Any, Final, cast

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AddressInformation, AssociationSocket, RequestHandler, ThreadedAssociationServer

from gateway.dimse.admission import Admission
from gateway.dimse.certificates import names_in
from gateway.dimse.fragments import fragmented

LONGEST_REQUEST: Final = 1_000_000  # bytes of one PDU or one message from a peer: it sends identifiers and answers
_ESTABLISHED: Final = "Sta6"  # PS3.8 Table 9-9: ready for data transfer
_CLOSED: Final = {"Sta1", "Sta13"}
_IDLE_S: Final = 0.05  # how long a reactor waits for something to happen before it looks at its timers
_LOOK_S: Final = 0.005  # between looks for what an association begins or ends with
_UNSERVED: Final = 8  # requests that wait while one is served; a peer that sends more is not read


class RequestSocket(AssociationSocket):
    """A socket on which PDUs are bounded in size and in the time that they may take."""

    def __init__(self, association: Association, connection: socket.socket) -> None:
        super().__init__(association, client_socket=connection)
        self.is_ended = False
        is_secured = isinstance(connection, ssl.SSLSocket)  # OpenSSL does not let one thread read while another writes
        self._turn: AbstractContextManager[object] = threading.Lock() if is_secured else contextlib.nullcontext()
        self._woken, self._waker = socket.socketpair()
        self._woken.settimeout(0)
        self._waker.settimeout(0)

    def wake(self) -> None:
        """Let whoever waits for data look what else there is to do."""
        with contextlib.suppress(OSError):  # it will wake anyway, or is gone
            self._waker.send(b"\0")

    def free(self) -> None:
        """Give back what is not the connection's own; nobody waits any more."""
        self._woken.close()
        self._waker.close()

    def holds(self, wait_s: float) -> bool:
        """Whether there is something to read, at once or as soon as it comes; the wait ends when somebody wakes it."""
        if self.socket is None or not self._is_connected:
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        try:
            ready, _, _ = select.select([self.socket, self._woken], [], [], wait_s)
            if self._woken in ready:
                self._woken.recv(4096)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # transport connection closed
            return False
        return self.socket in ready

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be served that no more is read."""
        return self.assoc.dimse.msg_queue.qsize() >= _UNSERVED

    @property
    def ready(self) -> bool:
        """Whether there is data to be read; waits a moment for it where nothing is to be sent."""
        if self.is_behind:
            if select.select([self._woken], [], [], _IDLE_S)[0]:
                self._woken.recv(4096)
            return False
        return self.holds(0 if self.provider_queue.qsize() or self.event_queue.qsize() else _IDLE_S)

    def send(self, bytestream: bytes) -> None:
        """Send all, or end the connection where the peer takes nothing for too long."""
        left = memoryview(bytestream)
        try:
            while left:
                with self._turn:
                    left = left[cast("socket.socket", self.socket).send(left) :]
        except (OSError, AttributeError):  # the second: closed by the reactor meanwhile
            self.event_queue.put("Evt17")
            self.wake()

    def recv(self, nr_bytes: int) -> bytearray:
        """Read that many bytes.

        Raises:
            OSError: that is more than any request has, or they do not come in time.
        """
        message = self.assoc.dimse.message
        held = sum(part.tell() for part in (message.data_set, message.encoded_command_set) if part) if message else 0
        if nr_bytes + held > LONGEST_REQUEST:
            raise OSError(f"a message of more than {LONGEST_REQUEST} bytes")
        connection = cast("socket.socket", self.socket)
        until = time.monotonic() + (connection.gettimeout() or 0)
        received = bytearray()
        while len(received) < nr_bytes:
            with self._turn:
                part = connection.recv(nr_bytes - len(received))
            if not part:
                self.is_ended = True
                return received
            received += part
            # A peer may hold back the second part of its request until the first is acknowledged, 40 ms later.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if time.monotonic() > until:
                raise TimeoutError("a PDU that does not end")
        return received


class _Reactor(DULServiceProvider):
    """The upper layer: who has data to send sends them, at the pace of the peer; all else is the reactor's."""

    def send_pdu(self, primitive: Any) -> None:  # noqa: ANN401 - the library's own union
        """Send; data at once and in the caller's thread, so that nothing waits in memory for a peer to read it."""
        if not isinstance(primitive, P_DATA):
            super().send_pdu(primitive)
            _of(self).wake()
        else:
            pdu = P_DATA_TF()
            pdu.from_primitive(primitive)
            self.send_data(pdu.encode())

    def send_data(self, pdus: bytes) -> None:
        """Send encoded P-DATA-TF PDUs: DT-1 of PS3.8 Table 9-7, which changes no state."""
        if self.is_open:
            _of(self).send(pdus)

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002
        """The next primitive of the peer; does not wait for one who has gone before he said anything."""
        until = time.monotonic() + (timeout or 0)
        while wait and time.monotonic() < until and not self.to_user_queue.qsize() and not self._is_deserted:
            time.sleep(_LOOK_S)
        return super().receive_pdu(wait=False)

    @property
    def _is_deserted(self) -> bool:
        return _of(self).is_ended and self.state_machine.current_state == "Sta1"

    @property
    def is_open(self) -> bool:
        """Whether data can be sent."""
        return self.is_alive() and self.state_machine.current_state == _ESTABLISHED

    def _process_recv_primitive(self) -> bool:
        if self.state_machine.current_state in _CLOSED:
            while self.to_provider_queue.qsize():  # nobody is there to whom it could be sent
                self.to_provider_queue.get_nowait()
        return bool(super()._process_recv_primitive())

    def run_reactor(self) -> None:
        """Work until the association has ended."""
        try:
            super().run_reactor()
        finally:
            _of(self).free()


def _of(reactor: DULServiceProvider) -> RequestSocket:
    return cast("RequestSocket", reactor.socket)


class _Messages(DIMSEServiceProvider):
    """Messages, for which the association's reactor waits a moment each time."""

    def get_msg(self, block: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - the library's own signature
        """The next message and its context, or a pair of None."""
        try:
            if block:
                return self._awaited()
            wait_s = 0 if self.assoc.dul.to_user_queue.qsize() else _IDLE_S
            return self.msg_queue.get(timeout=wait_s) if wait_s else self.msg_queue.get(block=False)
        except queue.Empty:
            self.cancel_req.clear()  # they were for what has been answered
            return None, None

    def _awaited(self) -> Any:  # noqa: ANN401 - the same
        """As long as the peer may take, but not after it has gone."""
        until = time.monotonic() + (self.dimse_timeout or 0)
        while time.monotonic() < until:
            try:
                return self.msg_queue.get(timeout=_IDLE_S)
            except queue.Empty:
                if not cast("_Reactor", self.dul).is_open:
                    break
        return None, None


Serve = Callable[["GuestAssociation", Any, Any], bool]
"""Serves a request that the library's own service classes do not serve as we want; whether it did."""

Refused = Callable[..., None]
"""Told of whom was not let in: the address, why, and the calling and the called AE title where they are known."""
UNKNOWN_ADDRESS: Final = "address not in FIRSTREAD_DIMSE_PEERS"
UNKNOWN_TITLE: Final = "not in FIRSTREAD_DIMSE_PEERS"
OTHER_TITLE: Final = "called by another AE title"
TOO_MANY: Final = "too many associations"


class GuestAssociation(Association):
    """An association of somebody who called us."""

    def __init__(self, server: RequestServer, connection: socket.socket) -> None:
        super().__init__(server.ae, MODE_ACCEPTOR)
        self.dul = _Reactor(self)
        self.dul.daemon = True
        self.dimse = _Messages(self)
        self._server = server
        self.network_timeout = server.ae.network_timeout  # hands it to the new reactor
        self.acse_timeout = server.ae.acse_timeout
        self.place = ""
        self.certified: frozenset[str] = frozenset()
        self.set_socket(RequestSocket(self, connection))

    @property
    def is_open(self) -> bool:
        """Whether the peer is still there."""
        return cast("_Reactor", self.dul).is_open

    def send_encoded(self, context_id: int, command: bytes, data_set: bytes) -> None:
        """Send a message whose parts are encoded already, in one piece."""
        pdus = fragmented(context_id, command, data_set, self.dimse.maximum_pdu_size)
        cast("_Reactor", self.dul).send_data(pdus)

    def run_reactor(self) -> None:
        """Serve the peer until it has gone, and then let somebody else have its place."""
        try:
            super().run_reactor()
        finally:
            cast("RequestServer", self._server).leave(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:  # noqa: ANN401 - the library's own union
        context = self._accepted_cx.get(context_id)
        is_request = msg.MessageID is not None and msg.MessageIDBeingRespondedTo is None
        self._is_paused = True  # so that C-STOREs can be sent from within
        if not (context and is_request and cast("RequestServer", self._server).serve(self, msg, context)):
            super()._serve_request(msg, context_id)
        self._is_paused = False
        self.dimse.cancel_req.clear()
        self.dul._idle_timer.restart()  # noqa: SLF001 - it has run while we were at work, and that was not idleness


class _GuestHandler(RequestHandler):
    """Makes an association of a connection, in a thread of its own."""

    server: RequestServer

    def handle(self) -> None:
        """Finish the TLS handshake, and begin."""
        connection = cast("socket.socket", self.request)
        connection.settimeout(self.server.stall_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(connection, ssl.SSLSocket):
            connection.do_handshake()
        association = self._create_association()
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()

    def _create_association(self) -> GuestAssociation:
        association = GuestAssociation(self.server, cast("socket.socket", self.request))
        association.place = self.client_address[0]
        if isinstance(self.request, ssl.SSLSocket):
            association.certified = names_in(self.request.getpeercert() or {})
        association.name = f"AcceptorThread@{time.strftime('%Y%m%d%H%M%S')}"
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = AddressInformation.from_tuple(self.server.server_address)
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = self.server.contexts
        association.requestor.address_info = AddressInformation.from_tuple(self.client_address)
        for event, bound in self.server._handlers.items():  # noqa: SLF001 - as the library's own handler does
            for handler in [bound] if isinstance(bound, tuple) else bound:
                association.bind(event, *handler)
        return association


class RequestServer(ThreadedAssociationServer):
    """Listens, and lets in whom the site lets in, as many as there is room for.

    Args:
        arguments: as pynetdicom's AE hands them on.
        admission: who may come in.
        serve: serves what the library's own service classes do not.
        refused: told of whom was not let in.
        stall_s: how long a peer may take to read what it is sent, or to finish what it sends.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - as pynetdicom's AE hands them on
        admission: Admission,
        serve: Serve,
        refused: Refused,
        stall_s: float,
        **named: Any,  # noqa: ANN401
    ) -> None:
        self.admission = admission
        self.serve = serve
        self.refused = refused
        self.stall_s = stall_s
        super().__init__(*arguments, request_handler=_GuestHandler, **named)  # type: ignore[misc]

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection; its handshake is not waited for here, where it would hold up the others."""
        connection, address = cast("socket.socket", self.socket).accept()
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401 - socketserver's signature
        """Whether somebody may come in at all; where not, the connection is closed without a word."""
        del request
        address = client_address[0]
        if self.admission.enter(address):
            return True
        self.refused(address, TOO_MANY if self.admission.is_named(address) else UNKNOWN_ADDRESS)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the same
        """Begin an association."""
        try:
            self.finish_request(request, client_address)
        except (OSError, ValueError) as error:  # no TLS, or gone already
            if isinstance(error, ssl.SSLError):
                self.refused(client_address[0], f"TLS: {(error.reason or 'no handshake').replace('_', ' ').lower()}")
            self.admission.leave(client_address[0])
            self.shutdown_request(request)

    def shutdown(self) -> None:
        """Stop listening."""
        TCPServer.shutdown(self)
        self.server_close()

    def leave(self, association: GuestAssociation) -> None:
        """Note that somebody has gone."""
        self.admission.leave(association.place)
