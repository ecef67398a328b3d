"""C-FIND of Orthanc itself, of each version that is here: in reading order, and otherwise as without the plug-in."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from gateway.dimse.associate import associate
from tests.bad_films import chest
from tests.gateways import served
from tests.relays import Manner, Relay, relay_to
from tests.servers import ORTHANCS, OrthancServer, find_program, running

BELL: Final = "of the bell"
FINDS: Final = {"DicomAlwaysAllowFind": True}
NAMES: Final = ("Müller^Jörg", "Wang^XiaoDong=王^小東", "Соколова^Вера", "Doe^Jane", "Doe^John", "Ng^An")


@dataclass
class Gateway:
    """What answers GET /worklist/order to whoever knows the doorbell's secret: an order, or trouble.

    Attributes:
        order: Orthanc's identifiers of studies.
        content: what is answered instead.
        delay_s: how long it takes.
        line: by which Orthanc reaches it.
    """

    order: list[str] = field(default_factory=list)
    content: bytes | None = None
    delay_s: float = 0.0
    line: Relay | None = None

    def app(self) -> FastAPI:
        """It as an application."""
        app = FastAPI()

        @app.get("/worklist/order", response_model=None)
        def order(request: Request) -> Response:
            time.sleep(self.delay_s)
            if request.headers.get("authorization") != f"Bearer {BELL}":
                return Response(status_code=401)
            content = json.dumps({"studies": self.order}).encode() if self.content is None else self.content
            return Response(content, media_type="application/json")

        return app

    def cut(self, manner: Manner) -> None:
        """Let its line be so."""
        assert self.line
        self.line.manner = manner


@dataclass
class Department:
    """An Orthanc that answers by the plug-in, its twin that answers by itself, and the studies that both hold."""

    orthanc: OrthancServer
    twin: OrthancServer
    gateway: Gateway
    ids: dict[str, str]  # Orthanc's identifiers by patient ID

    def mend(self) -> None:
        """Let the gateway tell an order again."""
        self.gateway.order = [self.ids["P4"], self.ids["P1"]]
        self.gateway.content, self.gateway.delay_s = None, 0.0
        self.gateway.cut(Manner())


@pytest.fixture(scope="module", params=ORTHANCS)
def department(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    """Six studies, two of them with a second image, in both Orthancs."""
    gateway = Gateway()
    with served(gateway.app()) as url, relay_to(url) as (gateway.line, root):
        own = {"DoorbellUrl": "http://127.0.0.1:9/events/orthanc", "OrderUrl": f"{root}worklist/order"}
        own["DoorbellSecret"] = BELL
        settings = {**FINDS, "Firstread": own}
        folders = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("own")
        with (
            running(OrthancServer(folders[0], configuration=settings, root=request.param)) as orthanc,
            running(OrthancServer(folders[1], configuration=FINDS, root=request.param)) as twin,
        ):
            ids = {}
            for film in _films():
                orthanc.post(film)
                twin.post(film)
                ids[str(film.PatientID)] = orthanc.study(film.StudyInstanceUID)
            yield Department(orthanc, twin, gateway, ids)


def _films() -> Iterator[Dataset]:
    for number, name in enumerate(NAMES):
        film = chest()
        film.SpecificCharacterSet = "ISO_IR 192"
        film.PatientID, film.PatientName, film.BodyPartExamined = f"P{number}", name, "CHEST"
        film.StudyDate = f"2026110{number + 1}"
        film.ReferringPhysicianName = "Referrer^A"
        yield film
        if number < 2:
            film.SeriesInstanceUID, film.SOPInstanceUID = generate_uid(), generate_uid()
            film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
            film.Modality = "CR"
            yield film


@pytest.fixture(autouse=True)
def _mended(department: Department) -> None:
    department.mend()


def find(orthanc: OrthancServer, level: str, *, private: str = "", **keys: str) -> list[Dataset]:
    """What a C-FIND finds, in the order of the answers; with a private creator also elements that nobody knows."""
    model = PatientRootQueryRetrieveInformationModelFind
    if level == "STUDY":
        model = StudyRootQueryRetrieveInformationModelFind
    client = AE("WORKSTATION")
    client.add_requested_context(model)
    association, _ = associate(client, "127.0.0.1", orthanc.dicom_port, ae_title=orthanc.aet)
    assert association.is_established
    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    if private:
        query.private_block(0x0011, private, create=True).add_new(0x01, "LO", "")
        query.add_new(0x00089999, "LO", "")
    answers = list(association.send_c_find(query, model))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return [identifier for _, identifier in answers[:-1] if identifier]


def patients(answers: list[Dataset]) -> list[str]:
    """The patients of answers."""
    return [str(answer.PatientID) for answer in answers]


STUDY = {"PatientID": "", "StudyInstanceUID": ""}


def until_in_order(ask: Callable[[], list[str]]) -> list[str]:
    """The patients of the first answers that begin with what the list has: 200 ms may be too few on a busy machine."""
    deadline = time.monotonic() + 120
    while (found := ask())[:2] != ["P4", "P1"]:
        assert time.monotonic() < deadline, found
    return found


def test_findscu_has_the_list_first(department: Department) -> None:
    """DCMTK's findscu, at Orthanc's own port, gets what the gateway lists in its order, then all else, each once."""
    command = [find_program("findscu", Path("/usr/bin")), "-S", "-aec", "ORTHANC", "127.0.0.1"]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID"]

    def ask() -> list[str]:
        port = str(department.orthanc.dicom_port)
        said = subprocess.run([*command, port, *keys], check=True, capture_output=True, text=True)
        return re.findall(r"\(0010,0020\) LO \[(P\d)", said.stdout + said.stderr)

    assert sorted(until_in_order(ask)) == sorted(department.ids)


def test_series_and_patients_follow_their_studies(department: Department) -> None:
    """At the other levels above images what the list has comes first, too."""
    orthanc = department.orthanc
    series = until_in_order(lambda: patients(find(orthanc, "SERIES", **STUDY, SeriesInstanceUID="")))
    assert series[2] == "P1"
    until_in_order(lambda: patients(find(orthanc, "PATIENT", PatientID="")))


QUESTIONS: Final = [
    ("STUDY", STUDY),
    ("STUDY", {**STUDY, "PatientName": "*ller*", "StudyDescription": "", "ReferringPhysicianName": ""}),
    ("STUDY", {**STUDY, "PatientName": "соколова*"}),
    ("STUDY", {**STUDY, "StudyDate": "20261102-20261104", "AccessionNumber": "", "StudyTime": ""}),
    ("STUDY", {**STUDY, "ModalitiesInStudy": "CR", "NumberOfStudyRelatedSeries": ""}),
    ("STUDY", {**STUDY, "NumberOfStudyRelatedInstances": "", "SOPClassesInStudy": "", "OtherPatientIDs": ""}),
    ("STUDY", {**STUDY, "BodyPartExamined": "", "ViewPosition": "", "InstitutionName": ""}),
    ("STUDY", {**STUDY, "PatientID": "nobody"}),
    ("PATIENT", {"PatientID": "", "PatientName": "", "NumberOfPatientRelatedStudies": ""}),
    ("PATIENT", {"PatientID": "", "NumberOfPatientRelatedSeries": "", "NumberOfPatientRelatedInstances": ""}),
    ("SERIES", {**STUDY, "SeriesInstanceUID": "", "Modality": "", "NumberOfSeriesRelatedInstances": ""}),
    ("SERIES", {**STUDY, "SeriesInstanceUID": "", "Modality": "CR", "StudyDate": "", "PatientName": ""}),
    ("IMAGE", {**STUDY, "SeriesInstanceUID": "", "SOPInstanceUID": "", "InstanceNumber": "", "ImageType": ""}),
]


@pytest.mark.parametrize(("level", "keys"), QUESTIONS)
def test_nothing_else_differs_from_orthancs_own(department: Department, level: str, keys: dict[str, str]) -> None:
    """The same answers, element for element, as of the Orthanc without the plug-in's order."""
    ours, own = (find(orthanc, level, **keys) for orthanc in (department.orthanc, department.twin))
    assert Counter(map(_elements, ours)) == Counter(map(_elements, own))


