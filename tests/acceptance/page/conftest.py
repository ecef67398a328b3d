"""The page of the reading list in a real browser, on a real list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browsing import LASTING_NOTICES, wait_until_live
from tests.list_gateway import ListGateway, running_list
from tests.lists import EFFUSION, LATERAL, NOTHING, PNEUMOTHORAX, FilledList
from worklist.finding import FindingType
from worklist.order import OrderPriority
from worklist.records import Database

READER = "Dr. Nguyen"


@pytest.fixture
def listed(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[FilledList]:
    """An empty list."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}")) as database:
        yield FilledList(database)


@pytest.fixture
def gateway(listed: FilledList) -> Iterator[ListGateway]:
    """The list, served."""
    with running_list(listed) as gateway:
        yield gateway


@pytest.fixture
def morning(listed: FilledList) -> FilledList:
    """A small morning of twelve studies: every state, every flag, a STAT order, and names of many shapes."""
    portable: dict[str, Any] = {"study_description": "XR CHEST AP PORTABLE"}
    listed.add(1, "Okafor^Ngozi", minutes=18, findings=PNEUMOTHORAX, crops=2)
    listed.add(2, "Lindqvist^Per^Erik", minutes=64, findings=EFFUSION, crops=1, modality="CR")
    listed.add(3, "Yamada^Tarou=山田^太郎=やまだ^たろう", minutes=7, findings={FindingType.PNEUMOTHORAX: 0.86})
    listed.add(4, "Haddad^Layla", minutes=131, findings=NOTHING)
    listed.add(5, "Brennan^Sean^^^Jr", minutes=96, findings={FindingType.PNEUMONIA: 0.08}, modality="CR")
    listed.add(6, "Costa e Silva^Maria João", minutes=41, order_priority=OrderPriority.STAT, **portable)
    listed.add(7, "Nowak^Zofia", minutes=52, findings={FindingType.CONSOLIDATION: 0.58}, is_reported=False)
    listed.add(8, "Ramírez^Lucía", minutes=3)
    listed.add(9, "Fischer^Anneliese^^Dr.", minutes=203, findings=NOTHING, modality="CR")
    listed.add(10, "Mbeki^Thandiwe", minutes=88, refused=LATERAL, study_description="XR CHEST LATERAL")
    listed.add(11, "O'Neill^Aoife", minutes=27, failed=True, **portable)
    listed.add(12, "^^^", minutes=1, study_description="", modality="CR")
    return listed


@pytest.fixture
def open_page(browser: Browser, gateway: ListGateway) -> Iterator[Callable[..., Page]]:
    """Opens the page as a reader whose name is known; any script error, or refusal by the page's policy, fails it."""
    troubles: list[str] = []
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            troubles.append(message.text)

    def opened(  # noqa: PLR0913 - what sets one browser apart from another
        width: int = 1440,
        *,
        scripts: bool = True,
        still: bool = False,
        reader: str = READER,
        prelude: str = "",
        url: str = "",
        headers: dict[str, str] | None = None,
        routed: Callable[[Page], None] | None = None,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            color_scheme="dark",
            reduced_motion="reduce" if still else "no-preference",
            extra_http_headers=headers or {},
        )
        contexts.append(context)
        page = context.new_page()
        if reader:
            page.add_init_script(f"localStorage.setItem('firstread.reader', '{reader}')")
        page.add_init_script(LASTING_NOTICES)
        page.add_init_script(prelude)
        page.on("console", hear)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        if routed:
            routed(page)
        page.goto(url or gateway.url)
        if scripts:
            wait_until_live(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
