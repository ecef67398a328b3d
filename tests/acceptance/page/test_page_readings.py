"""Readings on the page: claims, what is read and put back, who reads, priors, and what waits too long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.acceptance.page.conftest import READER
from tests.browsing import (
    STOPPABLE,
    ask_once,
    changes_asked_by,
    expect_order,
    focused_uid,
    row_of,
    start_clocks,
    stop_clocks,
    wait_until,
    wait_until_steady,
)
from tests.list_gateway import ListGateway, running_list
from tests.lists import EFFUSION, NOTHING, FilledList, uid_of
from worklist.reading import ReadingState
from worklist.records import Database

OpenPage = Callable[..., Page]
LATER = """{
    const [now, get] = [Date.now, Headers.prototype.get];
    window.ahead = 0;
    Date.now = () => now() + window.ahead;
    Headers.prototype.get = function (name) {
        const value = get.call(this, name);
        return name === "Date" && value ? new Date(Date.parse(value) + window.ahead).toUTCString() : value;
    };
}"""
"""A script for a page in whose world, the server's clock included, a test lets time pass."""


def reading_of(listed: FilledList, number: int) -> tuple[ReadingState, str]:
    """Where a study stands in the database, and who reads it or read it."""
    study = listed.worklist.find(uid_of(number))
    assert study
    return study.reading.state, study.reading.reader


# ---- Claims ----


def test_two_pages_see_each_others_claim(morning: FilledList, open_page: OpenPage) -> None:
    """A claim by key shows at once on every page with its reader, and the other reader cannot take the study."""
    mine, other = open_page(), open_page(reader="Dr. Marchetti")
    mine.keyboard.press("j")
    mine.keyboard.press("j")
    assert focused_uid(mine) == uid_of(1)
    mine.keyboard.press("c")
    said = f"being read by {READER} since < 1 min"
    expect(row_of(mine, 1).locator("[data-field=reading]")).to_have_text(said)
    expect(row_of(other, 1).locator("[data-field=reading]")).to_have_text(said)
    expect(row_of(mine, 1).get_by_role("button", name="Put back")).to_be_visible()
    expect(row_of(other, 1).locator(".acts button:visible")).to_have_count(0)
    other.keyboard.press("j")
    other.keyboard.press("j")
    other.keyboard.press("r")
    expect(other.get_by_text(f"Not done: {READER} is reading Okafor, Ngozi since < 1 min.")).to_be_visible()
    assert reading_of(morning, 1) == (ReadingState.READING, READER)
    mine.keyboard.press("u")
    expect(row_of(other, 1).get_by_role("button", name="Claim")).to_be_visible()
    assert reading_of(morning, 1) == (ReadingState.UNREAD, "")


def test_a_film_that_comes_while_a_study_is_read_is_told(morning: FilledList, open_page: OpenPage) -> None:
    """Before a study leaves the list its reader learns of a film that came after they began; once, then it is read."""
    page = open_page()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(row_of(page, 1).get_by_role("button", name="Put back")).to_be_visible()
    morning.new_image(uid_of(1))
    page.keyboard.press("r")
    said = "Not done: a film of Okafor, Ngozi came < 1 min ago, after you began. Look at it, then press again."
    expect(page.get_by_text(said)).to_be_visible()
    assert reading_of(morning, 1) == (ReadingState.READING, READER)
    page.keyboard.press("r")
    expect(row_of(page, 1)).to_have_count(0)
    assert reading_of(morning, 1) == (ReadingState.READ, READER)


def test_a_claim_that_came_too_late_says_who_was_first(morning: FilledList, open_page: OpenPage) -> None:
    """Between another's claim and its event the gateway refuses, and the page names the reader who was first."""
    page = open_page()

    def overtake(route: Route) -> None:
        morning.claim(1, "Dr. Marchetti")
        route.continue_()

    page.route("**/state", overtake)
    row_of(page, 1).get_by_role("button", name="Claim").click()
    expect(page.get_by_text("Not done: Dr. Marchetti is reading Okafor, Ngozi since < 1 min.")).to_be_visible()
    expect(row_of(page, 1).locator("[data-field=reading]")).to_contain_text("Dr. Marchetti")


