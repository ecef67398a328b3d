"""The DICOM server before a real Orthanc, as DCMTK, another Orthanc and pynetdicom find it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEGLSLossless
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from firstread.compose_dimse import running_dimse
from firstread.settings import Settings
from gateway.dimse.associate import associate
from tests.bad_films import chest
from tests.left_sockets import LEFT_SOCKETS
from tests.searched_films import FILMS, LISTED, NUMBERS, READ, STAT, UNSEEN, fill
from tests.servers import OrthancServer, find_program, running
from worklist.records import Database

PATIENT_ROOT, STUDY_ROOT = PatientRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelFind
GET, MOVE = StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove
EVERYBODY = [*LISTED, READ, UNSEEN]

pytestmark = LEFT_SOCKETS


@dataclass(frozen=True, kw_only=True)
class Site:
    """A DICOM server, and the Orthanc behind it."""

    port: int
    orthanc: OrthancServer

    def know(self, name: str, ae_title: str, port: int) -> None:
        """Have Orthanc know a destination of this machine."""
        modality = {"AET": ae_title, "Host": "127.0.0.1", "Port": port}
        httpx.put(f"{self.orthanc.url}/modalities/{name}", json=modality, trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def site(
    orthanc_server: OrthancServer, migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Four studies on the list, one that was read, one that came before its time."""
    file = tmp_path_factory.mktemp("dimse") / "firstread.db"
    file.write_bytes(migrated_sqlite)
    url = f"sqlite:///{file}"
    orthanc_server.start()
    orthanc_server.delete_everything()
    with closing(Database(url)) as database:
        fill(orthanc_server, database)
    choices = {"database_url": url, "orthanc_url": orthanc_server.url, "dimse_port": 0}
    with running_dimse(Settings.model_validate(choices)) as port:
        yield Site(port=port, orthanc=orthanc_server)
    orthanc_server.delete_everything()


@contextmanager
def association(
    site: Site, *classes: UID | str, more: Sequence[object] = (), syntaxes: Sequence[str] = (ExplicitVRLittleEndian,)
) -> Iterator[Association]:
    """An association for some SOP classes, C-ECHO among them; it is still there, and answers, when the block ends."""
    entity = AE(ae_title="TEST")
    entity.add_requested_context(Verification)
    for one in classes:
        entity.add_requested_context(one, list(syntaxes))
    opened, _ = associate(entity, "127.0.0.1", site.port, ae_title="FIRSTREAD", ext_neg=list(more))
    assert opened.is_established
    yield opened
    assert opened.send_c_echo().Status == 0
    opened.release()


def identifier_of(level: str | None, keys: dict[str, str]) -> Dataset:
    """An identifier; {1} is the Study Instance UID of film 1."""
    identifier = Dataset()
    if level is not None:
        identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        for number, film in FILMS.items():
            value = value.replace("{" + str(number) + "}", film.StudyInstanceUID)  # noqa: PLW2901
        setattr(identifier, keyword, value)
    return identifier


def find(
    site: Site, level: str | None = "STUDY", model: UID | str = STUDY_ROOT, **keys: str
) -> list[tuple[Dataset, Dataset | None]]:
    """Statuses and identifiers of the answers to a C-FIND."""
    with association(site, model) as opened:
        return list(opened.send_c_find(identifier_of(level, keys), model))


def numbers(answers: list[tuple[Dataset, Dataset | None]]) -> list[int]:
    """The films that were found, in order, by their studies."""
    assert answers[-1][0].Status == 0, answers[-1][0]
    return [NUMBERS[found.StudyInstanceUID] for _, found in answers if found]


def dcmtk(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What one of DCMTK's programs says."""
    path = find_program(program, Path("/usr/bin"))
    return subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)


# ---- C-ECHO and C-FIND ----


