"""QIDO-RS of a gateway before a real Orthanc: the reading order, what follows it, keys, fields and bad queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from xml.etree import ElementTree as ET

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.gateways import running_gateway
from tests.searched_films import FILMS, LISTED, NUMBERS, READ, STAT, UNSEEN
from tests.servers import OrthancServer

NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


@pytest.fixture(scope="module")
def web(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway's DICOMweb service: four studies on the list, one that was read, one that came before its time."""
    orthanc_server.start()
    orthanc_server.delete_everything()
    orthanc_server.post(FILMS[UNSEEN])
    time.sleep(1.1)  # Orthanc's times are whole seconds: one of this second would not be before the gateway's time
    folder = tmp_path_factory.mktemp("gateway")
    with (
        running_gateway(folder, orthanc_server.url, prior_after_days=0, lookback_h=0) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        _wait_until(lambda: client.get("/ready").json()["checks"]["feed"]["ok"])
        for number in (1, READ, 3, STAT, 5):
            orthanc_server.post(FILMS[number])
            _wait_until(partial(_is_listed, client, FILMS[number].StudyInstanceUID))
        read = f"/worklist/{FILMS[READ].StudyInstanceUID}/state"
        client.put(read, json={"state": "read", "by": "A reader"}).raise_for_status()
        client.base_url = httpx.URL(f"{url}/dicom-web")
        yield client
    orthanc_server.delete_everything()


def _is_listed(client: httpx.Client, study_instance_uid: str) -> bool:
    return study_instance_uid in client.get("/worklist").text


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 280  # a slow machine fails no test
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)


def found(web: httpx.Client, query: str = "") -> list[int]:
    """The numbers of the films that a query finds, in their order."""
    answer = web.get(f"/studies?{query}")
    assert answer.status_code == 200, answer.text
    return [NUMBERS[study["0020000D"]["Value"][0]] for study in answer.json()]


# ---- The order ----


def test_the_list_comes_first_in_its_order_and_all_else_after_it(web: httpx.Client) -> None:
    """STAT first, then by arrival; what was read or never listed follows, and nothing is missed or comes twice."""
    everything = found(web)
    assert everything[: len(LISTED)] == LISTED
    assert sorted(everything) == sorted(NUMBERS.values())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_pages_fit_together_across_the_seam(web: httpx.Client, size: int) -> None:
    """Pages of any size are the whole sequence, cut; behind its end there is nothing."""
    pages = [found(web, f"limit={size}&offset={offset}") for offset in range(0, 12, size)]
    assert [number for page in pages for number in page] == found(web)
    assert all(len(page) <= size for page in pages)
    assert found(web, f"limit={size}&offset=1000000000") == []
    assert found(web, "limit=0") == []


def test_the_seam_holds_for_what_meets_a_key(web: httpx.Client) -> None:
    """Of the women, those who are not on the list come after the one who is, page by page too."""
    women = found(web, "PatientSex=F")
    assert women[0] == STAT
    assert sorted(women) == [READ, STAT, UNSEEN]
    assert [number for offset in range(4) for number in found(web, f"PatientSex=F&limit=1&offset={offset}")] == women


def test_each_study_tells_its_place(web: httpx.Client) -> None:
    """Reporting Priority and our own elements tell what raises a study, and nothing of one that nothing raises."""
    studies = {NUMBERS[study["0020000D"]["Value"][0]]: study for study in web.get("/studies").json()}
    assert all(study["00090010"] == {"vr": "LO", "Value": ["FIRSTREAD"]} for study in studies.values())
    assert studies[STAT]["00401009"] == {"vr": "SH", "Value": ["HIGH"]}
    assert studies[STAT]["00091002"] == {"vr": "IS", "Value": [1]}
    assert studies[1]["00401009"] == {"vr": "SH"}
    assert studies[1]["00091001"] == {"vr": "CS"}, "not assessed"
    assert studies[1]["00091003"]["Value"] == ["UNREAD"]
    assert studies[READ]["00091003"]["Value"] == ["READ"]
    assert studies[READ]["00091002"] == {"vr": "IS"}
    assert studies[UNSEEN]["00091003"] == {"vr": "CS"}


# ---- Keys ----

