"""The list on the page: what a row says, its order, and how it moves."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import (
    STOPPABLE,
    ask_once,
    changes_asked_by,
    expect_order,
    focused_uid,
    listed_uids,
    row_of,
    start_clocks,
    stop_clocks,
    wait_until,
)
from tests.lists import PNEUMOTHORAX, FilledList, uid_of
from worklist.finding import FindingType
from worklist.order import OrderPriority

OpenPage = Callable[..., Page]
HEAR_SLIDES = """() => {
    window.slid = false;
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...all) {
        window.slid ||= this.tagName === 'TR';
        return animate.apply(this, all);
    };
}"""


def test_rows_stand_in_reading_order_with_every_column(morning: FilledList, open_page: OpenPage) -> None:
    """STAT is first, then the earliest queue_at, and a row states rank, flag, patient, study, state and reason."""
    page = open_page()
    expect_order(page, morning)
    first, second = page.locator("#rows tr").nth(0), page.locator("#rows tr").nth(1)
    expect(first).to_contain_text("Costa e Silva, Maria João")
    expect(first.locator(".order")).to_have_text("STAT")
    expect(first.locator("[data-field=flag]")).to_have_text("Not assessed")
    expect(first.locator(".reason")).to_have_text("STAT order. Up 6 places (7th by arrival)")
    expect(second.locator(".rank")).to_have_text("2")
    expect(second.locator("[data-field=flag]")).to_have_text("Critical finding suspected")
    expect(second.locator("[data-field=flag] svg use")).to_have_attribute("href", "#icon-critical")
    expect(second.locator(".patient")).to_contain_text("Okafor, Ngozi")
    expect(second.locator(".patient")).to_contain_text("MRN-48247")
    expect(second.locator(".study")).to_contain_text("XR CHEST PA")
    expect(second.locator(".study")).to_have_attribute("title", re.compile("DX.*A260001"))
    expect(second.locator(".person")).to_have_text("F 71 y")
    expect(second.locator(".state")).to_have_text("AI report ready")
    expect(second.locator(".reason")).to_have_text("Pneumothorax likely, right. Up 7 places (9th by arrival)")
    expect(second.locator(".waiting")).to_have_text("18 min")


def test_no_word_reads_like_a_negative(morning: FilledList, open_page: OpenPage) -> None:
    """What is not flagged is called just that, without a symbol, and an unnamed finding is not put into words."""
    morning.score(uid_of(8), {FindingType.PULMONARY_EDEMA: 0.9})
    page = open_page()
    plain = row_of(page, 4)
    expect(plain.locator("[data-field=flag]")).to_have_text("No AI flag")
    expect(plain.locator("[data-field=flag] svg")).to_be_hidden()
    expect(plain.locator(".reason")).to_have_text("")
    unnamed = row_of(page, 8)
    expect(unnamed.locator("[data-field=flag]")).to_have_text("Urgent finding suspected")
    expect(unnamed.locator(".reason")).to_contain_text("Urgent finding suspected, none certain enough to name")
    expect(unnamed.locator(".reason")).not_to_contain_text("edema")
    assert not re.search(r"routine|normal|(?<!not a )negative", page.locator("body").inner_text(), re.IGNORECASE)


def test_the_head_says_what_the_model_looks_for(open_page: OpenPage) -> None:
    """It names what is looked for, what is not found reliably and never flagged, and what is not looked for."""
    scope = open_page().get_by_role("region", name="What the AI looks for")
    expect(scope).to_contain_text("looks for: Pneumothorax, Pleural effusion, Consolidation, Cardiomegaly, Pulmonary")
    expect(scope).to_contain_text("Does not find reliably, and never flags: Pneumonia.")
    expect(scope).to_contain_text("Does not look for: masses, nodules, free air, fractures, lines and tubes.")
    expect(scope.get_by_text("It flags nothing as critical.")).to_be_hidden()


def test_the_page_without_scripts_reads_as_the_page_with_them(morning: FilledList, open_page: OpenPage) -> None:
    """The server and the script write the same words for the same items, whatever shape a name has."""
    names = [
        "A^B^C^D^E",
        "=山田^太郎=",
        "==やまだ^たろう",
        "A^B=A, B",
        " Doe ^ Jane ",
        "^Jane",
        "",
        "a^b^c^d^e^f=g=h=i",
    ]
    for number, name in enumerate(names):
        morning.add(100 + number, name, minutes=4000 - 500 * number)
    morning.claim(2, "Dr. Marchetti")
    morning.read(9, "Dr. Marchetti")
    morning.new_image(uid_of(9))
    for number, (sex, age) in enumerate([("M", "008M"), ("O", "003W"), ("", "010D"), ("F", ""), ("x", "7Y"), ("", "")]):
        morning.add(120 + number, minutes=300 + number, patient_sex=sex, patient_age=age)
    cells = "cells => cells.map(cell => cell.textContent.trim())"
    said = "#rows [data-field]:not([data-field=acquired])"  # a local time, which the server does not know
    plain, page = open_page(scripts=False), open_page()
    drawn: list[str] = []

    def are_alike() -> bool:  # a minute may pass between the two
        plain.reload()
        drawn[:] = plain.eval_on_selector_all(said, cells)
        return bool(page.eval_on_selector_all(said, cells) == drawn)

    wait_until(page, are_alike)
    assert {"M 8 mo", "O 3 w", "10 d", "F", "F 71 y"} <= set(drawn)
    assert "being read by Dr. Marchetti since < 1 min" in drawn
    assert "Back on the list" in drawn
    assert drawn.count("Not assessed") == 19


def test_the_page_sorts_as_the_server_does(morning: FilledList, open_page: OpenPage) -> None:
    """However events arrive, the page's order is the database's, down to ties in queue_at and received_at."""
    page = open_page()
    chance = random.Random(7)  # noqa: S311 (no secret)
    moments = [datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hour) for hour in range(3)]
    for number in chance.sample(range(40), 40):
        priority = chance.choice([OrderPriority.STAT, OrderPriority.HIGH, OrderPriority.ROUTINE])
        uid = morning.add(500 + number, f"Tie^{number}")
        morning.change(
            uid,
            queue_at=chance.choice(moments),
            received_at=chance.choice(moments),
            order_priority=priority,
            stat_rank=int(priority is not OrderPriority.STAT),
        )
    expect_order(page, morning)
    ranks = page.eval_on_selector_all("#rows [data-field=rank]", "cells => cells.map(cell => Number(cell.textContent))")
    assert ranks == list(range(1, 53))


def test_a_scored_study_rises_before_the_readers_eyes(morning: FilledList, open_page: OpenPage) -> None:
    """One event moves a row up without a reload, slides it, marks it with where it came from, and says so aloud."""
    page = open_page(prelude=STOPPABLE)
    page.evaluate("window.sameDocument = true")
    row = row_of(page, 8)
    expect(row.locator("[data-field=rank]")).to_have_text("11")
    page.evaluate(HEAR_SLIDES)
    stop_clocks(page)  # the mark stays for some seconds
    morning.score(uid_of(8), {FindingType.PNEUMOTHORAX: 0.97}, is_reported=False)
    expect(row.locator("[data-field=rank]")).to_have_text("4")
    assert page.evaluate("window.slid")
    expect(row).to_have_class(re.compile("risen"))
    expect(row.locator(".rose")).to_have_text("▲ from 11")
    expect(row.locator("[data-field=flag]")).to_have_text("Critical finding suspected")
    expect(page.locator("#news")).to_contain_text("Ramírez, Lucía moved up from 11 to 4. Pneumothorax likely, right.")
    expect_order(page, morning)
    start_clocks(page)
    expect(row).not_to_have_class(re.compile("risen"))
    assert page.evaluate("window.sameDocument")


def test_places_are_told_anew_when_others_come_and_go(morning: FilledList, open_page: OpenPage) -> None:
    """A row whose neighbours left says within seconds how far up it stands now, as the server counts."""
    page = open_page()
    reason = row_of(page, 1).locator(".reason")
    expect(reason).to_contain_text("Up 7 places (9th by arrival)")
    for number in (4, 9):
        morning.read(number, "Dr. Marchetti")
    expect(reason).to_contain_text("Up 5 places (7th by arrival)", timeout=60_000)


def test_nothing_slides_for_those_who_ask_for_stillness(morning: FilledList, open_page: OpenPage) -> None:
    """With prefers-reduced-motion the row is marked but not animated."""
    page = open_page(still=True, prelude=STOPPABLE)
    page.evaluate(HEAR_SLIDES)
    stop_clocks(page)
    morning.score(uid_of(8), PNEUMOTHORAX, is_reported=False)
    expect(row_of(page, 8)).to_have_class(re.compile("risen"))
    assert page.evaluate("document.getAnimations().length") == 0
    assert not page.evaluate("window.slid")


@pytest.mark.usefixtures("morning")
def test_a_workstation_with_a_wrong_clock_shows_right_times(open_page: OpenPage) -> None:
    """Waiting times count by the server's clock, not by that of a workstation three hours ahead."""
    page = open_page(prelude="const now = Date.now; Date.now = () => now() + 3 * 3600 * 1000;")
    expect(row_of(page, 1).locator(".waiting")).to_have_text("18 min")


