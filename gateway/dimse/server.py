"""The DICOM application entity FIRSTREAD: it listens, negotiates, and hands each request to the services."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import structlog
from pydicom.uid import UID
from pynetdicom import AE, _config, evt

from gateway.dimse.admission import Admission
from gateway.dimse.association import (
    OTHER_TITLE,
    TOO_MANY,
    UNKNOWN_TITLE,
    GuestAssociation,
    Refused,
    RequestServer,
)
from gateway.dimse.services import RELATIONAL, Services, contexts
from worklist.errors import InvalidInput, PermanentError

IMPLEMENTATION_CLASS_UID: Final = "2.25.227065285229085989531461274623058465272"
IMPLEMENTATION_VERSION: Final = "FIRSTREAD"
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
"""Of TLS 1.2, as BCP 195 (RFC 9325) and PS3.15 section B.12 have them: forward secrecy and authenticated encryption."""
_NEGOTIATION_S: Final = 30  # ARTIM, PS3.8 section 9.1.5
_BY_LOCAL_LIMIT: Final = (2, 3, 2)  # transient, by the presentation layer, PS3.8 Table 9-21
_UNKNOWN_CALLING_TITLE: Final = (1, 1, 3)
_UNKNOWN_CALLED_TITLE: Final = (1, 1, 7)
_GOODBYE_S: Final = 2.0
_LOOK_S: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """Where and how to listen.

    Attributes:
        host: address.
        port: TCP port; 0 for any that is free.
        ae_title: by which we must be called.
        most: associations at one time.
        pdu_bytes: the longest PDU that a peer may send.
        idle_s: after so long without a message an association is ended.
        stall_s: so long a peer may take to read what it is sent, or to finish what it sends.
        tls: None for none.
    """

    host: str
    port: int
    ae_title: str
    most: int = 20
    pdu_bytes: int = 16_384
    idle_s: float = 60.0
    stall_s: float = 20.0
    tls: ssl.SSLContext | None = None


class DimseServer:
    """Listens from the moment it is made, until it is closed.

    Args:
        listening: where and how.
        admission: who may come.
        services: serve what they ask.
        refused: told of whom was not let in.

    Raises:
        InvalidInput: bad_ae_title.
        PermanentError: port_taken.
    """

    def __init__(
        self,
        listening: Listening,
        admission: Admission,
        services: Services,
        refused: Refused = lambda *_: None,
    ) -> None:
        _be_quiet()
        self._log = structlog.get_logger()
        self._admission = admission
        self._refused = refused
        self._title = listening.ae_title.strip()
        try:
            entity = AE(ae_title=listening.ae_title)
        except ValueError as error:
            raise InvalidInput(
                "bad_ae_title", f"FIRSTREAD_AET={listening.ae_title} is no AE title: set 1 to 16 characters of ASCII"
            ) from error
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        entity.implementation_version_name = IMPLEMENTATION_VERSION
        entity.maximum_associations = 10 * listening.most  # the library's own count comes too late, see Admission
        entity.maximum_pdu_size = listening.pdu_bytes
        entity.network_timeout = entity.dimse_timeout = listening.idle_s
        entity.acse_timeout = min(_NEGOTIATION_S, listening.idle_s)
        try:
            self._server = entity.make_server(
                (listening.host, listening.port),
                ssl_context=listening.tls,
                contexts=contexts(),
                evt_handlers=[(evt.EVT_REQUESTED, self._admit), (evt.EVT_SOP_EXTENDED, _extended)],
                server_class=RequestServer,
                admission=admission,
                serve=services.serve,
                refused=refused,
                stall_s=listening.stall_s,
            )
        except OSError as error:
            raise PermanentError(
                "port_taken",
                f"nobody can listen at {listening.host}, port {listening.port} ({error.strerror}): "
                "stop what uses it, or set FIRSTREAD_DIMSE_HOST and _PORT",
            ) from error
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="dimse", daemon=True).start()

    @property
    def associations(self) -> Sequence[GuestAssociation]:
        """Those that there are, refused ones that are still leaving included."""
        return cast("Sequence[GuestAssociation]", self._server.active_associations)

    def close(self) -> None:
        """End every association, and stop listening."""
        self._server.shutdown()
        associations = self.associations
        for association in associations:
            association.abort(block=False)
        for association in associations:
            association.join(_GOODBYE_S)

    def _admit(self, event: evt.Event) -> None:
        association = cast("GuestAssociation", event.assoc)
        asked: Any = association.requestor.primitive
        calling, called = str(asked.calling_ae_title).strip(), str(asked.called_ae_title).strip()
        reason = None
        if not self._admission.is_known(calling, association.place):
            reason, why = _UNKNOWN_CALLING_TITLE, UNKNOWN_TITLE
        elif called != self._title:
            reason, why = _UNKNOWN_CALLED_TITLE, OTHER_TITLE
        elif self._admission.is_full(association.place):
            reason, why = _BY_LOCAL_LIMIT, TOO_MANY
        if reason:
            self._log.warning(
                "association refused", calling=calling, called=called, address=association.place, reason=why
            )
            self._refused(association.place, why, calling, called)
            association.acse.send_reject(*reason)
            association.is_rejected = True
            association.kill()


def tls_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and later as BCP 195 has it.

    Args:
        certificate: ours with its chain, PEM.
        key: its private key, PEM.
        client_ca: the authority from which peers must have a certificate; None where they need none.

    Raises:
        InvalidInput: dimse_tls_unusable.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, client_ca)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def receiver_tls_context(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """The same towards those who are sent event reports, whose certificates must be for the host that is named.

    Args:
        certificate: ours with its chain, PEM.
        key: its private key, PEM.
        authority: from which they must have a certificate; None for those that this machine trusts.

    Raises:
        InvalidInput: dimse_tls_unusable.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, authority)
    if authority is None:
        context.load_default_certs()
    return context


def _context(side: ssl._SSLMethod, certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key)
        if authority:
            context.load_verify_locations(authority)
    except OSError as error:  # an ssl.SSLError is one
        raise InvalidInput(
            "dimse_tls_unusable",
            f"FIRSTREAD_DIMSE_TLS_CERTIFICATE={certificate}, _KEY={key}, _CLIENT_CA={authority} cannot be used "
            f"({error.strerror or error}): give PEM files that belong together and that this account may read",
        ) from error
    return context


def _extended(event: evt.Event) -> Mapping[UID, bytes]:
    """Agree to relational queries where they are asked for, and to nothing else (PS3.4 section C.5.1.1)."""
    asked: Mapping[UID, bytes] = event.app_info  # type: ignore[attr-defined] # the event has it at run time
    return {
        sop_class: bytes([int(information[:1] == b"\x01"), *[0] * (len(information) - 1)])
        for sop_class, information in asked.items()
        if sop_class in RELATIONAL and information
    }


def _be_quiet() -> None:
    """Keep identifiers, which name patients, out of the log, and what every stranger can bring about."""
    settings: Any = _config
    settings.LOG_HANDLER_LEVEL = "none"
    settings.LOG_REQUEST_IDENTIFIERS = settings.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
