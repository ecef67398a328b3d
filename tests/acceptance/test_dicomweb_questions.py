"""What the gateway asks of a real Orthanc on behalf of others: names in any script, films as stored, nothing deadly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import imagecodecs
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from tests.bad_films import chest
from tests.charsets import DECLARED, UNDECLARED, Writing
from tests.gateways import running_gateway
from tests.servers import OrthancServer

JSON = {"Accept": "application/dicom+json"}
AS_STORED = 'multipart/related; type="application/{}"; transfer-syntax=*'


@pytest.fixture(scope="module")
def gateway(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Root of a gateway before the tests' Orthanc."""
    orthanc_server.start()
    with running_gateway(tmp_path_factory.mktemp("gateway"), orthanc_server.url) as url:
        yield url


@pytest.fixture
def web(gateway: str, orthanc: OrthancServer) -> Iterator[httpx.Client]:
    """A client of the gateway's DICOMweb service; Orthanc is empty at first."""
    del orthanc
    with httpx.Client(base_url=f"{gateway}/dicom-web", trust_env=False, timeout=30) as client:
        yield client


def path_of(film: Dataset) -> str:
    """The instance's resource."""
    return f"/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}/instances/{film.SOPInstanceUID}"


# ---- Names ----


def told(dataset: dict[str, Any]) -> tuple[str, str]:
    """Name and description in a dataset of the DICOM JSON model, the name with all its component groups."""
    name = dataset["00100010"]["Value"][0]
    groups = [name.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
    return "=".join(groups).rstrip("="), dataset["00081030"]["Value"][0]


@pytest.mark.parametrize("writing", DECLARED, ids=lambda writing: writing.character_set)
def test_names_in_any_script_are_told_in_utf8(web: httpx.Client, orthanc: OrthancServer, writing: Writing) -> None:
    """Search and metadata give name and description as the film's own character set has them, in UTF-8."""
    film = writing.on(chest())
    orthanc.post(film)
    study, series = f"/studies/{film.StudyInstanceUID}", f"/series/{film.SeriesInstanceUID}"
    (found,) = web.get("/studies", params={"PatientID": film.PatientID, "includefield": "00081030"}).json()
    (metadata,) = web.get(f"{study}{series}/metadata", headers=JSON).json()
    for dataset in (found, metadata):
        assert told(dataset) == (writing.name, writing.description)


@pytest.mark.parametrize("writing", UNDECLARED, ids=lambda writing: f"{writing.character_set}-{writing.codec}")
def test_names_without_a_character_set_lose_letters_and_gain_none(
    web: httpx.Client, orthanc: OrthancServer, writing: Writing
) -> None:
    """UTF-8 is taken for what it is; of Latin-1 letters are left out, and none is made another."""
    film = writing.on(chest())
    orthanc.post(film)
    (found,) = web.get("/studies", params={"PatientID": film.PatientID, "includefield": "00081030"}).json()
    for text, written in zip(told(found), (writing.name, writing.description), strict=True):
        if writing.codec == "utf-8":
            assert text == written
        else:
            left = iter(written)
            assert text.isascii()
            assert all(letter in left for letter in text), "letters in their order"


# ---- Searches ----


@pytest.mark.parametrize(
    "query",
    [
        "PatientName=SIMULATED-Bad%2A",
        "PatientName=%53IMULATED-Bad%5EFilm",
        "PatientName=simulated%2D%2A",
        "StudyDate=20260101%2D20261231",
        "00100010=SIMULATED%2DBad%5E%3F%3F%3F%3F",
        "PatientID=BAD-0001&includefield=00081030%2C00080060",
    ],
)
def test_percent_encoded_searches_find_the_film(web: httpx.Client, orthanc: OrthancServer, query: str) -> None:
    """A value means the same whether or not its characters are percent-encoded (RFC 3986 section 2.3)."""
    film = chest()
    orthanc.post(film)
    found = web.get(f"/studies?{query}").json()
    assert [study["0020000D"]["Value"] for study in found] == [[film.StudyInstanceUID]]
    if "includefield" in query:
        assert found[0]["00081030"]["Value"] == ["Chest PA"]
    assert web.get("/studies?PatientName=Nobody%2A").json() == []


def test_a_common_client_finds_by_wildcard(gateway: str, orthanc: OrthancServer, web: httpx.Client) -> None:
    """dicomweb-client, which percent-encodes its wildcards, finds patients by the beginning of their name."""
    del web
    orthanc.post(chest())
    client = DICOMwebClient(f"{gateway}/dicom-web")
    assert len(client.search_for_studies(search_filters={"PatientName": "SIMULATED-Bad^*"})) == 1
    assert client.search_for_studies(search_filters={"PatientName": "SIMULATED-Good^*"}) == []


def test_an_encoded_separator_stays_in_its_value(web: httpx.Client, orthanc: OrthancServer) -> None:
    """An encoded ampersand begins no second parameter, and an encoded percent sign no second decoding."""
    orthanc.post(chest())
    assert web.get("/studies?PatientID=BAD-0001%26PatientID=other").json() == []
    assert web.get("/studies?PatientID=BAD-000%2531").json() == []


# ---- Films as they are stored ----


def stored_as(syntax: UID) -> Dataset:
    """A film in a transfer syntax."""
    film = chest()
    if syntax == JPEGLSLossless:
        film.compress(JPEGLSLossless, generate_instance_uid=False)
    elif syntax != ExplicitVRLittleEndian:
        pixels = film.pixel_array
        codestream = (
            imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True)
            if syntax == JPEG2000Lossless
            else imagecodecs.ljpeg_encode(pixels, bitspersample=16)
        )
        film.PixelData = encapsulate([bytes(codestream)])
        film["PixelData"].VR = "OB"
        film.file_meta.TransferSyntaxUID = syntax
    return film


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_films_come_as_they_are_stored(gateway: str, orthanc: OrthancServer, web: httpx.Client, syntax: UID) -> None:
    """However often a film or frame is asked for, Orthanc lives and gives it."""
    film = stored_as(syntax)
    orthanc.post(film)
    client = DICOMwebClient(f"{gateway}/dicom-web")
    uids = (film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID)
    for _ in range(15):
        assert client.retrieve_instance(*uids).file_meta.TransferSyntaxUID == syntax
        for accept in ("*/*", "*/*;q=0.8", 'multipart/related; type="*/*"', AS_STORED.format("octet-stream")):
            frame = web.get(f"{path_of(film)}/frames/1", headers={"Accept": accept})
            assert frame.is_success, frame.text
            assert f"transfer-syntax={syntax}" in frame.headers["content-type"]
    assert dict(web.get(path_of(film)).headers)["content-type"].startswith(
        'multipart/related; type="application/dicom"'
    )


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.70'),
        ("", "multipart/related; type=application/dicom; Transfer-Syntax=1.2.840.10008.1.2.1"),
        ("/frames/1", 'multipart/related; type="image/jpeg"'),
        ("/frames/1", 'multipart/related; type="image/jls"; transfer-syntax=*'),
        ("/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.90'),
        ("/frames/1,1", "image/jpeg, image/jls"),
        ("/frames/1/", 'multipart/related; type="image/jpeg"'),
        ("/rendered?viewport=99999,99999", "image/png"),
        ("/rendered?viewport=0,0", "image/png"),
        ("/rendered?viewport=-5,512", "image/png"),
        ("/rendered?viewport=512", "image/png"),
        ("/rendered?viewport=512,512,nan,0,1,1", "image/png"),
        ("/rendered?viewport=512,512&viewport=99999,99999", "image/png"),
        ("/rendered?v%69ewport=99999%2C9999%39", "image/png"),
        ("/frames/1/rendered?window=1,2,linear&viewport=99999,4", "image/jpeg"),
    ],
)
def test_what_ends_orthanc_is_refused(
    gateway: str, orthanc_server: OrthancServer, web: httpx.Client, path: str, accept: str
) -> None:
    """The answer is 400 or 406 with what to ask instead, without Orthanc: it comes while Orthanc is away."""
    del web
    status = 400 if "rendered" in path else 406
    film = chest()
    address = f"{gateway}/dicom-web{path_of(film)}{path}"
    orthanc_server.stop()
    try:
        for method in ("GET", "HEAD"):
            refused = httpx.request(method, address, headers={"Accept": accept}, trust_env=False)
            assert refused.status_code == status
        refused = httpx.get(address, headers={"Accept": accept}, trust_env=False)
        assert refused.headers["content-type"] == "application/problem+json"
        assert ("transfer-syntax=*" if "rendered" not in path else "4096") in refused.json()["detail"]
        assert httpx.get(address.partition("?")[0], trust_env=False).status_code == 503, "that one would be asked"
    finally:
        orthanc_server.start()