def test_studies_come_and_go(morning: FilledList, open_page: OpenPage) -> None:
    """A new study appears by its event; one that was deleted from the PACS leaves the list."""
    page = open_page()
    morning.add(13, "New^Arrival")
    expect(row_of(page, 13)).to_contain_text("New, Arrival")
    morning.withdraw(uid_of(1))
    expect(row_of(page, 1)).to_have_count(0)
    expect_order(page, morning)


def test_opening_details_leaves_the_row_under_the_pointer(listed: FilledList, open_page: OpenPage) -> None:
    """The panel narrows the list and so changes every row's height, but the row that was clicked stays in its place."""
    for number in range(60):
        listed.add(200 + number, f"Name^{number}", minutes=number)
    page = open_page()
    row = page.locator("#rows tr").nth(40)
    row.scroll_into_view_if_needed()
    top = "row => row.getBoundingClientRect().top"
    before = row.evaluate(top)
    row.locator(".reason").click()
    expect(page.locator("#details")).to_be_visible()
    assert row.evaluate(top) == pytest.approx(before, abs=2)
    page.keyboard.press("Escape")
    assert row.evaluate(top) == pytest.approx(before, abs=2)


@pytest.mark.usefixtures("morning")
def test_a_row_that_moved_under_the_pointer_is_not_taken(open_page: OpenPage) -> None:
    """A click on a row that has just moved opens nothing and reads nothing, because another one was meant."""
    page = open_page()
    row, asked = row_of(page, 1), changes_asked_by(page)
    row.evaluate("row => { row.movedAt = Infinity; }")
    row.locator(".reason").click()
    row.get_by_role("button", name="Read").click()
    expect(page.locator("#details")).to_be_hidden()
    ask_once(page)
    assert asked == []
    row.evaluate("row => { row.movedAt = -Infinity; }")
    row.locator(".reason").click()
    expect(page.locator("#details")).to_be_visible()


