"""The page of what failed, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.axe import axe_findings
from tests.list_gateway import ListGateway
from tests.lists import FilledList, uid_of

OpenPage = Callable[..., Page]
Scheme = Literal["light", "dark"]


@pytest.fixture
def open_failures(browser: Browser, gateway: ListGateway) -> Iterator[Callable[..., Page]]:
    """Opens the page; any script error, or refusal by the page's policy, fails it."""
    troubles: list[str] = []
    contexts = []

    def opened(width: int = 1280, *, reader: str = "Dr. Nguyen", scripts: bool = True) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(f"localStorage.setItem('firstread.reader', '{reader}')")
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.goto(f"{gateway.url}failures")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def fail(listed: FilledList, *numbers: int) -> None:
    """Let studies fail."""
    for number in numbers:
        listed.add(number, "Doe^Jane", failed=True)


def test_the_list_leads_to_what_failed(listed: FilledList, open_page: OpenPage) -> None:
    """Where anything has, and as soon as anything does."""
    listed.add(1)
    page = open_page()
    expect(page.get_by_role("link", name="What failed")).to_be_hidden()
    fail(listed, 2)
    page.get_by_role("link", name="What failed").click()
    expect(page.locator("#rows tr")).to_have_count(1)


def test_one_study_is_tried_again_by_keyboard(listed: FilledList, open_failures: OpenPage) -> None:
    """Its row goes, the keyboard goes on with the next one, and the history names who asked."""
    fail(listed, 1, 2)
    page = open_failures()
    expect(page.locator("#rows tr")).to_have_count(2)
    page.locator(f'#rows tr[data-uid="{uid_of(1)}"] button').focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("1 job is tried again; what fails once more comes back here.")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator(f'#rows tr[data-uid="{uid_of(2)}"] button')).to_be_focused()
    (event,) = (event for event in listed.readings.history(uid_of(1)) if event.kind == "retried")
    assert event.actor == "Dr. Nguyen"


def test_everything_is_tried_again_at_once(listed: FilledList, open_failures: OpenPage) -> None:
    """And the page says that nothing has failed, until something does."""
    fail(listed, 1, 2, 3)
    page = open_failures()
    page.get_by_role("button", name="Try all again").click()
    expect(page.get_by_text("Nothing has failed.")).to_be_visible()
    expect(page.get_by_role("button", name="Try all again")).to_be_hidden()
    fail(listed, 4)
    expect(page.locator("#rows tr")).to_have_count(1, timeout=30_000)


def test_nobody_asks_without_a_name(listed: FilledList, open_failures: OpenPage) -> None:
    """The page asks for it, and nothing is tried before."""
    fail(listed, 1)
    page = open_failures(reader="")
    page.get_by_role("button", name="Try all again").click()
    expect(page.get_by_role("status")).to_contain_text("Type your name first")
    expect(page.get_by_label("Your name")).to_be_focused()
    assert listed.jobs.count_failed() == 1
    page.keyboard.type("Dr. Roe")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tr")).to_have_count(0)


def test_the_rows_stand_without_scripts(listed: FilledList, open_failures: OpenPage) -> None:
    """The server draws them, and says how to try again."""
    fail(listed, 1)
    page = open_failures(scripts=False)
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.get_by_text("firstread retry")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_keeps_people_out_of_what_failed(
    scheme: Scheme, width: int, listed: FilledList, open_failures: OpenPage
) -> None:
    """axe-core finds nothing, and nothing is cut off at the side."""
    fail(listed, 1, 2)
    page = open_failures(width, reader="")
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("button", name="Try all again").click()
    assert axe_findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