def test_pictures_of_a_given_size_are_drawn(web: httpx.Client, orthanc: OrthancServer) -> None:
    """A viewport within bounds is drawn, its comma encoded or not, with or without the part of the image."""
    film = chest()
    orthanc.post(film)
    for viewport in ("256,256", "256%2C256", "4096,4096", "100,100,0,0,50,50", "100,100,,,,", "100,100,-5,0.5,99999,9"):
        answer = web.get(f"{path_of(film)}/rendered?viewport={viewport}", headers={"Accept": "image/png"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), viewport


def half_of_it(film: Dataset) -> None:
    """Cut the pixels short."""
    film.PixelData = film.PixelData[: len(film.PixelData) // 4 * 2]


def rows_as_text(film: Dataset) -> None:
    """State the height in another VR, by which Orthanc 1.10 dies."""
    rows = str(film.Rows)
    del film.Rows
    film.add_new("Rows", "LO", rows)


@pytest.mark.parametrize("spoil", [half_of_it, rows_as_text])
@pytest.mark.parametrize("part", ["/rendered", "/frames/1/rendered", "/rendered?viewport=64,64", "/thumbnail"])
def test_a_broken_film_is_not_drawn(
    web: httpx.Client, orthanc: OrthancServer, spoil: Callable[[Dataset], None], part: str
) -> None:
    """Orthanc, which might die of it, is not asked; it goes on to draw what is whole."""
    broken, whole = chest(1), chest(2)
    spoil(broken)
    orthanc.post(broken)
    orthanc.post(whole)
    for method in ("GET", "HEAD"):
        assert web.request(method, f"{path_of(broken)}{part}").status_code == 422
    refused = web.get(f"{path_of(broken)}{part}")
    assert (refused.headers["content-type"], refused.json()["code"]) == ("application/problem+json", "not_drawn_safely")
    assert web.get(f"{path_of(whole)}/rendered", headers={"Accept": "image/png"}).status_code == 200


@pytest.mark.parametrize("level", [0, 1])
def test_a_picture_is_drawn_of_one_image(web: httpx.Client, orthanc: OrthancServer, level: int) -> None:
    """Of a study or series each image would be drawn, the broken ones too."""
    film = chest()
    orthanc.post(film)
    path = (f"/studies/{film.StudyInstanceUID}", f"/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}")
    refused = web.get(f"{path[level]}/rendered")
    assert (refused.status_code, refused.json()["title"]) == (400, "not of one image")


# ---- Spacings that no image can have ----


@pytest.mark.parametrize("spacing", ["0\\0", "0.2\\0", "-1\\-1", "0", "", "x\\y", "nan\\nan"])
def test_an_unusable_spacing_leaves_the_metadata_alone(web: httpx.Client, orthanc: OrthancServer, spacing: str) -> None:
    """Metadata of each level lack it and hold all else as Orthanc tells it; the film itself keeps it, to the byte."""
    film = chest()
    octets = spacing.encode() + b" " * (len(spacing) % 2)
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        tag = Tag(keyword)
        film[tag] = RawDataElement(tag, "DS", len(octets), octets, 0, False, True)  # noqa: FBT003 - pydicom's own
    orthanc.post(film)
    study, series = f"/studies/{film.StudyInstanceUID}", f"/series/{film.SeriesInstanceUID}"
    for path in (f"{study}/metadata", f"{study}{series}/metadata", f"{path_of(film)}/metadata"):
        mended = web.get(path, headers=JSON)
        root = str(web.base_url).rstrip("/").removesuffix("/dicom-web")
        own = httpx.get(
            f"{orthanc.url}/dicom-web{path}",
            headers={**JSON, "Forwarded": f"host={root.removeprefix('http://')};proto=http"},
            trust_env=False,
        )
        (dataset,) = own.json()
        assert mended.json() == [{tag: value for tag, value in dataset.items() if tag not in ("00280030", "00181164")}]
        assert int(mended.headers.get("content-length", len(mended.content))) == len(mended.content)
        assert "content-length" not in web.head(path, headers=JSON).headers
    whole = web.get(path_of(film)).content
    assert httpx.get(f"{orthanc.url}/instances", trust_env=False).json()
    (instance,) = orthanc.get("/instances")
    assert httpx.get(f"{orthanc.url}/instances/{instance}/file", trust_env=False).content in whole


def test_a_usable_spacing_stays(web: httpx.Client, orthanc: OrthancServer) -> None:
    """Metadata of a film that states its spacing come as Orthanc wrote them, to the byte."""
    film = chest()
    film.PixelSpacing = [0.143, 0.143]
    orthanc.post(film)
    path = f"{path_of(film)}/metadata"
    host = str(web.base_url.netloc, "ascii")
    own = httpx.get(
        f"{orthanc.url}/dicom-web{path}", headers={**JSON, "Forwarded": f"host={host};proto=http"}, trust_env=False
    )
    mended = web.get(path, headers=JSON)
    assert mended.content == own.content
    assert json.loads(mended.content)[0]["00280030"]["Value"] == pytest.approx([0.143, 0.143])
