"""What tests ask of the reading list's page."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import Locator, Page, expect

from tests.lists import FilledList, uid_of

_LIVE: Final = re.compile("live|short")  # the second where the gateway lacks something
_PATIENCE_S: Final = 60.0
_MICROPHONE_HZ: Final = 48_000  # at the most
_STEADY: Final = """rows => rows.every(row => !row.getAnimations().length
    && performance.now() - (row.movedAt ?? -Infinity) > 600)"""

STOPPABLE: Final = """for (const clock of [Date, performance]) {
    const now = clock.now.bind(clock);
    clock.now = () => clock.stopped ?? now();
}"""
"""A script for a page whose clocks stop when a test says so: what it does for some seconds it does until they go on."""

LASTING_NOTICES: Final = """{
    const wait = window.setTimeout;
    window.setTimeout = (task, ms, ...more) => {
        if (task.name !== "endNotice") return wait(task, ms, ...more);
        window.lastNotice = {end: task, ms};
        return 0;
    };
}"""
"""A script for a page whose notices stay until a test ends them, and can be undone until then."""

HEARD: Final = """{
    const Node = window.AudioWorkletNode;
    window.heardSamples = 0;
    window.AudioWorkletNode = class extends Node {
        constructor(...how) {
            super(...how);
            window.heardSamples = 0;
            this.port.addEventListener("message", ({data}) => { window.heardSamples += data.length; });
        }
    };
}"""
"""A script for a page that tells how much its microphone has heard, see wait_until_heard."""


def wait_until_heard(page: Page, duration_s: float) -> None:
    """Wait until the microphone, which is on, has heard so much; how fast it opens depends on the machine."""
    wait_until(page, lambda: bool(page.evaluate("window.heardSamples") >= duration_s * _MICROPHONE_HZ))


def find_chromium() -> Path:
    """The browser of these tests, as Playwright starts it."""
    assert shutil.which("chromium"), "these tests need a browser: apt-get install chromium"
    return Path(__file__).with_name("chromium.sh")


def wait_until_live(page: Page) -> None:
    """Wait until the page follows the list, and its rows take clicks: those that the server draws take none."""
    expect(page.locator("#connection")).to_have_attribute("data-link", _LIVE, timeout=60_000)
    wait_until_steady(page)


def wait_until_steady(page: Page) -> None:
    """Wait until all rows take clicks: those that have just moved take none."""
    wait_until(page, lambda: bool(page.eval_on_selector_all("#rows tr", _STEADY)))


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait for something, while the page goes on: it may not evaluate strings, so it cannot do the waiting itself."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        page.wait_for_timeout(50)


def stop_clocks(page: Page) -> None:
    """Let the clocks of a page that are STOPPABLE stand."""
    page.evaluate("() => { for (const clock of [Date, performance]) clock.stopped = clock.now(); }")


def start_clocks(page: Page) -> None:
    """Let them go on."""
    page.evaluate("() => { for (const clock of [Date, performance]) delete clock.stopped; }")


def changes_asked_by(page: Page) -> list[str]:
    """What the page asks the gateway, from now on, to do with readings."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/state") else None)
    return asked


def ask_once(page: Page) -> None:
    """Have the page ask something of the gateway and be answered: by then all is known that it asked for before."""
    page.evaluate("() => fetch('ready').then(answer => answer.status)")


def listed_uids(page: Page) -> list[str]:
    """The studies on the page, from top to bottom."""
    uids: list[str] = page.eval_on_selector_all("#rows tr", "rows => rows.map(row => row.dataset.uid)")
    return uids


def expect_order(page: Page, listed: FilledList) -> None:
    """Wait until the page lists what is to be read, in the order that the database gives."""
    wanted = listed.uids()
    deadline = time.monotonic() + _PATIENCE_S
    while listed_uids(page) != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(50)
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