def test_the_keyboard_never_hides_its_row_behind_the_heads(listed: FilledList, open_page: OpenPage) -> None:
    """Going up a long list, the focused row stays below the column heads that stick to the top."""
    for number in range(60):
        listed.add(200 + number, f"Name^{number}", minutes=number)
    page = open_page()
    page.locator("#rows .name").nth(59).focus()
    for _ in range(40):
        page.keyboard.press("k")
    heads = page.locator("thead th").first.evaluate("head => head.getBoundingClientRect().bottom")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= heads


def test_what_is_to_be_read_is_counted(morning: FilledList, open_page: OpenPage) -> None:
    """Head and tab count what is to be read, what is flagged, and where the AI failed."""
    page = open_page()
    expect(page.locator("#tally")).to_have_text("12 to be read, 2 flagged critical, 2 flagged urgent, AI failed on 1")
    expect(page).to_have_title("(12) Reading list · Firstread")
    morning.read(11, "Dr. Marchetti")
    expect(page.locator("#tally")).to_have_text("11 to be read, 2 flagged critical, 2 flagged urgent")
    expect(page).to_have_title("(11) Reading list · Firstread")


def test_a_row_is_described_by_flag_order_and_reason(morning: FilledList, open_page: OpenPage) -> None:
    """Its button is named by the patient, described by the rest, and nothing of row or details speaks up by itself."""
    page = open_page()
    described = """button => button.getAttribute('aria-describedby').split(' ')
        .map(id => document.getElementById(id).innerText.replace(/\\s+/g, ' ').trim())"""
    said = row_of(page, 6).locator(".name").evaluate(described)
    assert said == ["Not assessed Waiting for AI", "STAT", "STAT order. Up 6 places (7th by arrival)"]
    said = row_of(page, 2).locator(".name").evaluate(described)
    assert said[0] == "Urgent finding suspected AI report ready"
    morning.score(uid_of(8), PNEUMOTHORAX)
    expect(row_of(page, 8).locator("[data-field=flag]")).to_have_text("Critical finding suspected")
    assert row_of(page, 8).locator(".name").evaluate(described)[0].startswith("Critical finding suspected AI ")
    assert page.locator("#rows :is(output, [aria-live], [role=status], [role=alert])").count() == 0
    live = page.locator("#details :is(output, [aria-live], [role=status], [role=alert])")
    assert {one.get_attribute("id") for one in live.all()} == {"heard", "answered", "note-said"}  # who asks is answered


