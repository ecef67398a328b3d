"""axe-core finds nothing on the reading list, with and without its panel, and on the page of a film, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.axe import axe_findings
from tests.browsing import row_of
from tests.list_gateway import ListGateway
from tests.lists import PNEUMOTHORAX, FilledList

OpenPage = Callable[..., Page]
Scheme = Literal["light", "dark"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out_of_the_list(scheme: Scheme, morning: FilledList, open_page: OpenPage) -> None:
    """The list with every kind of row, filtered, with the panel, a notice and the reader's name being asked for."""
    morning.add(31, "Prior^Old", days_old=400, findings=PNEUMOTHORAX)
    morning.add(41, "Weber^Karl", minutes=26 * 60, acquired_at=datetime.now(UTC))
    morning.claim(4, "Dr. Marchetti")
    page = open_page()
    page.emulate_media(color_scheme=scheme)
    page.locator("#priors summary").click()
    expect(page.locator("#prior-rows tr")).to_have_count(1)
    assert axe_findings(page) == []
    page.keyboard.press("Escape")
    row_of(page, 1).locator(".reason").click()
    page.keyboard.press("c")
    expect(row_of(page, 1)).to_have_class("mine selected")
    expect(page.locator("#crops img").first).to_have_js_property("naturalWidth", 240)
    assert axe_findings(page) == []
    row_of(page, 11).locator(".reason").click()
    expect(page.locator("#failure")).to_be_visible()
    page.get_by_role("searchbox").fill("neill")
    expect(page.locator("#rows tr")).to_have_count(1)
    assert axe_findings(page) == []
    page.get_by_role("searchbox").fill("nobody is called so")
    expect(page.locator("#none-shown")).to_be_visible()
    page.get_by_role("button", name="Change").click()
    assert axe_findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1024])
def test_nothing_keeps_people_out_of_a_narrow_list(
    scheme: Scheme, width: int, morning: FilledList, open_page: OpenPage
) -> None:
    """Where rows are no table rows to the eye, and where the panel covers them."""
    morning.add(41, "Weber^Karl", minutes=26 * 60)
    page = open_page(width)
    page.emulate_media(color_scheme=scheme)
    assert axe_findings(page) == []
    row_of(page, 1).locator(".reason").click()
    expect(page.locator("#details")).to_be_visible()
    assert axe_findings(page) == []


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out_of_an_empty_list(scheme: Scheme, open_page: OpenPage) -> None:
    """What to do first, and what the words mean."""
    page = open_page()
    page.emulate_media(color_scheme=scheme)
    page.get_by_text("What the words mean").click()
    assert axe_findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out_of_the_page_of_a_film(
    scheme: Scheme, gateway: ListGateway, open_page: OpenPage
) -> None:
    """The page on which a film is chosen."""
    page = open_page()
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{gateway.url}try")
    expect(page.locator("#blank")).to_be_visible()
    assert axe_findings(page) == []
