"""From the list to the film and on to the next one: one window for the viewer, and a key for each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.page.conftest import READER
from tests.browsing import expect_focus, focused_uid, row_of
from tests.list_gateway import SITE, ListGateway, running_list
from tests.lists import FilledList, uid_of
from worklist.reading import ReadingState
from worklist.records import Shown

OpenPage = Callable[..., Page]


def viewer_of(page: Page) -> Page:
    """The one other window of the browser."""
    (viewer,) = [other for other in page.context.pages if other is not page]
    return viewer


def film_url(gateway: ListGateway, *studies: str) -> str:
    """Where the viewer shows these studies."""
    return f"{gateway.url}viewer/viewer?StudyInstanceUIDs={','.join(studies)}"


def test_one_action_leads_from_row_to_film(morning: FilledList, gateway: ListGateway, open_page: OpenPage) -> None:
    """The key o, a double click and the panel's link all open the film, in one window that is used again."""
    page = open_page()
    uids = morning.uids()
    page.keyboard.press("j")
    with page.context.expect_page() as opened:
        page.keyboard.press("o")
    opened.value.wait_for_url(film_url(gateway, uids[0]))
    assert opened.value.evaluate("window.name") == "firstread-viewer"
    page.bring_to_front()
    row_of(page, 4).locator(".reason").dblclick()
    viewer_of(page).wait_for_url(film_url(gateway, uid_of(4)))
    expect(page.locator("#details-name")).to_contain_text("Haddad, Layla")
    page.bring_to_front()
    row_of(page, 2).locator(".reason").click()
    link = page.locator("#details").get_by_role("link", name="Open in the viewer")
    expect(link).to_be_in_viewport(ratio=1)
    expect(link).to_have_attribute("target", "firstread-viewer")
    expect(link).to_have_attribute("href", film_url(gateway, uid_of(2)))
    link.click()
    viewer_of(page).wait_for_url(film_url(gateway, uid_of(2)))
    assert len(morning.uids()) == 12, "to look at a film is not to have read it"


def test_one_key_leads_to_the_next_unread_film(morning: FilledList, gateway: ListGateway, open_page: OpenPage) -> None:
    """The key n says that this one is read, passes over what another reads, and shows the next in the open window."""
    page = open_page()
    first, second, third, fourth = morning.uids()[:4]
    morning.claim(second, "Dr. Marchetti")
    expect(row_of(page, second).locator("[data-field=reading]")).to_contain_text("Dr. Marchetti")
    page.keyboard.press("j")
    page.keyboard.press("n")
    expect(row_of(page, first)).to_have_count(0)
    expect_focus(page, third)
    assert len(page.context.pages) == 1, "no window opens by itself"
    with page.context.expect_page():
        page.keyboard.press("o")
    viewer_of(page).wait_for_url(film_url(gateway, third))
    page.bring_to_front()
    page.keyboard.press("n")
    viewer_of(page).wait_for_url(film_url(gateway, fourth))
    expect(row_of(page, third)).to_have_count(0)
    expect_focus(page, fourth)
    read = morning.worklist.page(shown=Shown.READ)[1]
    assert {(study.study_instance_uid, study.reading.reader) for study in read} == {(first, READER), (third, READER)}
    page.keyboard.press("u")
    expect(row_of(page, third)).to_be_visible()
    expect_focus(page, third)
    found = morning.worklist.find(third)
    assert found
    assert found.reading.state is ReadingState.UNREAD


LATE_ANSWERS = """
const ask = window.fetch;
const late = new Promise((done) => { window.letAnswer = done; });
window.fetch = async (...asked) => {
  const answer = await ask(...asked);
  if (asked[1]?.method === "PUT") await late;
  return answer;
};
"""


def test_the_panel_follows_however_late_the_answer_is(morning: FilledList, open_page: OpenPage) -> None:
    """The event that a study was read may overtake the answer to who read it: n still opens the next one's panel."""
    page = open_page(prelude=LATE_ANSWERS)
    first, second = morning.uids()[:2]
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    shown = page.locator("#details [data-field=study_instance_uid]")
    expect(shown).to_have_text(first)
    page.keyboard.press("n")
    expect(row_of(page, first)).to_have_count(0)
    page.evaluate("window.letAnswer()")
    expect(shown).to_have_text(second)
    expect(page.locator("#details")).to_be_visible()
    expect_focus(page, second)


