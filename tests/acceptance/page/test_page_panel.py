"""The panel's film with its boxes, and the patient's priors."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browsing import ask_once, row_of
from tests.lists import FilledList, uid_of

OpenPage = Callable[..., Page]

BOXES: list[dict[str, Any]] = [
    {"image": 1, "x": 100, "y": 400, "w": 300, "h": 500},
    {"image": 2, "x": 900, "y": 1000, "w": 400, "h": 200},
]
PRIORS = [
    {
        "study_instance_uid": f"1.2.3.{number}",
        "study_date": f"202{number}-03-12",
        "study_description": "XR CHEST PA <b>",
        "modality": "CR",
        "acquired_at": None,
        "received_at": "2025-03-12T10:00:00.000Z",
        "urgency": None,
        "reading": {"state": "read", "by": "Dr. M", "since": None, "returned_for": None},
    }
    for number in (5, 4)
]


def with_pictures(page: Page) -> None:
    """Two images, a box on each, and two priors for every study; the second image cannot be loaded."""

    def items(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for item in body["items"]:
            item["images"] = [{"rows": 1200, "columns": 1000}, {"rows": 1500, "columns": 2000}]
            for finding, box in zip(item["findings"], BOXES, strict=False):
                finding["box"] = box
        route.fulfill(response=answer, json=body)

    def film(route: Route) -> None:
        if "/images/2" in route.request.url:
            route.fulfill(status=404)
            return
        stream = io.BytesIO()
        Image.new("L", (500, 600), 90).save(stream, "PNG")
        route.fulfill(body=stream.getvalue(), content_type="image/png")

    page.route("**/worklist?*", items)
    page.route("**/images/*.png", film)
    page.route("**/priors", lambda route: route.fulfill(json={"items": PRIORS}))


@pytest.mark.usefixtures("morning")
def test_boxes_lie_on_the_film_and_bear_their_findings_numbers(open_page: OpenPage) -> None:
    """Each is drawn to the pixel on its own image, numbered as its finding; a tick takes all away."""
    page = open_page(routed=with_pictures)
    row_of(page, 1).locator(".reason").click()
    panel = page.locator("#details")
    expect(panel.locator("#film")).to_have_js_property("naturalWidth", 500)
    frame, box = panel.locator("#film").bounding_box(), panel.locator(".box").bounding_box()
    assert frame
    assert box
    scale = frame["width"] / 1000
    assert frame["height"] / frame["width"] == pytest.approx(1.2, abs=0.01)
    found = (box["x"] - frame["x"], box["y"] - frame["y"], box["width"], box["height"])
    assert found == pytest.approx([BOXES[0][side] * scale for side in ("x", "y", "w", "h")], abs=1)
    expect(panel.locator(".box")).to_have_text("1")
    expect(panel.locator(".findings .number")).to_have_text(["1", "2"])
    panel.get_by_label("Boxes").uncheck()
    expect(panel.locator(".box")).to_be_hidden()
    row_of(page, 2).locator(".reason").click()
    expect(panel.locator("#film")).to_have_attribute("src", f"worklist/{uid_of(2)}/images/1.png")
    expect(panel.locator(".box")).to_be_hidden()
    panel.get_by_label("Boxes").check()
    expect(panel.locator(".box")).to_be_visible()


@pytest.mark.usefixtures("morning")
def test_each_image_of_a_study_can_be_chosen(open_page: OpenPage) -> None:
    """A button for each; where one cannot be loaded the panel says so, and shows the other again."""
    page = open_page(routed=with_pictures)
    row_of(page, 1).locator(".reason").click()
    panel = page.locator("#details")
    panel.get_by_role("button", name="Image 2").click()
    expect(panel.get_by_text("The film could not be loaded here")).to_be_visible()
    expect(panel.locator("#frame")).to_be_hidden()
    expect(panel.get_by_role("button", name="Image 2")).to_be_focused()
    panel.get_by_role("button", name="Image 1").click()
    expect(panel.locator("#frame")).to_be_visible()
    expect(panel.get_by_text("The film could not be loaded here")).to_be_hidden()


@pytest.mark.usefixtures("morning")
def test_priors_open_beside_the_study(open_page: OpenPage) -> None:
    """Each prior is named by its date, and its link shows both studies in the viewer's window."""
    page = open_page(routed=with_pictures)
    row_of(page, 1).locator(".reason").click()
    priors = page.locator("#patient-prior-list li")
    expect(priors).to_have_count(2)
    expect(priors.first).to_contain_text("2025-03-12 XR CHEST PA <b> CR")
    link = page.get_by_role("link", name="Prior of 2025-03-12 beside this study, in the viewer")
    with page.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_url(f"**/viewer/viewer?StudyInstanceUIDs={uid_of(1)},1.2.3.5")
    assert opened.value.evaluate("window.name") == "firstread-viewer"


def test_a_study_without_priors_says_so(morning: FilledList, open_page: OpenPage) -> None:
    """None known, and not told, are two things."""

    def none(page: Page) -> None:
        page.route("**/priors", lambda route: route.fulfill(json={"items": []}))

    page = open_page(routed=none)
    row_of(page, 1).locator(".reason").click()
    expect(page.locator("#patient-priors")).to_contain_text("None is known here.")
    page.unroute("**/priors")
    page.route("**/priors", lambda route: route.abort())
    row_of(page, 2).locator(".reason").click()
    expect(page.locator("#patient-priors")).to_contain_text("Could not be asked for.")
    assert len(morning.uids()) == 12


@pytest.mark.usefixtures("morning")
def test_pictures_wait_until_the_keyboard_rests(open_page: OpenPage) -> None:
    """Going down the list with the panel open asks for the film of the study at which it stops, and no other."""
    page = open_page(routed=with_pictures)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/images/1.png") else None)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#film")).to_have_js_property("naturalWidth", 500)
    asked.clear()
    with page.expect_request("**/images/1.png"):
        page.evaluate("""() => { for (let n = 0; n < 6; n += 1) {
            document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', bubbles: true}));
        } }""")
    ask_once(page)
    assert len(asked) == 1
