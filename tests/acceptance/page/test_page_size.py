"""The page with one study, and with five thousand."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browsing import focused_uid, listed_uids, row_of, wait_until
from tests.list_gateway import ListGateway
from tests.lists import FilledList, multiply, uid_of

OpenPage = Callable[..., Page]


def test_one_study_can_be_read(listed: FilledList, open_page: OpenPage) -> None:
    """The keyboard goes to the only row, reads it, and is not lost on the empty list."""
    listed.add(1, "Okafor^Ngozi")
    page = open_page()
    page.keyboard.press("j")
    page.keyboard.press("End")
    assert focused_uid(page) == uid_of(1)
    page.keyboard.press("r")
    expect(page.locator("#empty")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.keyboard.press("u")
    expect(row_of(page, 1)).to_be_visible()


def test_five_thousand_studies_are_all_reached(listed: FilledList, gateway: ListGateway, open_page: OpenPage) -> None:
    """All are counted and few are drawn: the last is one key away, and each row bears its true rank."""
    multiply(listed, 5000)
    page = open_page()
    uids = listed.uids()
    assert len(uids) == 5004
    expect(page).to_have_title("(5004) Reading list · Firstread")
    assert page.locator("#rows tr").count() <= 400
    page.keyboard.press("j")
    page.keyboard.press("End")
    assert focused_uid(page) == uids[-1]
    expect(row_of(page, uids[-1]).locator(".rank")).to_have_text("5004")
    for _ in range(205):
        page.keyboard.press("k")
    assert focused_uid(page) == uids[-206]
    expect(row_of(page, uids[-206]).locator(".rank")).to_have_text("4799")
    page.keyboard.press("Home")
    assert focused_uid(page) == uids[0]
    assert listed_uids(page)[:40] == uids[:40]
    assert page.locator("#rows tr").count() <= 400
    assert gateway.listed is listed


def test_a_long_list_grows_as_it_is_scrolled(listed: FilledList, open_page: OpenPage) -> None:
    """Rows come as the reader gets there, at most four hundred stay drawn, and what is looked at does not jump."""
    multiply(listed, 1500)
    page = open_page()
    drawn = page.locator("#rows [data-field=rank]")

    def ends(by_px: int) -> tuple[int, int]:
        page.mouse.wheel(0, by_px)
        ranks = drawn.evaluate_all("cells => cells.map(cell => Number(cell.textContent))")
        assert len(ranks) <= 400
        return ranks[0], ranks[-1]

    wait_until(page, lambda: ends(4000)[1] == 1504)
    wait_until(page, lambda: ends(-4000)[0] == 1)


def test_changes_far_down_the_list_are_heard(listed: FilledList, open_page: OpenPage) -> None:
    """What happens to a study whose row is not drawn counts all the same, and shows once it is."""
    multiply(listed, 1000)
    page = open_page()
    uids = listed.uids()
    listed.read(uids[980], "Dr. Marchetti")
    expect(page).to_have_title("(1003) Reading list · Firstread")
    listed.claim(uids[981], "Dr. Marchetti")
    page.keyboard.press("j")
    page.keyboard.press("End")
    expect(row_of(page, uids[981]).locator("[data-field=reading]")).to_contain_text("Dr. Marchetti")
    expect(row_of(page, uids[981]).locator("[data-field=rank]")).to_have_text("981")