KEYS = [
    ("StudyDate=20261103", [3]),
    ("StudyDate=20261103-20261104", [STAT, 3]),
    ("StudyDate=20261105-", [5, UNSEEN]),
    ("StudyDate=-20261102", [1, READ]),
    ("StudyDate=-20261102&PatientSex=M", [1]),
    ("StudyTime=130000.5", [3]),
    ("StudyTime=13-1500", [STAT, 3]),
    ("AccessionNumber=ACC3", [3]),
    ("AccessionNumber=acc?", [STAT, 1, 3, 5, READ, UNSEEN]),
    ("ModalitiesInStudy=DX", [STAT, 1, 3, 5, READ, UNSEEN]),
    ("ModalitiesInStudy=CR,CT", []),
    ("ModalitiesInStudy=CR%5CDX&AccessionNumber=ACC1", [1]),
    ("ReferringPhysicianName=referrer^number3", [3]),
    ("ReferringPhysicianName=*NUMBER2*", [READ]),
    ("PatientName=M%C3%BCller*", [1]),
    ("PatientName=m%C3%BCller%5Ej%C3%B6rg", [1]),
    ("PatientName=%D0%A1%D0%BE%D0%BA*", [STAT]),
    ("PatientName=Doe*", [3, 5]),
    ("PatientName=Doe^John", [5]),
    ("PatientName=Doe%5EJohn", [5]),
    ("PatientName=Doe", []),
    ("PatientName=*%E7%8E%8B*", [READ]),
    ("PatientName=doe%5Ej?hn", [5]),
    ("PatientID=QIDO-1", [1]),
    ("PatientID=QIDO-%2A", [STAT, 1, 3, 5, READ, UNSEEN]),
    ("PatientID=nobody", []),
    ("PatientID=", [STAT, 1, 3, 5, READ, UNSEEN]),
    ("StudyID=ST3", [3]),
    ("StudyID=ST%3F&StudyDate=20261104-20261105", [STAT, 5]),
    ("00100020=QIDO-3", [3]),
    ("0020000d={1},{2},{6}", [1, READ, UNSEEN]),
    ("StudyInstanceUID={1}%5C{4}", [STAT, 1]),
    ("StudyInstanceUID=1.2.3", []),
    ("StudyDescription=chest*&PatientID=QIDO-2", [READ]),
    ("ReportingPriority=HIGH", [STAT]),
    ("PatientBirthDate=19000101-20261231&PatientID=QIDO-5", [5]),
    ("PatientName=*&StudyDate=*&fuzzymatching=true", [STAT, 1, 3, 5, READ, UNSEEN]),
]


@pytest.mark.parametrize(("query", "numbers"), KEYS, ids=[query for query, _ in KEYS])
def test_every_key_finds_what_it_should(web: httpx.Client, query: str, numbers: list[int]) -> None:
    """Each key of PS3.18 Table 10.6.1-5 matches by the kind of its VR, on the list and behind it."""
    uids = {str(number): film.StudyInstanceUID for number, film in FILMS.items()}
    for number, uid in uids.items():
        query = query.replace("{" + number + "}", uid)
    got = found(web, query)
    assert sorted(got) == sorted(numbers)
    assert [number for number in got if number in LISTED] == [number for number in LISTED if number in numbers]
    assert got[: len(set(numbers) & set(LISTED))] == [number for number in LISTED if number in numbers]


def test_a_common_client_finds_by_every_kind_of_key(web: httpx.Client) -> None:
    """dicomweb-client gets the order, an umlaut and a wildcard as they are, and pages on by itself."""
    client = DICOMwebClient(str(web.base_url).rstrip("/"))
    uids = [study["0020000D"]["Value"][0] for study in client.search_for_studies(limit=2, get_remaining=True)]
    assert [NUMBERS[uid] for uid in uids] == found(web)
    (one,) = client.search_for_studies(search_filters={"PatientName": "Müller^*"}, fields=["StudyDescription"])
    assert one["00081030"]["Value"] == ["Chest PA"]


# ---- What is told ----


def test_every_study_has_the_attributes_of_the_standard(web: httpx.Client) -> None:
    """Each has those of PS3.18 Table 10.6.3-3 with their values, as Orthanc has them."""
    (study,) = web.get("/studies?PatientID=QIDO-2").json()
    film = FILMS[READ]
    values = {
        "00080020": [film.StudyDate],
        "00080030": [film.StudyTime],
        "00080050": ["ACC2"],
        "00080056": ["ONLINE"],
        "00080061": ["DX"],
        "00080090": [{"Alphabetic": "Referrer^Number2"}],
        "00081190": [f"{str(web.base_url).rstrip('/')}/studies/{film.StudyInstanceUID}"],
        "00100010": [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}],
        "00100020": ["QIDO-2"],
        "00100030": [film.PatientBirthDate],
        "00100040": ["F"],
        "00200010": ["ST2"],
        "00201206": [1],
        "00201208": [1],
    }
    assert {tag: study[tag].get("Value") for tag in values} == values
    assert "00081030" not in study
    assert list(study) == sorted(study)


