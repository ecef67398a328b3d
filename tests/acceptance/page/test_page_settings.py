"""The page of the settings, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.axe import axe_findings
from tests.list_gateway import ListGateway
from tests.lists import FilledList

OpenPage = Callable[..., Page]
Scheme = Literal["light", "dark"]


@pytest.fixture
def open_settings(browser: Browser, gateway: ListGateway) -> Iterator[Callable[..., Page]]:
    """Opens the page; any script error, or refusal by the page's policy, fails it."""
    troubles: list[str] = []
    contexts = []

    def hear(text: str) -> None:
        if not text.startswith("Failed to load resource"):
            troubles.append(text)

    def opened(width: int = 1280, *, reader: str = "Dr. Nguyen", scripts: bool = True) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(f"localStorage.setItem('firstread.reader', '{reader}')")
        page.on("pageerror", lambda error: hear(str(error)))
        page.on("console", lambda message: hear(message.text) if message.type == "error" else None)
        page.goto(f"{gateway.url}settings")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def test_a_change_is_seen_before_it_is_made(morning: FilledList, open_settings: OpenPage) -> None:
    """By keyboard: the preview says what would move, the change asks for a reason, and the history tells of it."""
    before = morning.uids()
    page = open_settings()
    expect(page.get_by_role("button", name="Change now")).to_be_disabled()
    page.get_by_label("Longest head start H, hours").fill("0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 setting differs. Nothing is changed yet.")
    expect(page.locator("#told")).to_contain_text("of 12 on the list would stand elsewhere")
    then = page.locator("#then tbody tr")
    expect(then.first).to_contain_text("Costa e Silva, Maria João")
    expect(then.nth(1)).to_contain_text("Fischer")
    assert morning.uids() == before
    page.get_by_role("button", name="Change now").click()
    expect(page.get_by_role("status")).to_contain_text("Say who you are and why")
    expect(page.get_by_role("textbox", name="Why")).to_be_focused()
    page.keyboard.type("arrival for the audit")
    page.get_by_role("button", name="Change now").click()
    expect(page.get_by_role("status")).to_contain_text("Choice 1 holds")
    expect(page.locator("#history tbody tr").first).to_contain_text("Dr. Nguyen")
    expect(page.locator("#history tbody tr").first).to_contain_text("Longest head start H, hours: 16 → 0")
    assert morning.uids() != before
    page.get_by_role("button", name="Fill in the values of choice 0").click()
    expect(page.get_by_label("Longest head start H, hours")).to_have_value("16")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Change now")).to_be_enabled()
    page.get_by_role("textbox", name="Why").fill("the audit is over")
    page.get_by_role("button", name="Change now").click()
    expect(page.get_by_role("status")).to_contain_text("Choice 2 holds")
    assert morning.uids() == before


def test_the_list_moves_where_it_is_open(morning: FilledList, open_page: OpenPage, open_settings: OpenPage) -> None:
    """A page that shows the list while somebody changes the settings elsewhere has the new order without a reload."""
    shown = open_page()
    page = open_settings()
    page.get_by_label("Weight of Pneumothorax").fill("0")
    page.get_by_label("Pneumothorax is critical from").fill("0.95")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("status")).to_contain_text("2 settings differ")
    page.get_by_role("textbox", name="Why").fill("a try")
    page.get_by_role("button", name="Change now").click()
    expect(page.get_by_role("status")).to_contain_text("Choice 1 holds")
    rows = shown.locator("#rows tr")
    expect(rows.nth(1)).to_contain_text("Lindqvist", timeout=30_000)
    assert [row["urgency"] for row in shown.evaluate("fetch('worklist').then(r => r.json())")["items"]].count(
        "critical"
    ) == 0
    assert morning.uids()


def test_what_is_wrong_is_said_and_nothing_is_changed(listed: FilledList, open_settings: OpenPage) -> None:
    """A field that is no number at once, everything else by the gateway's one line."""
    page = open_settings()
    page.get_by_label("Steepness k").fill("")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("status")).to_have_text("Steepness k must be a number.")
    expect(page.get_by_label("Steepness k")).to_be_focused()
    page.get_by_label("Steepness k").fill("1.5")
    page.get_by_label("Pneumothorax is critical from").fill("0.2")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("status")).to_contain_text("Not done: critical_from: 0.2 for Pneumothorax is below")
    expect(page.get_by_role("button", name="Change now")).to_be_disabled()
    assert listed.jobs.choices() == listed.rules.start


def test_the_settings_stand_without_scripts(listed: FilledList, open_settings: OpenPage) -> None:
    """The server draws values and history, and says how to change them."""
    assert listed.jobs.policies()
    page = open_settings(scripts=False)
    expect(page.get_by_label("Longest head start H, hours")).to_have_value("16")
    expect(page.locator("#history tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name="Preview")).to_be_hidden()
    expect(page.get_by_text("firstread settings")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1280)])
def test_nothing_keeps_people_out_of_the_settings(
    scheme: Scheme, width: int, morning: FilledList, open_settings: OpenPage
) -> None:
    """axe-core finds nothing, and nothing is cut off at the side."""
    page = open_settings(width)
    page.emulate_media(color_scheme=scheme)
    page.get_by_label("Longest head start H, hours").fill("5")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#outcome")).to_be_visible()
    assert axe_findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert morning.uids()
