"""An entry of the audit trail as the message that DICOM defines (PS3.15, section A.5.1), in a line of syslog."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from worklist.audit import AuditEntry, AuditKind

_DCM: Final = "DCM"
_EVENTS: Final = {
    # event, its type if any (PS3.16, CID 400 and 401), and what was done: create, read, update, delete or execute
    AuditKind.START: ("110100", "Application Activity", ("110120", "Application Start"), "E"),
    AuditKind.STOP: ("110100", "Application Activity", ("110121", "Application Stop"), "E"),
    AuditKind.LOGIN: ("110114", "User Authentication", ("110122", "Login"), "E"),
    AuditKind.LOGOUT: ("110114", "User Authentication", ("110123", "Logout"), "E"),
    AuditKind.QUERY: ("110112", "Query", None, "E"),
    AuditKind.ACCESS: ("110103", "DICOM Instances Accessed", None, "R"),
    AuditKind.CHANGE: ("110111", "Procedure Record", None, "U"),
    AuditKind.IMPORT: ("110107", "Import", None, "C"),
    AuditKind.EXPORT: ("110106", "Export", None, "R"),
    AuditKind.EMERGENCY: ("110113", "Security Alert", ("110127", "Emergency Override Started"), "E"),
    AuditKind.SETTINGS: ("110113", "Security Alert", ("110131", "Software Configuration"), "E"),
    AuditKind.DELETE: ("110111", "Procedure Record", None, "D"),
    AuditKind.REFUSED: ("110113", "Security Alert", ("110132", "Use of Restricted Function"), "E"),
    AuditKind.NODE: ("110113", "Security Alert", ("110126", "Node Authentication"), "E"),
    AuditKind.GAP: ("110113", "Security Alert", ("110133", "Audit Recording Stopped"), "E"),
}
_FACILITY_AUDIT: Final = 10  # RFC 5424, section 6.2.1: security messages
_NOTICE, _WARNING = 5, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Which system tells: the host and the name of the program."""

    host: str = ""
    program: str = "firstread"

    @classmethod
    def here(cls) -> Source:
        """This machine."""
        return cls(host=socket.gethostname())


def audit_message(entry: AuditEntry, source: Source) -> bytes:
    """The AuditMessage, in UTF-8."""
    code, name, kind, action = _EVENTS[entry.kind]
    root = Element("AuditMessage")
    event = SubElement(
        root,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=entry.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        EventOutcomeIndicator=str(int(entry.outcome)),
    )
    _coded(event, "EventID", code, name)
    if kind:
        _coded(event, "EventTypeCode", *kind)
    user = SubElement(root, "ActiveParticipant", UserID=entry.actor, UserIsRequestor="true")
    if entry.actor_source:
        user.set("UserName", f"{entry.actor} ({entry.actor_source})")
    if entry.address:
        user.set("NetworkAccessPointID", entry.address)
        user.set("NetworkAccessPointTypeCode", "2")  # an IP address
    for role in entry.roles:
        _coded(user, "RoleIDCode", role, role, system="Firstread")
    SubElement(
        root,
        "ActiveParticipant",
        UserID=source.program,
        AlternativeUserID=str(os.getpid()),
        UserIsRequestor="false",
        NetworkAccessPointID=source.host,
        NetworkAccessPointTypeCode="1",  # a machine's name
    )
    told = SubElement(root, "AuditSourceIdentification", AuditSourceID=source.host)
    _coded(told, "AuditSourceTypeCode", "4", "Application Server", system="DCM")
    _objects(root, entry)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def syslog_line(entry: AuditEntry, source: Source) -> bytes:
    """The message behind a header of RFC 5424, with a byte order mark, since the text is in UTF-8 (section 6.4)."""
    severity = _NOTICE if not entry.outcome else _WARNING
    moment = entry.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # The message's name is what RFC 3881 and IHE's profile ATNA call for.
    head = f"<{8 * _FACILITY_AUDIT + severity}>1 {moment} {source.host} {source.program} {os.getpid()} DICOM+RFC3881 - "
    return head.encode() + b"\xef\xbb\xbf" + audit_message(entry, source)


def _objects(root: Element, entry: AuditEntry) -> None:
    if entry.patient_id:
        patient = _object(root, entry.patient_id, kind="1", role="1")
        _coded(patient, "ParticipantObjectIDTypeCode", "2", "Patient Number", system="RFC-3881")
    if entry.study_instance_uid:
        study = _object(root, entry.study_instance_uid, kind="2", role="3")
        _coded(study, "ParticipantObjectIDTypeCode", "110180", "Study Instance UID")
    if entry.detail:
        what = _object(root, entry.kind.value, kind="2", role="24" if entry.kind is AuditKind.QUERY else "13")
        _coded(what, "ParticipantObjectIDTypeCode", "12", "URI", system="RFC-3881")
        for name, value in sorted(entry.detail.items()):
            SubElement(what, "ParticipantObjectDescription").text = f"{name}: {value}"


def _object(root: Element, identifier: str, *, kind: str, role: str) -> Element:
    return SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )


def _coded(parent: Element, tag: str, code: str, text: str, *, system: str = _DCM) -> None:
    SubElement(parent, tag, {"csd-code": code, "codeSystemName": system, "originalText": text})