@pytest.mark.usefixtures("morning")
def test_a_claim_is_renewed_each_minute(open_page: OpenPage) -> None:
    """As long as its page is open, also after a reload, a claim is put again and again, for its own studies alone."""
    hurry = "const wait = setInterval; window.setInterval = (f, ms) => wait(f, ms === 60000 ? 300 : ms);"
    page = open_page(prelude=hurry)
    asked: list[str] = []

    def hear(route: Route) -> None:
        asked.append(f"{route.request.url.split('/')[-2]} {route.request.post_data}")
        route.continue_()

    page.route("**/state", hear)
    row_of(page, 2).get_by_role("button", name="Claim").click()
    wait_until(page, lambda: len(asked) >= 3)
    page.reload()
    expect(row_of(page, 2).get_by_role("button", name="Put back")).to_be_visible()
    asked.clear()
    wait_until(page, lambda: len(asked) >= 2)
    assert set(asked) == {f'{uid_of(2)} {{"state":"reading","by":"{READER}"}}'}


def test_a_claim_whose_page_went_away_lapses(
    migrated_sqlite: bytes, open_page: OpenPage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Once the lease has run out the study is unread again on every page."""
    file = tmp_path_factory.mktemp("lapse") / "firstread.db"
    file.write_bytes(migrated_sqlite)
    ahead = timedelta(0)
    with (
        closing(Database(f"sqlite:///{file}", lambda _: datetime.now(UTC) + ahead)) as database,
        running_list(FilledList(database)) as gateway,
    ):
        listed = gateway.listed
        listed.add(1, "Okafor^Ngozi", findings=NOTHING)
        watching, leaving = open_page(url=gateway.url, reader="Dr. Marchetti"), open_page(url=gateway.url)
        row_of(leaving, 1).get_by_role("button", name="Claim").click()
        expect(row_of(watching, 1).locator("[data-field=reading]")).to_contain_text(READER)
        leaving.close()
        assert listed.readings.lapse() == 0
        ahead = listed.rules.reading_lease
        assert listed.readings.lapse() == 1
        expect(row_of(watching, 1).locator("[data-field=reading]")).to_have_text("")
        expect(row_of(watching, 1).get_by_role("button", name="Claim")).to_be_visible()
        watching.close()


# ---- Read, and put back ----


def test_what_is_read_leaves_every_page_at_once(morning: FilledList, open_page: OpenPage) -> None:
    """The key r takes a study off the list everywhere, the keyboard goes on to the next, and counts follow."""
    mine, other = open_page(), open_page(reader="Dr. Marchetti")
    mine.keyboard.press("j")
    first, second = morning.uids()[:2]
    mine.keyboard.press("r")
    for page in (mine, other):
        expect(row_of(page, first)).to_have_count(0)
        expect(page).to_have_title("(11) Reading list · Firstread")
    assert focused_uid(mine) == second
    assert reading_of(morning, 6) == (ReadingState.READ, READER)
    expect(mine.get_by_role("status").filter(has_text="Costa e Silva, Maria João: read.")).to_be_visible()


def test_a_reading_can_be_undone_for_ten_seconds(morning: FilledList, open_page: OpenPage) -> None:
    """The key u, or the button, puts the study back where it was; later the offer is gone, and u does nothing."""
    page = open_page()
    before = morning.uids()
    row_of(page, 4).get_by_role("button", name="Read").click()
    expect(row_of(page, 4)).to_have_count(0)
    page.keyboard.press("u")
    expect(row_of(page, 4)).to_be_visible()
    assert morning.uids() == before
    wait_until_steady(page)
    row_of(page, 4).get_by_role("button", name="Read").click()
    page.get_by_role("button", name="Undo (u)").click()
    expect(row_of(page, 4)).to_be_visible()
    wait_until_steady(page)
    row_of(page, 4).get_by_role("button", name="Read").click()
    undo = page.get_by_role("button", name="Undo (u)")
    expect(undo).to_be_visible()
    assert page.evaluate("() => { lastNotice.end(); return lastNotice.ms; }") == 10_000
    expect(undo).to_be_hidden()
    asked = changes_asked_by(page)
    page.keyboard.press("u")
    ask_once(page)
    assert asked == []
    assert reading_of(morning, 4) == (ReadingState.READ, READER)


def test_a_key_meant_for_a_row_that_left_reads_no_other(morning: FilledList, open_page: OpenPage) -> None:
    """Where another reader takes the row from under the keyboard, the key that follows at once does nothing."""
    page = open_page(prelude=STOPPABLE)
    first, second = morning.uids()[:2]
    page.keyboard.press("j")
    assert focused_uid(page) == first
    stop_clocks(page)
    morning.read(6, "Dr. Marchetti")
    expect(row_of(page, first)).to_have_count(0)
    assert focused_uid(page) == second
    page.keyboard.press("r")
    expect(page.get_by_text("Costa e Silva, Maria João has just left the list. Press again for")).to_be_visible()
    start_clocks(page)
    page.wait_for_timeout(1600)
    assert second in morning.uids()
    page.keyboard.press("r")
    expect(row_of(page, second)).to_have_count(0)


def test_keys_act_only_on_a_study_that_was_gone_to(morning: FilledList, open_page: OpenPage) -> None:
    """With the focus nowhere, or in another control, r and c do nothing; a key that is held reads one study alone."""
    page = open_page()
    asked = changes_asked_by(page)
    page.keyboard.press("r")
    page.keyboard.press("c")
    page.get_by_role("combobox", name="AI flag").press("r")
    page.get_by_role("searchbox").press("n")
    page.get_by_role("searchbox").fill("")
    page.locator("h1").click()
    ask_once(page)
    assert asked == []
    row_of(page, 4).locator(".name").focus()
    for _ in range(4):
        page.keyboard.down("r")
    page.keyboard.up("r")
    expect(row_of(page, 4)).to_have_count(0)
    ask_once(page)
    assert len(asked) == 1
    assert len(morning.uids()) == 11


def test_a_read_study_comes_back_marked(morning: FilledList, open_page: OpenPage) -> None:
    """A new image brings it back to every page, with the reason and a mark of its own."""
    page = open_page()
    morning.read(4, "Dr. Marchetti")
    expect(row_of(page, 4)).to_have_count(0)
    morning.new_image(uid_of(4))
    expect(row_of(page, 4).locator(".back")).to_have_text("Back on the list")
    expect(row_of(page, 4).locator(".reason")).to_contain_text("Read before, back for a new image")


def test_nothing_is_done_where_the_gateway_does_not_answer(morning: FilledList, open_page: OpenPage) -> None:
    """The row stays as it is, and the page says that the reading was not taken down."""
    page = open_page()
    page.route("**/state", lambda route: route.abort())
    row_of(page, 4).get_by_role("button", name="Read").click()
    expect(page.get_by_text("Not done: the gateway did not answer about Haddad, Layla. Try again.")).to_be_visible()
    expect(row_of(page, 4)).to_be_visible()
    assert reading_of(morning, 4) == (ReadingState.UNREAD, "")


# ---- Who reads ----


def test_the_name_is_typed_once(morning: FilledList, open_page: OpenPage) -> None:
    """The first act asks for the name, which is kept, stated on the page, and may be changed."""
    page = open_page(reader="")
    row_of(page, 4).get_by_role("button", name="Claim").click()
    dialog = page.get_by_role("dialog", name="Who reads?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert reading_of(morning, 4) == (ReadingState.UNREAD, "")
    row_of(page, 4).get_by_role("button", name="Claim").click()
    dialog.get_by_label("Your name").fill(" Dr. Okoye ")
    page.keyboard.press("Enter")
    expect(row_of(page, 4).locator("[data-field=reading]")).to_contain_text("being read by Dr. Okoye")
    expect(page.locator("#reader")).to_contain_text("Reading as Dr. Okoye")
    page.reload()
    expect(page.locator("#reader")).to_contain_text("Reading as Dr. Okoye")
    page.get_by_role("button", name="Change").click()
    dialog.get_by_label("Your name").fill("Dr. Else")
    dialog.get_by_role("button", name="This is me").click()
    expect(page.locator("#reader")).to_contain_text("Reading as Dr. Else")
    expect(row_of(page, 4).locator(".acts button:visible")).to_have_count(0)


def test_the_name_comes_from_a_trusted_proxy(morning: FilledList, open_page: OpenPage) -> None:
    """Behind a proxy that signs readers in, the page states its name and uses it, whatever was typed before."""
    with running_list(morning, trusted_proxies=("127.0.0.1",)) as gateway:
        page = open_page(url=gateway.url, reader="Somebody Else", headers={"X-Remote-User": "k.adeyemi"})
        expect(page.locator("#reader")).to_have_text("Signed in as k.adeyemi")
        row_of(page, 4).get_by_role("button", name="Claim").click()
        expect(row_of(page, 4).locator("[data-field=reading]")).to_contain_text("being read by k.adeyemi")
        expect(row_of(page, 4).get_by_role("button", name="Put back")).to_be_visible()
        page.close()
    assert reading_of(morning, 4) == (ReadingState.READING, "k.adeyemi")


def test_a_header_from_anybody_else_names_nobody(gateway: ListGateway, morning: FilledList) -> None:
    """Without a trusted proxy the header is passed over, on the page and in the interface."""
    headers = {"X-Remote-User": "impostor"}
    url = f"{gateway.url}worklist/{uid_of(4)}/state"
    with httpx.Client(headers=headers, trust_env=False) as client:
        assert "impostor" not in client.get(gateway.url).text
        assert client.put(url, json={"state": "reading"}).json()["code"] == "no_name"
        assert client.put(url, json={"state": "reading", "by": "Dr. N"}).status_code == 200
    assert reading_of(morning, 4) == (ReadingState.READING, "Dr. N")


# ---- The strips ----


def test_priors_stand_folded_and_one_key_makes_them_work(morning: FilledList, open_page: OpenPage) -> None:
    """They are counted below the list, by arrival and unraised; a button or the key u puts one on the list."""
    morning.add(31, "Prior^Urgent", minutes=5, days_old=400, findings=EFFUSION)
    morning.add(32, "Prior^Older", minutes=9, days_old=900, findings=NOTHING)
    page, other = open_page(), open_page(reader="Dr. Marchetti")
    strip = page.locator("#priors")
    expect(strip.locator("summary")).to_contain_text("2 priors acquired long ago and not raised")
    expect(page).to_have_title("(12) Reading list · Firstread")
    expect(page.locator("#prior-rows tr")).to_have_count(0)
    strip.locator("summary").click()
    rows = page.locator("#prior-rows tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Prior, Older")
    rows.nth(1).get_by_role("button").press("u")
    for each in (page, other):
        expect(row_of(each, 31)).to_contain_text("Pleural effusion likely, right")
        expect(each.locator("#priors summary")).to_contain_text("1 prior ")
    assert reading_of(morning, 31)[0] is ReadingState.UNREAD
    expect(rows).to_have_count(1)
    rows.first.get_by_role("button", name="Make it work: Prior, Older").click()
    expect(row_of(page, 32)).to_be_visible()
    expect(strip).to_be_hidden()
    expect_order(page, morning)


def test_a_prior_that_arrives_is_counted_at_once(morning: FilledList, open_page: OpenPage) -> None:
    """It appears in the strip, and nowhere among the work."""
    page = open_page()
    expect(page.locator("#priors")).to_be_hidden()
    morning.add(31, "Prior^Late", days_old=400)
    expect(page.locator("#priors summary")).to_contain_text("1 prior ")
    expect(row_of(page, 31)).to_have_count(0)
    expect(page).to_have_title("(12) Reading list · Firstread")


def test_what_waits_beyond_the_target_stands_at_the_top(morning: FilledList, open_page: OpenPage) -> None:
    """The strip counts those studies, names the longest waiting first, goes to them, and shows them alone."""
    page = open_page()
    strip = page.get_by_role("region", name="Studies that wait too long")
    expect(strip).to_be_hidden()
    morning.add(41, "Weber^Karl", minutes=26 * 60, findings=NOTHING)
    expect(strip).to_contain_text("1 study waits longer than 24 h")
    morning.add(42, "Sato^Yui", minutes=31 * 60, findings=NOTHING)
    expect(strip).to_contain_text("2 studies wait longer than 24 h")
    expect(strip.get_by_role("listitem")).to_have_text(["Sato, Yui, 31 h 00 min", "Weber, Karl, 26 h 00 min"])
    assert morning.worklist.counts().overdue == 2
    assert {study.study_instance_uid for study in morning.worklist.page()[1] if study.is_overdue} == {
        uid_of(41),
        uid_of(42),
    }
    strip.get_by_role("button", name="Weber, Karl").click()
    assert focused_uid(page) == uid_of(41)
    strip.get_by_role("button", name="Show only these").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page.locator("#rows tr[data-overdue]")).to_have_count(2)
    strip.get_by_role("button", name="Show only these").click()
    expect(page.locator("#rows tr")).to_have_count(14)
    expect(page.locator("#rows tr[data-overdue]")).to_have_count(2)


def test_a_study_becomes_overdue_while_the_page_is_open(morning: FilledList, open_page: OpenPage) -> None:
    """No event tells of it: the page's own clock, set by the server's, moves it into the strip."""
    page = open_page(prelude=LATER)
    morning.add(41, "Weber^Karl", minutes=24 * 60 - 30)
    expect(row_of(page, 41)).to_be_visible()
    expect(page.locator("#overdue")).to_be_hidden()
    page.evaluate("window.ahead = 30 * 60_000")
    expect(page.locator("#overdue")).to_contain_text("1 study waits")


# ---- Read by me today ----


def test_what_i_read_today_is_listed_and_put_back(morning: FilledList, open_page: OpenPage) -> None:
    """The last first, nobody else's and nothing of yesterday; one key puts a study back on the list."""
    morning.read(4, "Dr. Marchetti")
    morning.read(9, READER)
    morning.change(uid_of(9), quietly=True, reading_since=datetime.now(UTC) - timedelta(days=2))
    page = open_page()
    strip = page.locator("#read-today")
    strip.locator("summary").click()
    expect(strip).to_contain_text("None yet.")
    for number in (2, 1):
        row_of(page, number).locator(".name").focus()
        page.keyboard.press("r")
        expect(row_of(page, number)).to_have_count(0)
        page.wait_for_timeout(1_600)  # a key so soon after a row has left would be taken for a slip
    rows = strip.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("Okafor, Ngozi")
    expect(rows.nth(1)).to_contain_text("Lindqvist")
    rows.nth(1).get_by_role("button", name="Put back").focus()
    page.keyboard.press("u")
    expect(rows).to_have_count(1)
    expect(row_of(page, 2)).to_be_visible()
    assert reading_of(morning, 2) == (ReadingState.UNREAD, "")
    rows.get_by_role("button", name="Put back").click()
    expect(strip).to_contain_text("None yet.")
    assert reading_of(morning, 4) == (ReadingState.READ, "Dr. Marchetti")
