"""What tests ask of the reading list's page."""

from __future__ import annotations

import time

from playwright.sync_api import Locator, Page, expect

from tests.lists import FilledList, uid_of


def listed_uids(page: Page) -> list[str]:
    """The studies on the page, from top to bottom."""
    uids: list[str] = page.eval_on_selector_all("#rows tr", "rows => rows.map(row => row.dataset.uid)")
    return uids


def expect_order(page: Page, listed: FilledList) -> None:
    """Wait until the page lists what is to be read, in the order that the database gives."""
    wanted = listed.uids()
    deadline = time.monotonic() + 30
    while listed_uids(page) != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(50)  # the page may not evaluate strings, so it cannot do the waiting itself
    assert listed_uids(page) == wanted


def row_of(page: Page, study: int | str) -> Locator:
    """The row of a study on the list, by its number or its UID."""
    uid = uid_of(study) if isinstance(study, int) else study
    return page.locator("#rows tr").and_(page.locator(f'[data-uid="{uid}"]'))


def focused_uid(page: Page) -> str:
    """The study that the keyboard is on."""
    return str(page.evaluate("document.activeElement.closest('tr')?.dataset.uid"))


def expect_focus(page: Page, uid: str) -> None:
    """Wait until the keyboard is on a study."""
    expect(row_of(page, uid).locator(".name")).to_be_focused()
