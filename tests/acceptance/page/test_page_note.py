"""A study's request and a pasted note in the details: what they state, and where they contradict the film."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from sqlalchemy import select

from tests.acceptance.test_try_note import NOTE
from tests.axe import axe_findings
from tests.browsing import ask_once, focused_uid, row_of, wait_until
from tests.lists import EFFUSION, NOTHING, FilledList, uid_of
from worklist.finding import DISCLAIMER
from worklist.reading import ReadingState
from worklist.records.tables import Base

OpenPage = Callable[..., Page]
Scheme = Literal["light", "dark"]

LEFT = NOTE.format(side="left")  # the film names an effusion on the right
TO_THE_TOP = "element => element.scrollTo(0, 0)"
REQUEST = "Fall, rib pain. Known left effusion."
AGAINST = "The note says left, the film right: pleural effusion."


@pytest.fixture
def studies(listed: FilledList) -> FilledList:
    """An effusion on the right without a request, one with a request that says left, and a film without a flag."""
    listed.add(1, "Okafor^Ngozi", minutes=18, findings=EFFUSION)
    listed.add(2, "Lindqvist^Per", minutes=64, findings=EFFUSION, question=REQUEST)
    listed.add(3, "Haddad^Layla", minutes=31, findings=NOTHING)
    return listed


def opened(page: Page, number: int) -> Locator:
    """The details of a study, with what can be read beside it."""
    row_of(page, number).locator(".patient").click()
    expect(page.locator("#clinical")).to_be_visible()
    return page.locator("#details")


def read(page: Page, note: str) -> None:
    """Paste a note and have it read."""
    fold = page.locator("#note-fold")
    if fold.get_attribute("open") is None:
        fold.locator("summary").click()
    page.get_by_label("Clinical note of this patient").fill(note)
    page.get_by_role("button", name="Read this note").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_pasted_note_is_read_beside_its_film(scheme: Scheme, studies: FilledList, open_page: OpenPage) -> None:
    """Each contradiction, what to look at, risk and statements, with the disclaimer; the keyboard goes to the first."""
    page = open_page()
    page.emulate_media(color_scheme=scheme)
    panel = opened(page, 1)
    with page.expect_response(f"**/text/{uid_of(1)}") as answered:
        read(page, f"Patient: John Smith. {LEFT}")
    answer: dict[str, Any] = answered.value.json()
    assert {one["kind"] for one in answer["contradictions"]} == {"patient", "side"}
    told = panel.locator("#contradictions")
    expect(told.locator("li")).to_have_count(2)
    expect(told).to_contain_text("The note names John Smith, the film Okafor Ngozi.")
    expect(told).to_contain_text(AGAINST)
    expect(told.locator("blockquote")).to_have_text("Known left pleural effusion.")
    expect(told).to_contain_text(DISCLAIMER)
    expect(told.locator(":focus")).to_have_text("Request or note and film contradict each other")
    expect(page.locator("#note-said")).to_have_text("Note read, risk high, contradicts the film")
    shown = panel.locator("#note-result")
    for words in (DISCLAIMER, answer["summary"], *answer["attention"], *answer["risk"]["reasons"], "high ("):
        expect(shown).to_contain_text(words)
    assert axe_findings(page) == []
    rows = shown.locator(".statements tbody tr")
    expect(rows.first).to_be_hidden()
    for part in shown.locator("summary").all():
        part.click()
    expect(rows).to_have_count(len(answer["statements"]))
    expect(rows.filter(has_text="lung cancer").locator("mark")).to_have_text("lung cancer")
    expect(shown.locator(".score").first).to_contain_text("respiratory rate")
    expect(
        shown.get_by_role("table", name="Read by rules.").get_by_role("cell", name="family", exact=True)
    ).to_be_visible()
    panel.evaluate(TO_THE_TOP)
    assert axe_findings(page) == []
    assert studies.worklist.find(uid_of(1))


def test_a_request_that_contradicts_its_film_is_told_unasked(studies: FilledList, open_page: OpenPage) -> None:
    """By the words of the order alone; a note is told beside it, and taken away again by itself."""
    page = open_page()
    panel = opened(page, 2)
    told, shown = panel.locator("#contradictions"), panel.locator("#note-result")
    expect(told).to_contain_text("The request says left, the film right: pleural effusion.")
    expect(told).to_contain_text("Known left effusion.")
    expect(told).to_contain_text(DISCLAIMER)
    expect(shown).to_contain_text("From the request")
    expect(shown).to_contain_text("An injury is stated: ribs, pleura and the soft tissue of that side.")
    expect(shown).to_contain_text(DISCLAIMER)
    expect(panel.locator("#note-whole")).to_be_hidden()
    assert focused_uid(page) == uid_of(2)
    assert axe_findings(page) == []
    read(page, LEFT)
    expect(told.locator("li")).to_have_text(
        [
            "The request says left, the film right: pleural effusion.Known left effusion.",
            f"{AGAINST}Known left pleural effusion.",
        ]
    )
    expect(shown).to_contain_text("What the note states")
    expect(shown.locator("#attention")).to_contain_text("methotrexate")
    page.get_by_role("button", name="Clear the note").click()
    expect(told.locator("li")).to_have_count(1)
    expect(shown).to_contain_text("From the request")
    expect(page.locator("#note-fold summary")).to_be_focused()
    studies.change(uid_of(2), question="Cough.")
    expect(panel.locator(".question")).to_contain_text("Cough.")
    expect(told).to_be_hidden()
    expect(shown).to_be_hidden()


def test_where_no_request_is_stated_nothing_is_asked_or_shown(studies: FilledList, open_page: OpenPage) -> None:
    """Neither a box nor a word that could be taken for agreement."""
    del studies
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    panel = opened(page, 1)
    expect(panel.locator("#patient-priors")).to_be_visible()
    ask_once(page)
    expect(panel.locator("#contradictions")).to_be_hidden()
    expect(panel.locator("#note-result")).to_be_hidden()
    assert not [url for url in asked if "/text/" in url]


def test_the_keyboard_alone_reads_a_note(studies: FilledList, open_page: OpenPage) -> None:
    """From the row to the result; letters in the box are no keys, and what is folded opens by Enter."""
    page = open_page()
    row_of(page, 1).locator(".name").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#details-name")).to_be_focused()
    expect(page.locator("#clinical")).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator("#note-fold summary:focus").count():
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("known round opacity, no cardiac murmur, just a cough")
    expect(page.locator("#note")).to_have_value("known round opacity, no cardiac murmur, just a cough")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#note-title")).to_be_focused()
    expect(page.locator("#note-result")).to_contain_text("The note states")
    expect(page.locator("#details-name")).to_contain_text("Okafor")
    study = studies.worklist.find(uid_of(1))
    assert study
    assert study.reading.state is ReadingState.UNREAD


def test_a_note_goes_with_its_study_and_is_kept_nowhere(studies: FilledList, open_page: OpenPage) -> None:
    """Not beside another study, not once the details were closed, not in the browser, not in the database."""
    page = open_page()
    panel = opened(page, 1)
    words = "Quastenflosseritis. Known left pleural effusion."
    read(page, words)
    expect(panel.locator("#contradictions")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("#details-name")).not_to_contain_text("Okafor")
    leaving: tuple[Callable[[], None], ...] = (
        lambda: row_of(page, 3).locator(".patient").click(),
        lambda: page.keyboard.press("Escape"),
    )
    for leave in leaving:
        opened(page, 1)
        expect(panel.locator("#contradictions")).to_be_hidden()
        expect(panel.locator("#note-result")).to_be_hidden()
        expect(page.locator("#note")).to_have_value("")
        read(page, words)
        expect(panel.locator("#contradictions")).to_be_visible()
        leave()
        expect(panel.locator("#contradictions")).to_be_hidden()
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, location.href, document.body.innerHTML])")
    assert "Quastenflosser" not in kept
    with studies.database.read() as session:
        rows = [str(tuple(row)) for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
    assert rows
    assert not [row for row in rows if "Quastenflosser" in row]


def test_a_film_that_is_judged_anew_is_held_against_the_note_anew(studies: FilledList, open_page: OpenPage) -> None:
    """Whoever reads a note before the film is scored learns of the contradiction once it is, of request and note."""
    studies.add(4, "Costa^Ana", minutes=2, question="Known left effusion.")
    page = open_page()
    panel = opened(page, 4)
    read(page, "Left pleural effusion.")
    expect(panel.locator("#attention")).to_be_hidden()
    expect(page.locator("#note-said")).to_have_text("Note read, risk unknown")
    studies.score(uid_of(4), EFFUSION)
    expect(panel.locator("#contradictions li")).to_have_count(2)
    expect(page.locator("#note-said")).to_have_text("Note read, risk unknown, contradicts the film")


def test_what_cannot_be_read_is_told_in_one_line(studies: FilledList, open_page: OpenPage) -> None:
    """Another language, a gateway that does not answer, and what it refuses; the note stays in its box."""
    del studies
    page = open_page()
    panel = opened(page, 1)
    read(page, "Die Patientin hat seit drei Tagen Fieber und Husten, kein Pleuraerguss links.")
    expect(panel.locator("#note-result")).to_contain_text("The note seems to be in German.")
    expect(panel.locator(".risk")).to_have_text("unknown")
    read(page, "\u200b")
    expect(page.locator("#note-said")).to_have_text("Not read: the note is empty: send its text")
    expect(panel.locator("#note-result")).to_be_hidden()
    page.route("**/text/*", lambda route: route.abort())
    read(page, "Fever.")
    expect(page.locator("#note-said")).to_have_text("Not read: the gateway did not answer. Try again.")
    expect(page.locator("#note")).to_have_value("Fever.")
    opened(page, 2)
    expect(page.locator("#note-said")).to_have_text(
        "The request could not be read: the gateway did not answer. Try again."
    )


def test_an_answer_that_comes_late_is_not_shown_beside_another_study(studies: FilledList, open_page: OpenPage) -> None:
    """Nor is one that was asked for again meanwhile."""
    del studies
    page = open_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/text/*", hold)
    panel = opened(page, 1)
    read(page, LEFT)
    expect(page.locator("#note-said")).to_have_text("Reading …")
    opened(page, 3)
    wait_until(page, lambda: len(held) == 1)
    with page.expect_response("**/text/*"):
        held[0].continue_()
    read(page, "Fever.")
    wait_until(page, lambda: len(held) == 2)
    held[1].continue_()
    expect(page.locator("#note-said")).to_have_text("Note read, risk unknown")
    expect(panel.locator("#contradictions")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 1024, 1440])
def test_a_note_needs_no_sideways_scrolling(width: int, studies: FilledList, open_page: OpenPage) -> None:
    """Beside the list and over it, with every part unfolded; markup in a note stays text."""
    del studies
    page = open_page(width)
    panel = opened(page, 1)
    read(page, f"{LEFT}\nfever {'x' * 300} <img src=x onerror=hack()>")
    expect(panel.locator("#note-result")).to_be_visible()
    for part in panel.locator("#note-result summary").all():
        part.click()
    expect(panel.locator(".quotation").last).to_be_visible()
    sideways = "element => element.scrollWidth - element.clientWidth"
    assert page.evaluate(f"({sideways})(document.documentElement)") == 0
    assert panel.evaluate(sideways) == 0
    assert panel.locator("img[src='x']").count() == 0
    panel.evaluate(TO_THE_TOP)
    assert axe_findings(page) == []