def test_what_waits_too_long_is_marked_by_more_than_colour(morning: FilledList, open_page: OpenPage) -> None:
    """Its waiting time bears a mark, a frame and a heavier type, and that of no other study."""
    morning.add(41, "Weber^Karl", minutes=26 * 60)
    page = open_page()
    look = """time => [getComputedStyle(time, '::before').content, getComputedStyle(time).borderTopStyle,
        getComputedStyle(time).fontWeight]"""
    late = row_of(page, 41).locator(".waiting time").evaluate(look)
    assert late == ['"! " / "over the target: "', "solid", "700"]
    assert row_of(page, 4).locator(".waiting time").evaluate(look) == ["none", "none", "400"]


def test_an_empty_list_tells_how_to_send_the_first_film(listed: FilledList, open_page: OpenPage) -> None:
    """The empty page names host, port, AE title and a command; the first study replaces it."""
    page = open_page()
    empty = page.locator("#empty")
    expect(empty).to_contain_text("firstread send FILE --host pacs.example.org --port 4242 --aet ORTHANC")
    expect(empty).to_contain_text("storescu -aec ORTHANC pacs.example.org 4242 FILE")
    expect(page.locator("#worklist")).to_be_hidden()
    expect(page).to_have_title("Reading list · Firstread")
    listed.add(1, "First^Film")
    expect(empty).to_be_hidden()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page).to_have_title("(1) Reading list · Firstread")
    listed.read(1, "Dr. Marchetti")
    expect(empty).to_be_visible()


def test_a_keyboard_alone_reads_the_list(morning: FilledList, open_page: OpenPage) -> None:
    """j, k and the arrows move a visible focus, Enter opens the details, which follow, and Escape comes back."""
    page = open_page()
    uids = morning.uids()
    page.keyboard.press("j")
    assert focused_uid(page) == uids[0]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert focused_uid(page) == uids[1]
    assert page.evaluate("getComputedStyle(document.activeElement.closest('tr')).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Okafor, Ngozi")).to_be_visible()
    expect(page.locator("#rows .name[aria-expanded=true]")).to_have_text("Okafor, Ngozi")
    expect(page.locator("#details-name")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#details-name")).to_contain_text("Yamada, Tarou 山田 太郎")
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    assert focused_uid(page) == uids[2]
    page.keyboard.press("Enter")
    expect(page.locator("#details-name")).to_be_focused()
    page.keyboard.press("Escape")
    assert focused_uid(page) == uids[2]
    page.keyboard.press("End")
    assert focused_uid(page) == uids[-1]
    page.keyboard.press("ArrowDown")
    assert focused_uid(page) == uids[-1]
    page.keyboard.press("Home")
    assert focused_uid(page) == uids[0]
    assert listed_uids(page) == uids


def test_two_patients_under_one_study_uid_have_a_row_each(listed: FilledList, open_page: OpenPage) -> None:
    """While the page is open: both say it, one is read without the other, and alone again nothing is said."""
    uid = listed.add(1, "Okafor^Ngozi", minutes=30, findings=PNEUMOTHORAX)
    listed.add(2, "Haddad^Layla", minutes=20)
    page = open_page()
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(2)
    listed.add(3, "Roe^Rick", uid=uid, orthanc_id="of-another", minutes=10)
    expect(rows).to_have_count(3)
    for name in ("Okafor", "Roe"):
        expect(rows.filter(has_text=name).locator(".reason")).to_contain_text("Another patient has the same Study")
    expect(rows.filter(has_text="Haddad").locator(".reason")).not_to_contain_text("Another patient")
    rows.filter(has_text="Roe").locator(".name").focus()
    page.keyboard.press("r")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="Okafor")).to_be_visible()
    listed.intake.record_presence("of-another", is_present=False)
    expect(rows.filter(has_text="Okafor").locator(".reason")).not_to_contain_text("Another patient")
    expect(rows.filter(has_text="Okafor")).to_have_attribute("data-uid", uid)
    listed.withdraw(uid)
    expect(rows).to_have_count(1)