def _elements(answer: Dataset) -> tuple[tuple[str, str], ...]:
    return tuple((str(element.tag), str(element.value)) for element in answer)


def test_keys_that_nobody_knows_keep_no_study_back(department: Department) -> None:
    """A workstation that asks for private or unknown elements gets all studies, as ever."""
    query = {**STUDY, "PatientName": ""}
    assert len(find(department.orthanc, "STUDY", **query, private="x")) == len(department.ids)


def _slow(gateway: Gateway) -> None:
    gateway.delay_s = 1.5


def _saying(content: bytes) -> Callable[[Gateway], None]:
    def change(gateway: Gateway) -> None:
        gateway.content = content

    return change


TROUBLES: Final[dict[str, Callable[[Gateway], None]]] = {
    "away": lambda gateway: gateway.cut(Manner(cuts_after=0)),
    "silent": lambda gateway: gateway.cut(Manner(swallows=True)),
    "slow": _slow,
    "no JSON": _saying(b"<html>"),
    "another document": _saying(b'{"items": []}'),
    "a number": _saying(b'{"studies": 7}'),
    "too deep": _saying(b"[" * 100_000),
    "strangers": _saying(b'{"studies": ["x", null, {}]}'),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_a_sound_answer_the_order_is_orthancs_own(department: Department, trouble: str) -> None:
    """A gateway that is away, slow or tells nonsense takes nothing away; once it is sound again it is heard."""
    TROUBLES[trouble](department.gateway)
    own = [department.ids[patient] for patient in patients(find(department.orthanc, "STUDY", **STUDY))]
    asked = {"Level": "Study", "Query": {}}
    found = httpx.post(f"{department.orthanc.url}/tools/find", json=asked, trust_env=False, timeout=60)
    assert own == found.json()
    department.mend()
    until_in_order(lambda: patients(find(department.orthanc, "STUDY", **STUDY)))