def test_dcmtk_finds_the_reading_order(site: Site, tmp_path: Path) -> None:
    """Echoscu is answered; findscu gets the list first, each study with what raises it and its place."""
    to = ("-aec", "FIRSTREAD", "127.0.0.1", site.port)
    assert dcmtk("echoscu", *to).returncode == 0
    assert dcmtk("echoscu", "-aec", "SOMEBODY", *to[2:]).returncode != 0
    keys = "QueryRetrieveLevel=STUDY StudyInstanceUID PatientName 0040,1009"
    ours = "0009,0010=FIRSTREAD 0009,1001 0009,1002 0009,1003"
    asked = [part for key in f"{keys} {ours}".split() for part in ("-k", key)]
    for root in ("-S", "-P"):
        folder = tmp_path / root
        folder.mkdir()
        answer = dcmtk("findscu", root, "-X", "-od", folder, *to, *asked)
        assert answer.returncode == 0, answer.stderr
        found = [dcmread(file, force=True) for file in sorted(folder.iterdir())]
        told = [NUMBERS[one.StudyInstanceUID] for one in found]
        assert told[: len(LISTED)] == LISTED
        assert sorted(told) == sorted(EVERYBODY)
        assert [one.ReportingPriority for one in found[:2]] == ["HIGH", ""]
        private = [one.private_block(0x0009, "FIRSTREAD") for one in found]
        assert [str(block[2].value or "") for block in private] == ["1", "2", "3", "4", "", ""]
        assert private[told.index(READ)][3].value == "READ"


KEYS = [
    ({"StudyDate": "20261103-20261104"}, [STAT, 3]),
    ({"StudyDate": "-20261102", "PatientSex": "M"}, [1]),
    ({"StudyTime": "13-1500"}, [STAT, 3]),
    ({"AccessionNumber": "acc?"}, EVERYBODY),
    ({"ModalitiesInStudy": "CR\\DX", "AccessionNumber": "ACC1"}, [1]),
    ({"ReferringPhysicianName": "*NUMBER2*"}, [READ]),
    ({"PatientName": "Doe*"}, [3, 5]),
    ({"PatientName": "doe^j?hn"}, [5]),
    ({"PatientID": "QIDO-1"}, [1]),
    ({"PatientID": "nobody"}, []),
    ({"StudyInstanceUID": "{1}\\{2}\\{6}"}, [1, READ, UNSEEN]),
    ({"ReportingPriority": "HIGH"}, [STAT]),
    ({"PatientBirthDate": "19000101-20261231", "PatientID": "QIDO-5"}, [5]),
    ({"PatientName": "*", "StudyDate": ""}, EVERYBODY),
]


@pytest.mark.parametrize(("keys", "expected"), KEYS, ids=[str(keys) for keys, _ in KEYS])
def test_keys_match_as_in_qido(site: Site, keys: dict[str, str], expected: list[int]) -> None:
    """Universal, single value, wildcard, range and list matching find what they should, those on the list first."""
    got = numbers(find(site, **{"StudyInstanceUID": "", **keys}))
    assert sorted(got) == sorted(expected)
    assert got[: len(set(LISTED) & set(expected))] == [number for number in LISTED if number in expected]


def test_every_level_is_answered(site: Site) -> None:
    """Patients come in reading order; series and instances are told with what is theirs and their study's."""
    patients = find(site, "PATIENT", PATIENT_ROOT, PatientID="", PatientName="", PatientSex="")
    told = [found.PatientID for _, found in patients if found]
    assert told[: len(LISTED)] == [f"QIDO-{number}" for number in LISTED]
    assert sorted(told) == [f"QIDO-{number}" for number in range(1, 7)]
    film = FILMS[3]
    keys = {"StudyInstanceUID": "{3}", "SeriesInstanceUID": "", "Modality": "", "NumberOfSeriesRelatedInstances": ""}
    (_, series), (last, _) = find(site, "SERIES", **keys, PatientName="")
    assert last.Status == 0
    assert series
    assert (series.SeriesInstanceUID, series.Modality) == (film.SeriesInstanceUID, "DX")
    assert (series.NumberOfSeriesRelatedInstances, str(series.PatientName)) == (1, "Doe^Jane^^Dr")
    keys = {"StudyInstanceUID": "{3}", "SeriesInstanceUID": film.SeriesInstanceUID, "SOPInstanceUID": ""}
    (_, image), _ = find(site, "IMAGE", PATIENT_ROOT, **keys, SOPClassUID="", InstanceNumber="", PatientID="QIDO-3")
    assert image
    assert (image.SOPInstanceUID, image.SOPClassUID) == (film.SOPInstanceUID, film.SOPClassUID)
    assert find(site, "SERIES", StudyInstanceUID="{3}", Modality="CT")[0][0].Status == 0