@pytest.mark.parametrize("fields", ["00081030", "StudyDescription", "all", "studydescription&includefield=00081030"])
def test_fields_are_included(web: httpx.Client, fields: str) -> None:
    """A field is asked for by keyword or tag, or all are; several parameters add up."""
    studies = web.get(f"/studies?includefield={fields}").json()
    assert all(study["00081030"]["Value"] == ["Chest PA"] for study in studies)


def test_fields_of_the_files_are_read_by_orthanc(web: httpx.Client) -> None:
    """What no index has comes from the files: of each study its own; what nobody knows is left out."""
    studies = web.get("/studies?includefield=00080060,ViewPosition,Nonsense,00191001&includefield=all").json()
    assert {study["00080060"]["Value"][0] for study in studies} == {"DX"}
    assert all(study["00185101"]["Value"] == ["PA"] for study in studies)


def test_xml_is_told_where_it_is_asked_for(web: httpx.Client) -> None:
    """One part for each study, in the native DICOM model."""
    accept = {"Accept": 'multipart/related; type="application/dicom+xml"'}
    answer = web.get("/studies?limit=3", headers=accept)
    boundary = answer.headers["content-type"].rpartition("boundary=")[2]
    parts = answer.text.split(f"--{boundary}")[1:-1]
    models = [ET.fromstring(part.partition("\r\n\r\n")[2].strip()) for part in parts]  # noqa: S314 - ours
    path = f"{NATIVE}DicomAttribute[@keyword='StudyInstanceUID']/{NATIVE}Value"
    assert [NUMBERS[str(model.findtext(path))] for model in models] == LISTED[:3]
    names = [model.findtext(f"{NATIVE}DicomAttribute[@keyword='PatientName']//{NATIVE}FamilyName") for model in models]
    assert names == ["Соколова", "Müller", "Doe"]


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/json", "application/dicom+json, */*;q=0.1", "text/html, */*"]
)
def test_json_is_told_otherwise(web: httpx.Client, accept: str) -> None:
    """Whoever takes JSON gets it, also where something else is wanted more that is not offered."""
    answer = web.get("/studies?limit=1", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] in {"application/dicom+json", "application/json"}
    assert web.head("/studies?limit=1").headers["content-length"] == str(len(web.get("/studies?limit=1").content))


def test_what_cannot_be_told_is_said(web: httpx.Client) -> None:
    """406 for a media type that there is none of; a Warning where names that sound alike were asked for."""
    for accept in ("text/html", 'multipart/related; type="application/dicom"', "application/dicom+json;q=0"):
        refused = web.get("/studies", headers={"Accept": accept})
        assert (refused.status_code, refused.headers["content-type"]) == (406, "application/problem+json")
    warned = web.get("/studies?fuzzymatching=true").headers["warning"]
    assert warned.startswith("299 ")
    assert "fuzzymatching" in warned
    assert "warning" not in web.get("/studies?limit=1000000000").headers, "there are no more"


def test_attributes_of_many_studies_are_asked_for_in_parts(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address takes a limited number of UIDs, and every study is told of all the same."""
    whole = web.get("/studies?includefield=ViewPosition").json()
    monkeypatch.setattr("gateway.search.pacs._IN_ADDRESS", 2)
    assert web.get("/studies?includefield=ViewPosition").json() == whole
    assert len(whole) > 2
    assert any("00185101" in study for study in whole)


# ---- What cannot be meant ----


NONSENSE = (
    "limit=-1",
    "limit=x",
    "limit=",
    "limit=1.5",
    "limit=99999999999999999999",
    "offset=-1",
    "limit=1&limit=2",
    "fuzzymatching=maybe",
    "includefield=a b",
    "StudyInstanceUID=1.*",
    "StudyInstanceUID=1." + "2" * 63,
    "StudyDate=20261231-20260101",
    "StudyDate=yesterday",
    "StudyTime=9999",
    "Patient Name=x",
    "PatientName=%FF%FE",
    "PatientName=a%00b",
    "PatientID=1&00100020=2",
    "NumberOfStudyRelatedInstances=1",
    "&".join(f"P{number}=1" for number in range(300)),
)
NONSENSE_OF_STUDIES = ("Modality=CR", "Nonsense=1")  # has a meaning below them, or is left out there


@pytest.mark.parametrize(
    ("resource", "query"),
    [
        *product(("studies", "series", "studies/1.2/series", "instances"), NONSENSE),
        *product(("studies",), NONSENSE_OF_STUDIES),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(web: httpx.Client, resource: str, query: str) -> None:
    """The answer is 400 with one line that says what is wrong, at every level, and never a 500."""
    refused = web.get(f"/{resource}?{query}")
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert "\n" not in refused.json()["detail"]
