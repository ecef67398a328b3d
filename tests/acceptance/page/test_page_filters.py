"""What of the list is shown: searched by name or number, filtered, and kept in the page's address."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.acceptance.page.conftest import READER
from tests.browsing import ask_once, changes_asked_by, focused_uid, listed_uids, row_of
from tests.list_gateway import ListGateway
from tests.lists import FilledList, multiply, uid_of

OpenPage = Callable[..., Page]
NAMES = {
    21: "Соколова^Вера",
    22: "Nguyễn^Thị Hoa",
    23: "Łukasiewicz^Żaneta",
    24: "Yamada^Tarou=山田^太郎=やまだ^たろう",
    25: "\u202eeslaF\u202c^Ab\u200fdul=عبد^الله",
    26: "<b>Bold</b>^*.[a-z]+\\",
}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("соколова", 21),
        ("ВЕРА сок", 21),
        ("nguyen hoa", 22),
        ("Nguyễn, Thị", 22),
        ("lukasiewicz zaneta", 23),
        ("ŻANETA", 23),
        ("山田", 24),
        ("たろう", 24),
        ("abdul", 25),
        ("<b>bold</b>", 26),
        ("*.[a-z]+\\", 26),
        ("mrn-48987", 21),
        ("A260022", 22),
        ("  48987   вера  ", 21),
    ],
)
def test_a_study_is_found_by_name_or_number(words: str, found: int, listed: FilledList, open_page: OpenPage) -> None:
    """In any script, in part, in any order, without accents or case; and by patient ID and accession number."""
    for number, name in NAMES.items():
        listed.add(number, name)
    page = open_page()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Name, patient ID or accession number")).to_be_focused()
    page.keyboard.insert_text(words)
    expect(page.locator("#rows tr")).to_have_count(1)
    assert listed_uids(page) == [uid_of(found)]
    expect(page.locator("#shown")).to_have_text("1 of 6 shown")
    expect(page.locator("#news")).to_have_text("1 of 6 shown")


def test_each_filter_shows_its_studies_at_their_ranks(morning: FilledList, open_page: OpenPage) -> None:
    """Flag, order, waiting time and state of the AI, each alone and together; a button shows all again."""
    morning.add(41, "Weber^Karl", minutes=26 * 60)
    page = open_page()
    uids = morning.uids()
    rows = page.locator("#rows tr")

    def shows(label: str, choice: str, *studies: int) -> None:
        page.get_by_label(label, exact=True).select_option(choice)
        expect(rows).to_have_count(len(studies))
        assert set(listed_uids(page)) == {uid_of(study) for study in studies}
        assert [int(rank) for rank in rows.locator("[data-field=rank]").all_inner_texts()] == [
            uids.index(uid) + 1 for uid in listed_uids(page)
        ]
        expect(page.locator("#shown")).to_have_text(f"{len(studies)} of 13 shown")

    shows("AI flag", "urgent", 2, 7)
    shows("State of the AI", "scored", 7)
    page.get_by_role("button", name="Clear filters").click()
    expect(rows).to_have_count(13)
    expect(page.locator("#shown")).to_be_hidden()
    expect(page.get_by_role("searchbox")).to_be_focused()
    shows("Order", "STAT", 6)
    shows("Waiting", "1h", *())
    page.get_by_label("Order", exact=True).select_option("")
    shows("Waiting", "1h", 2, 4, 5, 9, 10, 41)
    shows("Waiting", "target", 41)
    expect(page.get_by_role("button", name="Show only these")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Waiting", exact=True).select_option("")
    shows("State of the AI", "failed", 11)
    expect(page.get_by_label("State of the AI").locator("option:checked")).to_have_text("AI failed (1)")


def test_mine_is_what_is_being_read_by_me(morning: FilledList, open_page: OpenPage) -> None:
    """The button follows claims as they come and go, and leaves out those of others."""
    morning.claim(2, "Dr. Marchetti")
    morning.claim(4, READER)
    page = open_page()
    page.get_by_role("button", name="Mine").click()
    expect(page.locator("#rows tr")).to_have_count(1)
    assert listed_uids(page) == [uid_of(4)]
    morning.claim(5, READER)
    expect(page.locator("#rows tr")).to_have_count(2)
    morning.put_back(4, READER)
    expect(row_of(page, 4)).to_have_count(0)


def test_the_address_keeps_what_is_shown(morning: FilledList, gateway: ListGateway, open_page: OpenPage) -> None:
    """Search and filters stand in the address without a step back in the history, and hold over a reload."""
    page = open_page()
    steps = page.evaluate("history.length")
    page.get_by_role("searchbox").fill("o")
    page.get_by_label("AI flag", exact=True).select_option("critical")
    page.get_by_label("Waiting", exact=True).select_option("1h")
    page.get_by_role("button", name="Mine").click()
    expect(page).to_have_url(f"{gateway.url}?q=o&flag=critical&wait=1h&mine=1")
    assert page.evaluate("history.length") == steps
    page.get_by_role("button", name="Mine").click()
    page.get_by_label("Waiting", exact=True).select_option("")
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page).to_have_url(f"{gateway.url}?q=o&flag=critical")
    page.reload()
    expect(page.locator("#shown")).to_have_text("2 of 12 shown")
    shared = open_page(url=page.url)
    expect(shared.locator("#rows tr")).to_have_count(2)
    expect(shared.get_by_role("searchbox")).to_have_value("o")
    shared.get_by_role("button", name="Clear filters").click()
    expect(shared.locator("#rows tr")).to_have_count(12)
    expect(shared).to_have_url(gateway.url)
    assert morning.uids()[:12] == listed_uids(shared)


@pytest.mark.usefixtures("morning")
def test_an_address_that_asks_for_nonsense_shows_all(gateway: ListGateway, open_page: OpenPage) -> None:
    """Unknown values are passed over, and a ward without a study stands there to be cleared."""
    page = open_page(url=f"{gateway.url}?flag=purple&order=%3Cb%3E&wait=-1&ai=&mine=yes&other=1")
    expect(page.locator("#rows tr")).to_have_count(12)
    expect(page.locator("#shown")).to_be_hidden()
    page = open_page(url=f"{gateway.url}?ward=%3Cb%3EWard%3C%2Fb%3E")
    expect(page.locator("#none-shown")).to_contain_text("No study to be read is like this.")
    expect(page.get_by_label("Ward", exact=True)).to_have_value("<b>Ward</b>")
    page.locator("#none-shown").get_by_role("button", name="Clear filters").click()
    expect(page.locator("#rows tr")).to_have_count(12)


@pytest.mark.usefixtures("morning")
def test_wards_are_offered_as_they_come(open_page: OpenPage) -> None:
    """The wards of what is to be read are offered, and one shows its studies alone."""

    def warded(route: Route) -> None:
        answer = route.fetch()
        page = answer.json()
        for item in page["items"]:
            item["ward"] = {uid_of(1): "Ward 3", uid_of(2): "ICU", uid_of(3): "ICU"}.get(item["study_instance_uid"], "")
        route.fulfill(response=answer, json=page)

    page = open_page(routed=lambda page: page.route("**/worklist?*", warded))
    ward = page.get_by_label("Ward", exact=True)
    assert ward.locator("option").all_inner_texts() == ["Any ward", "ICU", "Ward 3"]
    ward.select_option("ICU")
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(row_of(page, 2).locator(".study")).to_contain_text("ICU")


def test_the_search_leads_into_what_it_found(morning: FilledList, open_page: OpenPage) -> None:
    """Enter goes to the first study found, Escape clears the words and then goes back to the list."""
    page = open_page()
    page.keyboard.press("j")
    page.keyboard.press("/")
    page.keyboard.type("o'neill")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.keyboard.press("Enter")
    assert focused_uid(page) == uid_of(11)
    page.keyboard.press("r")
    expect(page.locator("#none-shown")).to_be_visible()
    page.keyboard.press("u")
    expect(row_of(page, 11)).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.locator("#rows tr")).to_have_count(12)
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    assert focused_uid(page) in morning.uids()


def test_letters_in_the_search_are_only_letters(morning: FilledList, open_page: OpenPage) -> None:
    """What is typed there claims and reads nothing, and opens no film."""
    page = open_page()
    asked = changes_asked_by(page)
    page.keyboard.press("j")
    page.keyboard.press("/")
    page.keyboard.type("crnuojk")
    expect(page.get_by_role("searchbox")).to_have_value("crnuojk")
    ask_once(page)
    assert asked == []
    assert len(morning.uids()) == 12
    assert len(page.context.pages) == 1


def test_a_long_list_is_searched_through(listed: FilledList, open_page: OpenPage) -> None:
    """Among two thousand studies one is found whose row was not drawn, and stands at its rank."""
    multiply(listed, 2000)
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("copy 1789")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#shown")).to_have_text("1 of 2004 shown")
    rank = listed.uids().index(listed_uids(page)[0]) + 1
    expect(page.locator("#rows [data-field=rank]")).to_have_text(re.compile(f"^{rank}$"))
