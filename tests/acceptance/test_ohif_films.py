"""OHIF 3.13 on the gateway, in a real browser: films as hospitals have them, and what is served where."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, expect
from pydicom import Dataset

from firstread.demo import Site
from gateway.list.viewer import OPEN_STUDY
from imaging.simulated.phantom import simulate_film
from imaging.simulated.samples import build_samples
from tests.charsets import DECLARED, Writing
from tests.gateways import running_gateway
from tests.issuers import CLIENT_SECRET, running_provider
from tests.servers import OrthancServer, free_ports
from tests.viewers import COLUMNS, OHIF, ROWS, SLOWLY_MS, Viewer, film_browser, film_of, stored_pixels
from worklist.errors import InvalidInput


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """A browser that can draw films."""
    with film_browser() as films:
        yield films


@pytest.fixture(scope="module")
def gateway(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Root of a gateway with the viewer, before the tests' Orthanc."""
    orthanc_server.start()
    with running_gateway(tmp_path_factory.mktemp("gateway"), orthanc_server.url, viewer_dir=OHIF) as url:
        yield url


@pytest.fixture
def viewer(context: BrowserContext, gateway: str, orthanc: OrthancServer) -> Iterator[Viewer]:
    """A page for the viewer, Orthanc empty at first; what goes wrong on the page fails the test."""
    del orthanc
    viewer = Viewer(context.new_page(), gateway)
    yield viewer
    assert viewer.troubles == []
    viewer.page.close()


def film(seed: int = 7) -> Dataset:
    """A frontal film of 8 bits, as a new study."""
    return film_of(simulate_film(seed, finding=None, rows=ROWS, columns=COLUMNS), "PA")


# ---- Films ----


def test_nothing_lies_over_the_film_and_the_way_back_is_the_reading_list(
    viewer: Viewer, orthanc: OrthancServer
) -> None:
    """No banner; who it is stands at the head, and beside OHIF's own way back is the one to the page."""
    shown, page = film(), viewer.page
    orthanc.post(shown)
    viewer.open(shown)
    viewer.expect_picture(stored_pixels(shown))
    expect(page.get_by_text("Haddad").first).to_be_visible()
    expect(page.get_by_text("investigational")).to_have_count(0)
    expect(page.get_by_text("AI: not a diagnosis")).to_be_visible()
    expect(page.get_by_text("No Description")).to_have_count(0)
    assert viewer.troubles == []
    back = page.get_by_test_id("return-to-work-list").get_by_role("link")
    assert back.all_inner_texts() == ["\u2190 Reading list"]
    back.click()
    expect(page).to_have_url(f"{viewer.gateway}/", timeout=SLOWLY_MS)
    expect(page.locator(f"tr[data-uid='{shown.StudyInstanceUID}']")).to_be_visible(timeout=SLOWLY_MS)
    viewer.troubles.clear()  # of the reading list, which has no broker here


def test_films_are_shown_to_whoever_is_logged_in(
    context: BrowserContext, orthanc: OrthancServer, tmp_path: Path
) -> None:
    """OHIF's own questions bear the session's cookie; after the log-out they are answered no more."""
    shown, (port,) = film(), free_ports(1)
    orthanc.post(shown)
    root = f"http://127.0.0.1:{port}"
    with running_provider() as provider:
        choices: dict[str, Any] = {
            "http_port": port,
            "public_url": root,
            "auth": "on",
            "oidc_issuer": provider.url,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_roles_claim": "realm_access.roles",
        }
        with running_gateway(tmp_path, orthanc.url, viewer_dir=OHIF, **choices):
            page = context.new_page()
            page.goto(f"{root}/login/start?next=/failures")
            viewer = Viewer(page, root)
            viewer.open(shown)
            viewer.expect_picture(stored_pixels(shown))
            assert viewer.troubles == []
            metadata = f"/dicom-web/studies/{shown.StudyInstanceUID}/metadata"
            status = "path => fetch(path).then(answer => answer.status)"
            assert page.evaluate(status, metadata) == 200
            page.evaluate("() => fetch('/logout', {method: 'POST'})")
            assert page.evaluate(status, metadata) == 401
            page.close()


def test_two_studies_hang_side_by_side(viewer: Viewer, orthanc: OrthancServer) -> None:
    """The film of the study that is named first hangs left, that of the second right."""
    today, prior = film(7), film(9)
    prior.StudyDate = "20250301"
    for image in (today, prior):
        orthanc.post(image)
    for films in ((today, prior), (prior, today)):
        viewer.open(*films)
        for place, image in enumerate(films):
            viewer.expect_picture(stored_pixels(image), place)
        assert viewer.page.get_by_test_id("viewport-pane").count() == 2
    viewer.open(prior)
    viewer.expect_picture(stored_pixels(prior))
    assert viewer.page.get_by_test_id("viewport-pane").count() == 1


@pytest.mark.parametrize(
    ("keyword", "spacing"), [("PixelSpacing", [0, 0]), ("ImagerPixelSpacing", [0, 0]), ("PixelSpacing", None)]
)
def test_a_film_without_a_usable_spacing_is_shown(
    viewer: Viewer, orthanc: OrthancServer, keyword: str, spacing: list[int] | None
) -> None:
    """A spacing of zero, or of nothing, by which OHIF would scale the film away, keeps no film black."""
    shown = film()
    setattr(shown, keyword, spacing)
    orthanc.post(shown)
    viewer.open(shown)
    viewer.expect_picture(stored_pixels(shown))