@pytest.mark.parametrize(
    ("stated", "asked", "number", "answered"),
    [
        ("ISO_IR 100", "M\u00fcller*", 1, "ISO_IR 100"),
        ("ISO_IR 192", "M\u00fcller^J\u00f6rg", 1, "ISO_IR 192"),
        ("ISO_IR 144", "\u0421\u043e\u043a*", STAT, "ISO_IR 144"),
        ("ISO_IR 100", "Wang*", READ, "ISO_IR 192"),
        ("GB18030", "*\u738b*", READ, "GB18030"),
        ("\\ISO 2022 IR 87", "Wang*", READ, ["", "ISO 2022 IR 87"]),
        ("", "Ng*", UNSEEN, None),
    ],
)
def test_character_sets(site: Site, stated: str, asked: str, number: int, answered: str | list[str] | None) -> None:
    """A key is read in its own character set, and answered in it where that holds the answer, else in Unicode."""
    answers = find(site, SpecificCharacterSet=stated, PatientName=asked, StudyInstanceUID="")
    assert numbers(answers) == [number]
    found = answers[0][1]
    assert found
    assert found.get("SpecificCharacterSet") == answered
    assert found.PatientName == FILMS[number].PatientName


def test_what_is_not_supported_is_said(site: Site) -> None:
    """FF01 where a key is not known at the level, which is then left out; the rest is told, and narrows nothing."""
    answers = find(site, StudyInstanceUID="{1}", OperatorsName="Somebody", Modality="CT")
    assert answers[0][0].Status == 0xFF01
    assert answers[0][1]
    assert "OperatorsName" not in answers[0][1]
    assert numbers(answers) == [1]


BAD = [
    (None, {"StudyInstanceUID": ""}, 0xA900),
    ("FILM", {"StudyInstanceUID": ""}, 0xA900),
    ("PATIENT", {"PatientID": ""}, 0xA900),
    ("SERIES", {"SeriesInstanceUID": ""}, 0xA900),
    ("SERIES", {"StudyInstanceUID": "{1}\\{2}"}, 0xA900),
    ("IMAGE", {"StudyInstanceUID": "{1}"}, 0xA900),
    ("STUDY", {"StudyInstanceUID": "1.2.*"}, 0xC001),
    ("STUDY", {"StudyInstanceUID": "1." + "2" * 63}, 0xC001),
    ("STUDY", {"StudyDate": "20261231-20260101"}, 0xC001),
    ("STUDY", {"StudyTime": "noon"}, 0xC001),
]


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
@pytest.mark.parametrize(("level", "keys", "status"), BAD, ids=[f"{level} {keys}" for level, keys, _ in BAD])
def test_an_illegal_identifier_is_answered(site: Site, level: str | None, keys: dict[str, str], status: int) -> None:
    """The answer is the standard's failure with a comment and the element; the association goes on."""
    ((answer, found),) = find(site, level, **keys)
    assert (answer.Status, found) == (status, None)
    assert answer.ErrorComment
    assert answer.OffendingElement


def _of_studies(before: bytes, behind: bytes = b"") -> bytes:
    """An encoded identifier at the level of studies."""
    return before + b"\x08\x00\x52\x00CS\x06\x00STUDY " + behind