def test_the_next_one_may_be_above(morning: FilledList, open_page: OpenPage) -> None:
    """From the last row n goes to the first that is unread; where none is left the list is at its end."""
    page = open_page()
    page.keyboard.press("j")
    page.keyboard.press("End")
    last = focused_uid(page)
    first = morning.uids()[0]
    page.keyboard.press("n")
    expect(row_of(page, last)).to_have_count(0)
    expect_focus(page, first)


@pytest.mark.usefixtures("morning")
def test_n_stays_where_the_gateway_refuses(open_page: OpenPage) -> None:
    """Where the reading was not taken down, the study stays, and so does the keyboard."""
    page = open_page()
    page.route("**/state", lambda route: route.abort())
    page.keyboard.press("j")
    here = focused_uid(page)
    page.keyboard.press("n")
    expect(page.get_by_text("Not done: the gateway did not answer")).to_be_visible()
    assert focused_uid(page) == here


def test_without_a_viewer_there_is_no_link(morning: FilledList, open_page: OpenPage) -> None:
    """Where none is installed the panel offers none, and the key o says so."""
    with running_list(morning, site=replace(SITE, viewer=None)) as gateway:
        page = open_page(url=gateway.url)
        page.keyboard.press("j")
        page.keyboard.press("o")
        expect(page.get_by_text("No viewer is installed here.")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.locator("#details")).to_be_visible()
        expect(page.get_by_role("link", name="Open in the viewer")).to_have_count(0)
        assert len(page.context.pages) == 1
        page.close()


def test_the_hospitals_own_viewer_opens_where_one_is_named(
    morning: FilledList, gateway: ListGateway, open_page: OpenPage
) -> None:
    """The key o and the panel's link lead there, with the study in its address; OHIF stays at hand beside it."""
    own = f"{gateway.url}ready?study={{study_instance_uid}}&hang=1"
    with running_list(morning, site=replace(SITE, own_viewer=own)) as site:
        page = open_page(url=site.url)
        first = morning.uids()[0]
        page.keyboard.press("j")
        with page.context.expect_page() as opened:
            page.keyboard.press("o")
        opened.value.wait_for_url(f"{gateway.url}ready?study={first}&hang=1")
        page.bring_to_front()
        page.keyboard.press("Enter")
        ohif = page.locator("#details").get_by_role("link", name="OHIF")
        expect(ohif).to_have_attribute("href", film_url(site, first))
        page.close()
    program = "weasis:?study={study_instance_uid}"
    with running_list(morning, site=replace(SITE, own_viewer=program, viewer=None)) as site:
        page = open_page(url=site.url)
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        link = page.locator("#details").get_by_role("link", name="Open in the viewer")
        expect(link).to_have_attribute("href", f"weasis:?study={first}")
        page.close()


def test_a_browser_that_refuses_windows_is_told_of(morning: FilledList, open_page: OpenPage) -> None:
    """Where the window may not open, the page says what to do."""
    page = open_page(prelude="window.open = () => null;")
    page.keyboard.press("j")
    page.keyboard.press("o")
    expect(page.get_by_text("allow pop-ups for this page")).to_be_visible()
    assert len(morning.uids()) == 12


def test_the_keyboard_alone_reads_the_list_to_its_end(morning: FilledList, open_page: OpenPage) -> None:
    """Open, claim, and n until nothing is to be read: each key takes one study off, in reading order."""
    page = open_page()
    order = morning.uids()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#details-name")).to_be_focused()
    page.keyboard.press("c")
    expect(row_of(page, order[0]).locator("[data-field=reading]")).to_contain_text(READER)
    for place, uid in enumerate(order):
        expect(page.locator("#details [data-field=study_instance_uid]")).to_have_text(uid)
        page.keyboard.press("n")
        expect(row_of(page, uid)).to_have_count(0)
        if place < len(order) - 1:
            expect_focus(page, order[place + 1])
    expect(page.get_by_role("heading", name="Nothing to be read")).to_be_visible()
    expect(page.locator("#details")).to_be_hidden()
    expect(page).to_have_title("Reading list · Firstread")
    read = morning.worklist.page(shown=Shown.READ)[1]
    assert {study.reading.reader for study in read} == {READER}
    assert len(read) == 12
    page.keyboard.press("u")
    expect(row_of(page, order[-1])).to_be_visible()