def test_the_real_film_of_the_demo_is_shown(viewer: Viewer, orthanc: OrthancServer) -> None:
    """The real film, sent as it was made, with a Pixel Spacing of zero, is drawn as its header says."""
    shown = next(iter(build_samples()))
    assert list(shown.PixelSpacing) == [0, 0]
    assert shown.PhotometricInterpretation == "MONOCHROME1"
    orthanc.post(shown)
    low = shown.WindowCenter - shown.WindowWidth / 2
    greys = 255 - np.clip((shown.pixel_array - low) / shown.WindowWidth * 255, 0, 255).astype(np.uint8)
    viewer.page.goto(f"{viewer.gateway}/{OPEN_STUDY}{shown.StudyInstanceUID}", timeout=SLOWLY_MS)
    viewer.expect_picture(greys)


@pytest.mark.parametrize("writing", DECLARED[:3], ids=lambda writing: writing.character_set)
def test_names_in_any_script_stand_at_the_head(viewer: Viewer, orthanc: OrthancServer, writing: Writing) -> None:
    """The viewer shows name and description in the script in which the film has them."""
    shown = writing.on(film())
    orthanc.post(shown)
    viewer.page.goto(f"{viewer.gateway}/{OPEN_STUDY}{shown.StudyInstanceUID}", timeout=SLOWLY_MS)
    family = re.split(r"[\^=]", writing.name)[0]
    expect(viewer.page.get_by_text(family).first).to_be_visible(timeout=SLOWLY_MS)
    expect(viewer.page.get_by_text(writing.description).first).to_be_visible(timeout=SLOWLY_MS)


# ---- Serving it ----


def test_only_files_are_served_and_only_to_this_page(viewer: Viewer) -> None:
    """Addresses of the viewer give its page, missing files and paths outside give 404, and it may call nobody else."""
    request = viewer.page.request
    for path in ("/viewer/viewer?StudyInstanceUIDs=1.2", "/viewer/segmentation"):
        answer = request.get(viewer.gateway + path)
        assert "<title>OHIF Viewer</title>" in answer.text()
        assert "connect-src 'self' data: blob:;" in answer.headers["content-security-policy"]
    assert "disableConfirmationPrompts: true" in request.get(f"{viewer.gateway}/viewer/app-config.js").text()
    for path in ("missing.js", "..%2f..%2fpyvenv.cfg", "%2e%2e/%2e%2e/pyvenv.cfg"):
        assert request.get(f"{viewer.gateway}/viewer/{path}").status == 404


@pytest.mark.parametrize("path", ["/viewer", "/viewer/", "/viewer/?sortBy=place"])
def test_the_viewer_without_a_study_is_its_list(viewer: Viewer, path: str) -> None:
    """Where no study is named, the address of the viewer is OHIF's own list."""
    assert "<title>OHIF Viewer</title>" in viewer.page.request.get(viewer.gateway + path).text()


def test_a_gateway_without_a_viewer_says_so(tmp_path: Path) -> None:
    """The reading list shows no link to a viewer that is not there, and the viewer's addresses say what to do."""
    with running_gateway(tmp_path, "http://127.0.0.1:1") as url, httpx.Client(base_url=url, trust_env=False) as client:
        page = client.get("/")
        assert page.is_success
        assert "viewer/viewer" not in page.text
        for path in ("/viewer", "/viewer/", f"/{OPEN_STUDY}1.2", "/viewer/app-config.js"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
            assert answer.json()["title"] == "no viewer"
            assert "FIRSTREAD_VIEWER_DIR" in answer.json()["detail"]
        assert client.get("/viewers").json().get("title") != "no viewer"


def test_demo_has_the_viewer(tmp_path: Path) -> None:
    """The demo's gateway serves the viewer that make setup fetched."""
    assert Site(state=tmp_path).environment["FIRSTREAD_VIEWER_DIR"] == str(OHIF)


@pytest.mark.parametrize(
    ("npm", "status", "reason"),
    [
        ("exit 1", 2, "could not be fetched"),
        ('echo "something else" > "$4/ohif-app-${5#@ohif/app@}.tgz"', 1, "not the package it was when it was pinned"),
    ],
)
def test_only_the_pinned_viewer_is_installed(npm: str, status: int, reason: str, tmp_path: Path) -> None:
    """An absent registry and a changed package are told apart, leave nothing behind, and a viewer in place is kept."""
    (tmp_path / "npm").write_text(f"#!/bin/sh\n{npm}\n", encoding="utf-8")
    (tmp_path / "npm").chmod(0o755)
    script = ["sh", str(Path(__file__).parents[2] / "viewer.sh")]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    target = tmp_path / "ohif"
    refused = subprocess.run([*script, target], env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (status, "")
    assert reason in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["npm"]
    target.mkdir()
    (target / "installed").write_text((OHIF / "installed").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([*script, target], env=environment, check=True)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """A folder without OHIF, or with OHIF for another address, stops the gateway with the reason and the remedy."""
    (tmp_path / "index.html").write_text('<script src="/app-config.js"></script>', encoding="utf-8")
    with (
        pytest.raises(InvalidInput, match="run make setup"),
        running_gateway(tmp_path, "http://127.0.0.1:1", viewer_dir=tmp_path),
    ):
        pass
