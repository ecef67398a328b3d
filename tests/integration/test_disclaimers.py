"""Nothing that Firstread puts out lacks its disclaimer: every answer of the gateway, every page, every object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from pydicom.dataset import Dataset

from dicom_sr.content import FULL_DISCLAIMER
from firstread.compose_gateway import build_gateway
from firstread.settings import Settings
from gateway.access.rights import MOUNT, RouteRights
from tests.gateways import running_gateway
from tests.lists import EFFUSION, FilledList
from tests.sr_films import build, build_failure, film
from worklist.finding import DISCLAIMER
from worklist.records import Database


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A gateway's address, and a study on its list."""
    folder = tmp_path_factory.mktemp("disclaimers")
    with running_gateway(folder, "http://127.0.0.1:9") as url:
        with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
            uid = FilledList(database).add(1, "Roe^Jane", findings=EFFUSION, crops=1, question="?effusion")
        yield url, uid


def test_every_answer_of_every_route_bears_it(gateway: tuple[str, str]) -> None:
    """In a header, whatever the route, the method and the status are."""
    url, uid = gateway
    rows = RouteRights(build_gateway(Settings(database_url="sqlite://")), ["/dicom-web/"]).rows
    asked = {(row.template, row.method) for row in rows if row.method in {"GET", "POST", "PUT", MOUNT}}
    assert len(asked) > 50
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for template, method in sorted(asked):
            path = re.sub(r"{study[^}]*}", uid, template)
            path = re.sub(r"{position}", "1", path)
            path = re.sub(r"{[^}]*}", "1.2.3", path) + ("/page.css" if template == "/static" else "")
            with client.stream("GET" if method == MOUNT else method, path) as answer:  # one of them never ends
                assert answer.headers.get("firstread-disclaimer") == DISCLAIMER, (method, path)


@pytest.mark.parametrize("path", ["/", "/try", "/failures", "/settings", "/simulate"])
def test_every_page_shows_it(gateway: tuple[str, str], path: str) -> None:
    """As text that people read."""
    assert DISCLAIMER in httpx.get(f"{gateway[0]}{path}", trust_env=False, timeout=60).text


def test_what_systems_read_bears_it(gateway: tuple[str, str]) -> None:
    """What is read of notes and requests, or understood of speech, alone and beside a study, and FHIR, in its body."""
    url, uid = gateway
    answers = [
        httpx.post(f"{url}/text", json={"text": "Fever."}, trust_env=False, timeout=60),
        httpx.post(f"{url}/text", json={"text": "Der Patient hat Husten und Fieber."}, trust_env=False, timeout=60),
        httpx.post(f"{url}/text/{uid}", json={"text": "Left effusion."}, trust_env=False, timeout=60),
        httpx.get(f"{url}/text/{uid}", trust_env=False, timeout=60),
        httpx.post(f"{url}/dictate", json={"text": "Next patient."}, trust_env=False, timeout=60),
        httpx.post(f"{url}/dictate/{uid}", json={"text": "What was found on the left?"}, trust_env=False, timeout=60),
        httpx.get(f"{url}/fhir/DiagnosticReport/{uid}", trust_env=False, timeout=60),
        httpx.get(f"{url}/fhir/DiagnosticReport?study={uid}", trust_env=False, timeout=60),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert DISCLAIMER in answer.text


def said(dataset: Dataset) -> str:
    """All texts of an object."""
    return "\n".join(str(element.value) for element in dataset.iterall() if element.VR not in {"OB", "OW", "SQ"})


def test_every_object_in_the_pacs_bears_it() -> None:
    """Reports, of failures too, in full; outlines and key images in few words; crops drawn into the picture itself."""
    results = build(source=film(PhotometricInterpretation="MONOCHROME2"), optional=True)
    for report in (results.triage_report, results.findings_report, build_failure().triage_report):
        assert report is not None
        assert FULL_DISCLAIMER in said(report)
    assert results.overlays
    for one in (*results.overlays, results.key_image):
        assert one is not None
        assert "not a diagnosis" in said(one).lower(), one.SOPClassUID.name
    for picture in (*results.crops, *results.overviews):
        foot = picture.pixel_array[-40:].reshape(-1, 3).astype(int)  # grey but for what is drawn
        assert (foot.max(axis=1) - foot.min(axis=1) > 60).any(), picture.SOPInstanceUID
