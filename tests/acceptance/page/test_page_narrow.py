"""The rows of the list at every width: 36 px where there is room, and nothing over anything where there is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browsing import row_of, wait_until
from tests.lists import EFFUSION, FilledList, multiply, uid_of
from worklist.study import Failure

OpenPage = Callable[..., Page]

HOSTILE = {
    60: "W" * 200,
    61: "Schwarzenberg-Hohenlohe^" + " ".join(["Maximiliana"] * 15),
    62: "Соколова-Белозёрская^Вера^" + "Александровна" * 12,
    63: "山田" * 60 + "=" + "山" * 60 + "=" + "やまだ" * 20,
    64: "عبد الرحمن^" + "محمد " * 40,
    65: "<h1>Big</h1><br><style>td{display:none}</style>^<b>" + "x" * 120,
    66: "\u202eDoe\u202d^\u2067Jane\u2066" + "\u200f" * 100,
    67: "Zalgo" + "\u0301\u0489" * 80,
}
SAID: dict[str, Any] = {
    "question": "?pneumothorax after central line, sudden dyspnoea " + "x" * 200,
    "ward": "Emergency department, resuscitation " + "W" * 64,
    "station": "DX-1",
    "view": "AP",
    "prior": {
        "study_instance_uid": "1.2.3",
        "study_date": "2025-03-12",
        "study_description": "XR CHEST PA",
        "modality": "CR",
    },
    "prior_count": 3,
}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OVERLAPS = """rows => rows.flatMap(row => {
    const cells = [...row.cells].map(cell => [cell.className, cell.getBoundingClientRect()])
        .filter(([, box]) => box.width && box.height);
    const edge = row.getBoundingClientRect();
    const out = cells.filter(([, box]) => box.left < edge.left - 1 || box.right > edge.right + 1
        || box.top < edge.top - 1 || box.bottom > edge.bottom + 1).map(([name]) => `${name} leaves its row`);
    const over = cells.flatMap(([one, a], place) => cells.slice(place + 1)
        .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
        .map(([other]) => `${one} over ${other}`));
    const spilt = [...row.cells].filter(cell => getComputedStyle(cell).overflow === 'visible'
        && cell.scrollWidth > cell.clientWidth + 1).map(cell => `${cell.className} is too wide`);
    return [...out, ...over, ...spilt].map(fault => `${row.dataset.uid}: ${fault}`);
})"""


@pytest.fixture
def hostile(morning: FilledList) -> FilledList:
    """A morning with names that would break a page that let them."""
    now = datetime.now(UTC)
    for number, name in HOSTILE.items():
        long: dict[str, Any] = {"patient_id": "8" * 64, "study_description": "X" * 64, "accession_number": "9" * 16}
        morning.add(number, name, findings=EFFUSION, acquired_at=now - timedelta(days=number - 60), **long)
    morning.add(68, "N" * 64, minutes=30 * 60, refused=Failure(code="x", message="y" * 200))
    morning.claim(68, "N" * 64)
    morning.claim(60, "Dr. Nguyen")
    morning.add(69, "Bare^Bones", patient_sex="", patient_age="", study_date="", study_description="", modality="")
    return morning


def said(page: Page) -> None:
    """Let every item but the last say all that an item can say."""

    def more(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for item in body["items"]:
            if item["study_instance_uid"] != uid_of(69):
                item.update(SAID)
        route.fulfill(response=answer, json=body)

    page.route("**/worklist?*", more)


@pytest.mark.parametrize("width", [320, 600, 1024, 1440, 1920])
@pytest.mark.usefixtures("hostile")
def test_hostile_names_change_no_layout(width: int, open_page: OpenPage) -> None:
    """No cell lies over another or leaves its row, and nothing scrolls sideways, with the panel open or closed."""
    page = open_page(width, routed=said)
    expect(page.locator("#rows tr")).to_have_count(22)
    assert page.eval_on_selector_all("#rows tr", OVERLAPS) == []
    assert page.evaluate(OVERFLOW) == 0
    row_of(page, 65).locator(".waiting").click()
    expect(page.locator("#details")).to_be_visible()
    assert page.eval_on_selector_all("#rows tr", OVERLAPS) == []
    assert page.evaluate(OVERFLOW) == 0
    inside = "panel => panel.scrollWidth <= panel.clientWidth && panel.getBoundingClientRect().right <= innerWidth"
    assert page.eval_on_selector("#details", inside)
    assert page.locator("#rows :is(h1, b, style), #details :is(h1, style)").filter(has_text="Big").count() == 0


@pytest.mark.usefixtures("hostile")
def test_every_row_has_36_pixels_where_there_is_room(open_page: OpenPage) -> None:
    """Whatever a row says, on a wide screen it is as high as all others, and what is cut is told in whole."""
    page = open_page(routed=said)
    heights = page.eval_on_selector_all("#rows tr", "rows => rows.map(row => row.getBoundingClientRect().height)")
    assert max(heights) <= 36
    assert min(heights) == max(heights)
    assert "W" * 200 in str(row_of(page, 60).locator(".patient").get_attribute("title"))
    assert SAID["question"] in str(row_of(page, 60).locator(".question").get_attribute("title"))
    assert "y" * 200 in str(row_of(page, 68).locator(".reason").get_attribute("title"))
    assert "N" * 64 in str(row_of(page, 68).locator("[data-field=reading]").get_attribute("title"))


def test_three_hundred_studies_fill_at_most_twelve_screens(listed: FilledList, open_page: OpenPage) -> None:
    """Of 1440 x 900 pixels, with all that stands above and below them."""
    multiply(listed, 296)
    page = open_page()

    def are_all_drawn() -> bool:
        page.mouse.wheel(0, 4000)
        return page.locator("#rows tr").count() == 300

    wait_until(page, are_all_drawn)
    assert page.evaluate("document.documentElement.scrollHeight") <= 12 * 900


def test_a_row_that_lacks_everything_says_nothing_wrong(morning: FilledList, open_page: OpenPage) -> None:
    """Without name, age, sex, date or description there is no word such as null, and the panel says what is missing."""
    morning.add(69, "", patient_id="", patient_sex="", patient_age="", study_date="", study_description="", modality="")
    page = open_page()
    row = row_of(page, 69)
    expect(row).to_contain_text("No name")
    for cell in ("person", "study", "acquired", "prior", "question", "reason"):
        expect(row.locator(f"td.{cell}")).to_have_text("")
    row.locator("td.waiting").click()
    panel = page.locator("#details")
    for field in ("patient_id", "view", "ward", "acquired"):
        value = panel.locator(f"dd:is([data-field={field}], :has([data-field={field}]))")
        assert value.evaluate("node => getComputedStyle(node, '::before').content") == '"not stated"'
    for word in ("null", "undefined", "NaN", "Invalid"):
        expect(page.locator("body")).not_to_contain_text(word)


def test_the_panel_leaves_the_reasons_in_sight(morning: FilledList, open_page: OpenPage) -> None:
    """At 1024 px the list stands beside the panel, and each reason can be seen."""
    page = open_page(1024)
    row_of(page, 1).locator(".waiting").click()
    panel = page.locator("#details").bounding_box()
    assert panel
    for uid in morning.uids()[:4]:
        reason = row_of(page, uid).locator(".reason").bounding_box()
        assert reason
        assert reason["x"] + reason["width"] <= panel["x"]


@pytest.mark.usefixtures("morning")
def test_when_a_study_was_acquired(open_page: OpenPage, listed: FilledList) -> None:
    """The time alone where that is today, with the day before, and with the year where it is another one."""
    now = datetime.now().astimezone()
    for number, moment in ((71, now), (72, now - timedelta(days=1)), (73, now - timedelta(days=800))):
        listed.add(number, acquired_at=moment)
    page = open_page()
    expect(row_of(page, 71).locator(".acquired")).to_have_text(f"{now:%H:%M}")
    expect(row_of(page, 72).locator(".acquired")).to_contain_text(f"{(now - timedelta(days=1)):%-d %b}")
    expect(row_of(page, 73).locator(".acquired")).to_contain_text(f"{(now - timedelta(days=800)).year}")
