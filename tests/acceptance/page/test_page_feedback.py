"""Agree and disagree with findings, in the panel of the page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.acceptance.page.conftest import READER
from tests.browsing import ask_once, row_of, wait_until_live
from tests.lists import FilledList, uid_of

OpenPage = Callable[..., Page]


def verdict(page: Page, label: str) -> Locator:
    """A button of the panel."""
    return page.locator("#details").get_by_role("button", name=label, exact=True)


def said(listed: FilledList) -> dict[str, str]:
    """What was said of the first study's findings."""
    return {one.name: one.verdict for one in listed.readings.feedback(uid_of(1)) if one.by == READER}


def test_one_key_says_it_of_each_finding_in_turn(morning: FilledList, open_page: OpenPage) -> None:
    """With the panel open; a button says it of its own finding, and a change of mind counts."""
    page = open_page()
    row_of(page, 1).locator(".name").focus()
    page.keyboard.press("a")
    ask_once(page)
    assert said(morning) == {}, "nothing is judged whose findings are not seen"
    page.keyboard.press("Enter")
    expect(verdict(page, "Agree with Pneumothorax")).to_be_visible()
    page.keyboard.press("a")
    expect(page.get_by_text("You agree: Pneumothorax.")).to_be_visible()
    expect(verdict(page, "Agree with Pneumothorax")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("d")
    expect(page.get_by_text("You disagree: Pleural effusion.")).to_be_visible()
    assert said(morning) == {"Pneumothorax": "agree", "Pleural effusion": "disagree"}
    page.keyboard.press("a")
    expect(page.get_by_text("You have said of each finding")).to_be_visible()
    verdict(page, "Agree with Pleural effusion").focus()
    page.keyboard.press("Enter")
    expect(verdict(page, "Agree with Pleural effusion")).to_have_attribute("aria-pressed", "true")
    expect(verdict(page, "Disagree with Pleural effusion")).to_have_attribute("aria-pressed", "false")
    expect(verdict(page, "Agree with Pleural effusion")).to_be_focused()
    assert said(morning)["Pleural effusion"] == "agree"
    page.reload()
    wait_until_live(page)
    row_of(page, 1).locator(".name").click()
    expect(verdict(page, "Agree with Pneumothorax")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#connection")).to_have_text("Live")
