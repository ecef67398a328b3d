"""The same by DICOM: to a peer of the north what is of the south is not there, by C-FIND, C-MOVE, C-GET and UPS."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from firstread.compose_dimse import running_dimse
from gateway.dimse.associate import associate
from gateway.dimse.statuses import NOT_PERMITTED
from tests.left_sockets import LEFT_SOCKETS
from tests.servers import OrthancServer
from tests.sites import (
    ABSENT,
    FAILED,
    OTHERS_WORKITEM,
    OWN,
    PATIENCE_S,
    PATIENT,
    THEIRS,
    Film,
    Hospital,
    fill_south,
    shared_list,
)
from tests.workitem_stations import PULL, PUSH, QUERY, WATCH
from tests.workitems import TRANSACTION, detection, element
from worklist.audit import AuditKind
from worklist.errors import InvalidInput
from worklist.records import AuditRecords
from worklist.workitems.identity import GLOBAL

FIND: Final = (StudyRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelFind)
GET: Final = (StudyRootQueryRetrieveInformationModelGet, PatientRootQueryRetrieveInformationModelGet)
MOVE: Final = (StudyRootQueryRetrieveInformationModelMove, PatientRootQueryRetrieveInformationModelMove)
UPS: Final = (PUSH, PULL, WATCH, QUERY)
IMAGES: Final = (DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage)
UNKNOWN: Final = 0xC307

pytestmark = LEFT_SOCKETS


@pytest.fixture(scope="module")
def hospital(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """A list with studies of both sites."""
    with shared_list(orthanc_server, tmp_path_factory.mktemp("sites")) as hospital:
        hospital.take_in(OWN)
        hospital.report(OWN)
        fill_south(hospital)
        yield hospital


@pytest.fixture(scope="module")
def port(hospital: Hospital) -> Iterator[int]:
    """The DICOM server before it."""
    with running_dimse(hospital.settings) as port:
        yield port


@contextmanager
def associated(port: int, title: str, *classes: str) -> Iterator[Association]:
    """An association of a peer for some SOP classes."""
    entity = AE(ae_title=title)
    entity.dimse_timeout = 60
    is_get = bool(set(classes) & set(GET))
    for sop_class in (*classes, *(IMAGES if is_get else ())):
        entity.add_requested_context(sop_class)
    roles = [build_role(image, scp_role=True) for image in IMAGES] if is_get else []
    association, _ = associate(entity, "127.0.0.1", port, ae_title="FIRSTREAD", ext_neg=roles)
    assert association.is_established
    yield association
    association.release()


def identifier(level: str, **keys: str) -> Dataset:
    """An identifier of a query or retrieval."""
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def questions(film: Film) -> list[tuple[str, Dataset]]:
    """What is asked by C-FIND about a film: model and identifier."""
    study, patient = FIND
    series = {"StudyInstanceUID": film.study, "SeriesInstanceUID": "", "Modality": ""}
    image = {"StudyInstanceUID": film.study, "SeriesInstanceUID": f"{film.study}.1", "SOPInstanceUID": ""}
    return [
        (study, identifier("STUDY", StudyInstanceUID=film.study, PatientName="", InstitutionName="")),
        (study, identifier("STUDY", StudyInstanceUID="", AccessionNumber=film.accession, PatientID="")),
        (study, identifier("STUDY", StudyInstanceUID=f"{film.study}\\1.2.3")),
        (patient, identifier("STUDY", PatientID=PATIENT, StudyInstanceUID=film.study)),
        (study, identifier("SERIES", **series)),
        (patient, identifier("SERIES", PatientID=PATIENT, **series)),
        (study, identifier("IMAGE", **image)),
    ]


def test_find_tells_of_no_other_site(port: int) -> None:
    """At every level a study of the south is answered like one that is not there; who sees all finds it."""
    for title, is_told in (("NORTH", False), ("ALL", True)):
        for theirs, absent in zip(questions(THEIRS), questions(ABSENT), strict=True):
            with associated(port, title, *FIND) as peer:
                told = [_without_names(peer.send_c_find(asked, model)) for model, asked in (theirs, absent)]
            assert (told[0] != told[1]) == is_told, theirs


def _without_names(answers: Iterable[tuple[Dataset, Dataset | None]]) -> list[tuple[int, str]]:
    """Statuses and identifiers of answers, without what was asked with."""
    names = (THEIRS.study, ABSENT.study, THEIRS.accession, ABSENT.accession)
    found = [(int(status.Status), str(told.to_json()) if told else "") for status, told in answers]
    return [(status, re.sub("|".join(map(re.escape, names)), "", told)) for status, told in found]


def test_find_without_keys_tells_ones_own(port: int) -> None:
    """All studies by either model, and all patients: of the north alone."""
    asked = identifier("STUDY", StudyInstanceUID="", PatientID="")
    patients = identifier("PATIENT", PatientID="*", PatientName="")
    with associated(port, "NORTH", *FIND) as north, associated(port, "ALL", *FIND) as everybody:
        for model in FIND:
            assert [one.StudyInstanceUID for _, one in north.send_c_find(asked, model) if one] == [OWN.study]
            assert len([one for _, one in everybody.send_c_find(asked, model) if one]) == 4
        (one,) = [one for _, one in north.send_c_find(patients, FIND[1]) if one]
        assert one.PatientID == PATIENT


def test_who_is_not_named_finds_nothing(port: int) -> None:
    """A peer that FIRSTREAD_SEES does not have sees no site, in whatever role."""
    with associated(port, "SOMEBODY", *FIND) as peer:
        asked = identifier("STUDY", StudyInstanceUID="", PatientID="")
        assert [int(status.Status) for status, _ in peer.send_c_find(asked, FIND[0])] == [0]


class Inbox:
    """Who is sent instances, by C-GET or as the destination of a C-MOVE."""

    def __init__(self) -> None:
        self.received: list[str] = []

    def keep(self, arrived: evt.Event) -> int:
        """Take one in."""
        self.received.append(str(arrived.dataset.SOPInstanceUID))
        return 0

    def sent(self, port: int, title: str, classes: Sequence[str], asked: Dataset) -> list[str]:
        """The SOP Instance UIDs that a retrieval of a peer brings."""
        self.received.clear()
        with associated(port, title, *classes) as peer:
            peer.bind(evt.EVT_C_STORE, self.keep)
            model = classes["PatientID" in asked]
            if classes == GET:
                answers = list(peer.send_c_get(asked, model))
            else:
                answers = list(peer.send_c_move(asked, "INBOX", model))
            assert int(answers[-1][0].Status) == 0
        return list(self.received)


def retrievals(film: Film) -> list[Dataset]:
    """The identifiers of what is asked by C-GET or C-MOVE about a film."""
    study = {"StudyInstanceUID": film.study}
    series = {**study, "SeriesInstanceUID": f"{film.study}.1"}
    return [
        identifier("STUDY", **study),
        identifier("STUDY", PatientID=PATIENT, **study),
        identifier("SERIES", **series),
        identifier("IMAGE", **series, SOPInstanceUID=f"{film.study}.1.1"),
    ]


@pytest.mark.parametrize("classes", [GET, MOVE], ids=["C-GET", "C-MOVE"])
def test_nothing_of_another_site_is_sent(port: int, hospital: Hospital, classes: Sequence[str]) -> None:
    """A patient of both sites is sent as far as the north knows them."""
    inbox = Inbox()
    entity = AE(ae_title="INBOX")
    entity.supported_contexts = [build_context(one) for one in IMAGES]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, inbox.keep)])
    assert server
    modality = {"AET": "INBOX", "Host": "127.0.0.1", "Port": server.server_address[1]}
    httpx.put(f"{hospital.orthanc.url}/modalities/inbox", json=modality, trust_env=False).raise_for_status()
    try:
        for title, seen in (("NORTH", {OWN}), ("ALL", {OWN, THEIRS})):
            for film in (THEIRS, ABSENT, OWN):
                for asked in retrievals(film):
                    assert bool(inbox.sent(port, title, classes, asked)) == (film in seen), (title, asked)
            of_patient = inbox.sent(port, title, classes, identifier("PATIENT", PatientID=PATIENT))
            for film in (OWN, THEIRS):
                assert (f"{film.study}.1.1" in of_patient) == (film in seen)
    finally:
        server.shutdown()
        httpx.delete(f"{hospital.orthanc.url}/modalities/inbox", trust_env=False)


def test_a_retrieval_of_another_site_is_kept_as_refused(port: int, hospital: Hospital) -> None:
    """Not as an export, though the peer is told that all went well and that there was nothing."""
    inbox = Inbox()
    for film in (THEIRS, OWN):
        inbox.sent(port, "NORTH", GET, identifier("STUDY", StudyInstanceUID=film.study))
    trail = AuditRecords(database=hospital.listed.database)
    until = time.monotonic() + PATIENCE_S
    kinds: dict[str, set[str]] = {}
    while time.monotonic() < until and not (kinds and all(kinds.values())):
        kinds = {
            film.study: {kept.entry.kind for kept in trail.concerning(film.study) if kept.entry.actor == "NORTH"}
            for film in (THEIRS, OWN)
        }
        time.sleep(0.1)
    assert kinds == {THEIRS.study: {AuditKind.REFUSED}, OWN.study: {AuditKind.EXPORT}}


def test_workitems_of_another_site_are_not_there(port: int) -> None:
    """By N-GET, N-SET and N-ACTION; none is created, and nobody subscribes, who sees some sites alone."""
    new = Dataset.from_json({**detection(), "00080005": element("CS", "ISO_IR 192")})
    receiver = Dataset.from_json({"00741234": element("AE", "RECEIVER"), "00741230": element("LO", "FALSE")})
    with associated(port, "NORTH", *UPS) as north:
        for uid in (THEIRS.workitem, FAILED.workitem, ABSENT.workitem, OTHERS_WORKITEM):
            assert _asked_of(north, uid) == [UNKNOWN] * 4
        for uid in (GLOBAL, THEIRS.workitem, ABSENT.workitem, OTHERS_WORKITEM):
            assert int(north.send_n_create(new, PUSH, uid)[0].Status) == NOT_PERMITTED.code
            answer, _ = north.send_n_action(receiver, 3, PUSH, uid, meta_uid=WATCH)
            assert int(answer.Status) == NOT_PERMITTED.code
        assert _found(north) == [OWN.workitem]
    with associated(port, "ALL", *UPS) as everybody:
        assert {OWN.workitem, THEIRS.workitem, OTHERS_WORKITEM} <= set(_found(everybody))
        assert UNKNOWN not in _asked_of(everybody, THEIRS.workitem)


def _found(peer: Association) -> list[str]:
    asked = Dataset.from_json({"00080018": element("UI"), "00100020": element("LO")})
    return [str(one.SOPInstanceUID) for _, one in peer.send_c_find(asked, QUERY) if one]


def _asked_of(peer: Association, uid: str) -> list[int]:
    """Statuses of what can be asked of a workitem."""
    claim = Dataset.from_json({"00741000": element("CS", "IN PROGRESS"), TRANSACTION: element("UI", "1.2.9")})
    said = Dataset.from_json({"00404036": element("LO", "elsewhere")})
    reason = Dataset.from_json({"00741238": element("LT", "sent twice")})
    answers = [peer.send_n_get([], PUSH, uid, meta_uid=PULL)[0]]
    answers.append(peer.send_n_set(said, PUSH, uid, meta_uid=PULL)[0])
    answers.append(peer.send_n_action(claim, 1, PUSH, uid, meta_uid=PULL)[0])
    answers.append(peer.send_n_action(reason, 2, PUSH, uid, meta_uid=WATCH)[0])
    return [int(answer.Status) for answer in answers]


def test_subscribers_see_every_site(hospital: Hospital) -> None:
    """Whoever is told of every site must be let see it, or the server does not start."""
    choices = hospital.settings.model_dump() | {"dimse_subscribers": {"NORTH@127.0.0.1:11"}}
    with (
        pytest.raises(InvalidInput, match="FIRSTREAD_DIMSE_SUBSCRIBERS has NORTH"),
        running_dimse(hospital.settings.model_copy(update=choices)),
    ):
        pass
