"""A whole site, as the demo starts it, for tests that send films and look at what becomes of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx
import pydicom
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from dicom_sr.findings_report import located_findings
from dicom_sr.parse import TriageReport, parse
from firstread.compose_worker import build_pacs, build_scorer
from firstread.demo import Site, running_site, wait_until_done
from firstread.processes import Supervisor
from firstread.settings import Settings
from gateway.dimse.send import send
from imaging.radiograph import read_radiograph
from imaging.simulated.phantom import simulate_film
from models import Scorer
from tests.bad_films import chest
from tests.browsing import find_chromium
from worklist.finding import FindingType
from worklist.triage import SiteChoices, TriagePolicy, assess

PATIENCE_MS = 30_000  # the slowness of a machine fails no test
expect.set_options(timeout=PATIENCE_MS)


def free_port_base() -> int:
    """The first of five free ports in a row; by chance, since other processes look for theirs at the same time."""
    for base in SystemRandom().sample(range(20000, 30000, 10), 1000):
        probes = [socket.socket() for _ in range(5)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        else:
            return base
        finally:
            for probe in probes:
                probe.close()
    pytest.fail("no five free ports in a row")


def film_with_effusion(seed: int) -> pydicom.Dataset:
    """A good film whose effusion is named and gets a crop: the first such one from a seed on."""
    scorer = shipped_scorer()
    policy = TriagePolicy.of(scorer.card, SiteChoices())
    for number in count(seed):
        film = chest(number)
        pixels = simulate_film(number, finding=FindingType.PLEURAL_EFFUSION, rows=film.Rows, columns=film.Columns)
        film.PixelData = pixels.astype("u2").tobytes()
        analysis = scorer.score(read_radiograph(film))
        if located_findings(analysis, assess(analysis, policy)):
            return film
    raise AssertionError


@cache
def shipped_scorer() -> Scorer:
    """The fast path's model, loaded once."""
    return build_scorer(Settings())


@dataclass(frozen=True)
class RunningSite:
    """A running site, and what tests ask of it."""

    site: Site
    supervisor: Supervisor

    def send(self, sources: Iterable[Path | pydicom.Dataset]) -> None:
        """C-STORE; every image must be taken."""
        result = send(list(sources), host="127.0.0.1", port=self.site.orthanc_dicom_port, called_aet="ORTHANC")
        assert not result.failed, result.failed

    def done(self, studies: int) -> dict[str, dict[str, Any]]:
        """The items of the reading list by Study Instance UID, once nothing is left to do."""
        worklist: Any = wait_until_done(self.site, studies, patience_s=120)
        return {item["study_instance_uid"]: item for item in worklist["items"]}

    def own_objects(self, study_instance_uid: str) -> list[dict[str, str]]:
        """The headers of everything that Firstread wrote into a study."""
        url = self.site.orthanc_url
        found = httpx.post(f"{url}/tools/lookup", content=study_instance_uid, trust_env=False).json()
        headers = []
        for study in (entry for entry in found if entry["Type"] == "Study"):
            for instance in httpx.get(f"{url}/studies/{study['ID']}/instances", trust_env=False).json():
                header = httpx.get(f"{url}/instances/{instance['ID']}/simplified-tags", trust_env=False).json()
                if header.get("Manufacturer") == "Firstread":
                    headers.append(header)
        return headers

    def reports(self, study_instance_uid: str) -> list[TriageReport]:
        """The AI triage reports of a study, oldest revision first."""
        settings = Settings(orthanc_url=self.site.orthanc_url)
        datasets = build_pacs(settings).fetch_triage_reports(study_instance_uid)
        return sorted(map(parse, datasets), key=lambda report: report.revision)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """One site for all tests; each sends studies of its own."""
    site = Site(state=tmp_path_factory.mktemp("site"), port_base=free_port_base(), quiet_s=1, has_priors=False)
    with running_site(site) as supervisor:
        yield RunningSite(site, supervisor)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium())
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, running: RunningSite) -> Iterator[Callable[..., Page]]:
    """Opens /try; at the end of the test, any script error, and any refusal by the page's policy, fails it."""
    troubles: list[str] = []
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            troubles.append(message.text)

    def opened(width: int = 1400, *, scripts: bool = True, path: str = "try") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{running.site.gateway_url}/{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
