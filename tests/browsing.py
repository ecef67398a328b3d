"""What tests ask of the reading list's page."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Locator, Page, expect

from tests.lists import FilledList, uid_of

_LIVE: Final = re.compile("live|short")  # the second where the gateway lacks something
_STEADY_MS: Final = 600  # a row takes no click so soon after it was drawn


def find_chromium() -> Path:
    """The browser of these tests, as Playwright starts it."""
    assert shutil.which("chromium"), "these tests need a browser: apt-get install chromium"
    return Path(__file__).with_name("chromium.sh")


def wait_until_live(page: Page) -> None:
    """Wait until the page follows the list, and its rows take clicks: those that the server draws take none."""
    expect(page.locator("#connection")).to_have_attribute("data-link", _LIVE, timeout=60_000)
    page.wait_for_timeout(_STEADY_MS)


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