@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize(
    ("encoded", "status"),
    [
        (None, 0xC002),
        (b"\x08\x00\x05", 0xC002),
        (_of_studies(b"\x08\x00\x05\x00CS\x08\x00KLINGON "), 0xC001),
        (_of_studies(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192", b"\x10\x00\x10\x00PN\x02\x00\xff\xfe"), 0xC001),
    ],
    ids=["none", "cut", "no character set", "not in the character set"],
)
def test_what_cannot_be_read_is_answered(site: Site, encoded: bytes | None, status: int) -> None:
    """A missing or broken identifier gets a failure, and the association goes on."""
    request = C_FIND()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = 7, STUDY_ROOT, 2
    if encoded is not None:
        request.Identifier = BytesIO(encoded)
    with association(site, STUDY_ROOT) as opened:
        context = next(one for one in opened.accepted_contexts if one.abstract_syntax == STUDY_ROOT)
        opened._reactor_checkpoint.clear()  # noqa: SLF001 - what the library does before it sends a request
        opened.dimse.send_msg(request, context.context_id or 0)
        _, answer = opened.dimse.get_msg(block=True)
        opened._reactor_checkpoint.set()  # noqa: SLF001
        assert isinstance(answer, C_FIND)
        assert answer.Status == status
        assert answer.ErrorComment


def test_relational_queries_are_agreed_upon_first(site: Site) -> None:
    """Who negotiates them may ask for series of any study, by at least one key; fuzzy matching is not agreed to."""
    wish = SOPClassExtendedNegotiation()
    wish.sop_class_uid, wish.service_class_application_information = STUDY_ROOT, b"\x01\x01\x01"
    with association(site, STUDY_ROOT, more=[wish]) as opened:
        assert opened.acceptor.sop_class_extended == {STUDY_ROOT: b"\x01\x00\x00"}
        keys = {"Modality": "DX", "StudyInstanceUID": "", "SeriesInstanceUID": ""}
        answers = list(opened.send_c_find(identifier_of("SERIES", keys), STUDY_ROOT))
        assert sorted(numbers(answers)) == sorted(EVERYBODY)
        ((refused, _),) = opened.send_c_find(identifier_of("IMAGE", {"SOPInstanceUID": ""}), STUDY_ROOT)
        assert refused.Status == 0xA900


# ---- C-MOVE and C-GET ----


@contextmanager
def destination(site: Site, answer: Callable[[Dataset], int], received: list[tuple[str, str, int]]) -> Iterator[None]:
    """A workstation STATION that Orthanc knows; notes SOP Instance UID, and whose C-MOVE each C-STORE is part of."""

    def store(event: evt.Event) -> int:
        request: Any = event.request
        received.append(
            (
                str(request.AffectedSOPInstanceUID),
                str(request.MoveOriginatorApplicationEntityTitle),
                int(request.MoveOriginatorMessageID or 0),
            )
        )
        return answer(event.dataset)

    entity = AE(ae_title="STATION")
    entity.add_supported_context(DigitalXRayImageStorageForPresentation, [ExplicitVRLittleEndian])
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server
    site.know("station", "STATION", server.server_address[1])
    try:
        yield
    finally:
        server.shutdown()


def move(site: Site, to: str, **keys: str) -> list[tuple[Dataset, Dataset | None]]:
    """Statuses and identifiers of the answers to a C-MOVE of studies."""
    with association(site, MOVE) as opened:
        return list(opened.send_c_move(identifier_of("STUDY", keys), to, MOVE, msg_id=9))


def test_orthanc_moves_and_tells_how_far_it_is(site: Site) -> None:
    """Each instance that Orthanc has sent is counted; one that the destination refuses is listed as failed."""
    received: list[tuple[str, str, int]] = []
    refused = FILMS[3].SOPInstanceUID

    def answer(film: Dataset) -> int:
        return 0xA700 if film.SOPInstanceUID == refused else 0

    with destination(site, answer, received):
        answers = move(site, "STATION", StudyInstanceUID="{1}\\{3}\\{5}")
    assert sorted({one[0] for one in received}) == sorted(FILMS[number].SOPInstanceUID for number in (1, 3, 5))
    assert {one[1:] for one in received} == {("TEST", 9)}
    remaining = [status.NumberOfRemainingSuboperations for status, _ in answers[:-1]]
    assert remaining == [2, 1, 0]
    last, failed = answers[-1]
    assert last.Status == 0xB000
    assert (last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (2, 1)
    assert failed
    assert failed.FailedSOPInstanceUIDList == refused


def test_destinations_that_cannot_be_reached(site: Site) -> None:
    """A801 for one that Orthanc does not know; A702 with everything listed for one that does not answer."""
    ((unknown, _),) = move(site, "NOWHERE", StudyInstanceUID="{1}")
    assert unknown.Status == 0xA801
    site.know("silent", "SILENT", 1)
    last, failed = move(site, "SILENT", StudyInstanceUID="{1}\\{3}")[-1]
    assert (last.Status, last.NumberOfFailedSuboperations) == (0xA702, 2)
    assert failed
    assert set(failed.FailedSOPInstanceUIDList) == {FILMS[number].SOPInstanceUID for number in (1, 3)}
    assert [status.Status for status, _ in move(site, "SILENT", StudyInstanceUID="1.2.3")] == [0]
    assert [status.Status for status, _ in move(site, "SILENT", StudyInstanceUID="")] == [0xA900]


def test_another_orthanc_queries_and_retrieves(site: Site, tmp_path: Path) -> None:
    """A second Orthanc finds the order by its own query, and has a study sent to itself; so does movescu."""
    with running(OrthancServer(tmp_path, configuration={"DicomAet": "SECOND"})) as second:
        site.know("second", "SECOND", second.dicom_port)
        with httpx.Client(base_url=second.url, trust_env=False, timeout=60) as http:
            ours = {"AET": "FIRSTREAD", "Host": "127.0.0.1", "Port": site.port}
            http.put("/modalities/firstread", json=ours).raise_for_status()
            http.post("/modalities/firstread/echo", json={}).raise_for_status()
            asked = {"Level": "Study", "Query": {"PatientID": "QIDO-*", "StudyInstanceUID": ""}}
            query = http.post("/modalities/firstread/query", json=asked).raise_for_status().json()["ID"]
            answers = http.get(f"/queries/{query}/answers?expand&simplify").json()
            assert [NUMBERS[one["StudyInstanceUID"]] for one in answers][: len(LISTED)] == LISTED
            http.post(f"/queries/{query}/answers/0/retrieve", content="SECOND").raise_for_status()
        assert second.lookup(FILMS[STAT].StudyInstanceUID, "Study")
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={FILMS[5].StudyInstanceUID}")
        moved = dcmtk("movescu", "-S", "-aec", "FIRSTREAD", "-aem", "SECOND", "127.0.0.1", site.port, *keys)
        assert moved.returncode == 0, moved.stderr
        assert second.lookup(FILMS[5].StudyInstanceUID, "Study")


def test_dcmtk_gets_what_is_stored(site: Site, tmp_path: Path) -> None:
    """Getscu retrieves an image over its own association, pixel for pixel."""
    film = FILMS[UNSEEN]
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={film.StudyInstanceUID}")
    got = dcmtk("getscu", "-S", "-od", tmp_path, "-aec", "FIRSTREAD", "127.0.0.1", site.port, *keys)
    assert got.returncode == 0, got.stderr
    (file,) = tmp_path.iterdir()
    assert dcmread(file).PixelData == film.PixelData


def test_an_image_is_got_in_its_own_transfer_syntax_or_not_at_all(site: Site) -> None:
    """A compressed image comes compressed to who takes it so; to who does not, it is listed as failed."""
    film = chest()
    film.PatientID = "COMPRESSED"
    film.compress(JPEGLSLossless, generate_instance_uid=False)
    site.orthanc.post(film)
    role = build_role(DigitalXRayImageStorageForPresentation, scp_role=True)
    keys = {"StudyInstanceUID": str(film.StudyInstanceUID)}
    for syntax, final in ((JPEGLSLossless, 0), (ExplicitVRLittleEndian, 0xA702)):
        received: list[Dataset] = []

        def store(event: evt.Event, into: list[Dataset] = received) -> int:
            into.append(event.dataset)
            return 0

        entity = AE(ae_title="TEST")
        entity.add_requested_context(GET)
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, syntax)
        opened = entity.associate(
            "127.0.0.1", site.port, ae_title="FIRSTREAD", ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, store)]
        )
        answers = list(opened.send_c_get(identifier_of("STUDY", keys), GET))
        opened.release()
        assert answers[-1][0].Status == final
        assert [one.PixelData for one in received] == ([film.PixelData] if final == 0 else [])
    study = site.orthanc.study(film.StudyInstanceUID)
    site.orthanc.delete(f"/studies/{study}")


def test_a_whole_patient_is_got(site: Site) -> None:
    """At the level of patients the Patient ID is the key, to the letter; a wildcard is refused."""
    with association(site, PatientRootQueryRetrieveInformationModelGet) as opened:
        for patient_id, status in (("qido-1", 0), ("QIDO-*", 0xC001), ("", 0xA900), ("QIDO-1", 0xA702)):
            identifier = identifier_of("PATIENT", {"PatientID": patient_id})
            last, _ = list(opened.send_c_get(identifier, PatientRootQueryRetrieveInformationModelGet))[-1]
            assert last.Status == status, patient_id  # the last: there is one, and its class was not negotiated
