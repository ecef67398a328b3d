"""Tells the audit trail to the hospital's audit repository: by TLS (RFC 5425), or by UDP (RFC 5426).

What is told is read from the trail, behind the number that was told last, so nothing is lost while the repository is
away, and one that hangs delays nothing else. Of several gateways one tells.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit.message import Source, syslog_line
from worklist.audit import AuditEntry
from worklist.errors import InvalidInput
from worklist.records import AuditRecords, Lease

LEASE: Final = "audit"
_PORTS: Final = {"tls": 6514, "udp": 514}
_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_AT_ONCE: Final = 200

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """Where the audit repository listens."""

    scheme: str
    host: str
    port: int
    ca_file: Path | None = None

    @classmethod
    def at(cls, url: str, ca_file: Path | None = None) -> Repository:
        """Of an address such as tls://audit.hospital:6514.

        Raises:
            InvalidInput: bad_audit_address.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in _PORTS or not parts.hostname or port == 0 or parts.path.strip("/") or parts.username:
            raise InvalidInput("bad_audit_address", "FIRSTREAD_AUDIT_SYSLOG must be tls://HOST:PORT or udp://HOST:PORT")
        return cls(scheme=parts.scheme, host=parts.hostname, port=port or _PORTS[parts.scheme], ca_file=ca_file)


class SyslogSender:
    """A connection to the repository, opened when there is something to tell."""

    def __init__(self, repository: Repository, source: Source) -> None:
        self._repository = repository
        self._source = source
        self._socket: socket.socket | None = None

    def send(self, entry: AuditEntry) -> None:
        """Tell one entry.

        Raises:
            OSError: the repository does not take it, or its certificate is not good.
        """
        line = syslog_line(entry, self._source)
        if self._socket is None:
            self._socket = self._connect()
        try:
            if self._repository.scheme == "udp":
                self._socket.send(line)
            else:
                self._socket.sendall(f"{len(line)} ".encode() + line)  # octet counting (RFC 5425, section 4.3)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        if self._socket:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        where = (self._repository.host, self._repository.port)
        if self._repository.scheme == "udp":
            kind, _, _, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
            udp = socket.socket(kind, socket.SOCK_DGRAM)
            udp.connect(address)
            return udp
        context = ssl.create_default_context(cafile=self._repository.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        plain = socket.create_connection(where, timeout=_PATIENCE_S)
        try:
            return context.wrap_socket(plain, server_hostname=self._repository.host)
        except BaseException:
            plain.close()
            raise


class AuditTeller:
    """A thread that tells the repository what is new in the trail.

    Args:
        records: the trail.
        lease: which of several gateways tells.
        sender: to the repository.
    """

    def __init__(self, records: AuditRecords, lease: Lease, sender: SyslogSender) -> None:
        self._records = records
        self._lease = lease
        self._sender = sender
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is not told is told by the next one."""
        self._stops.set()
        self._thread.join(timeout=_PATIENCE_S + 1)
        self.close()

    def close(self) -> None:
        """Hang up, and let another gateway tell."""
        self._sender.close()
        with suppress(SQLAlchemyError):
            self._lease.release()

    def _run(self) -> None:
        pause_s, told = _LOOK_S, ""
        while not self._stops.wait(pause_s):
            try:
                self.tell()
            except (OSError, SQLAlchemyError) as error:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                if told != (told := f"{type(error).__name__}: {error}"):
                    log.warning("the audit repository is not told", error=told)
            else:
                if told:
                    log.info("the audit repository is told again")
                pause_s, told = _LOOK_S, ""

    def tell(self) -> int:
        """Tell everything that is new, in parts; returns how much."""
        count = 0
        while not self._stops.is_set() and self._lease.hold():
            some = list(self._records.after(self._records.told(), _AT_ONCE))
            for kept in some:
                self._sender.send(kept.entry)
                count += 1
            if some:
                self._records.note_told(some[-1].number)
            if len(some) < _AT_ONCE:
                break
        return count
