"""A clinical note on /try, alone and beside a film, and in the details of a study, in a browser on a real site."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from imaging.simulated.phantom import simulate_film
from tests.acceptance.conftest import RunningSite, film_with_effusion
from tests.axe import axe_findings
from tests.bad_films import chest
from tests.browsing import row_of, wait_until_live
from tests.trying import score
from worklist.finding import FindingType

NOTE = """71-year-old woman with fever, confusion and a productive cough for 4 days. Known {side} pleural effusion.
PMH: COPD, rheumatoid arthritis. Family history: lung cancer in her brother.
Medications: methotrexate 15 mg weekly, ramipril 5 mg od. Denies chest pain.
O/E: T 38.9, HR 112, BP 88/52, RR 32, SpO2 89% on air. ?pneumonia
"""


@pytest.fixture(scope="module")
def effusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of Richard Roe's on which the shipped model names an effusion, with its side and box, as a file."""
    dataset = chest(90)
    pixels = simulate_film(90, finding=FindingType.PLEURAL_EFFUSION, rows=dataset.Rows, columns=dataset.Columns)
    dataset.PixelData = pixels.astype("u2").tobytes()
    dataset.PatientName, dataset.PatientSex, dataset.PatientAge = "Roe^Richard", "F", "071Y"
    path = tmp_path_factory.mktemp("film") / "film.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(page: Page, note: str) -> dict[str, Any]:
    """Send a note alone, and return what the gateway answered."""
    page.get_by_label("Clinical note").fill(note)
    with page.expect_response("**/text") as answer:
        page.get_by_role("button", name="Read this note").click()
    answered: dict[str, Any] = answer.value.json()
    return answered


def replying(answer: dict[str, Any]) -> Callable[[Route], None]:
    """Answers a request in the gateway's place."""
    return lambda route: route.fulfill(json=answer)


def test_a_note_alone_is_read(open_page: Callable[..., Page]) -> None:
    """Summary, statements with the sentence they stand in, risk with what was counted, attention and disclaimer."""
    page = open_page()
    answer = read(page, NOTE.format(side="left"))
    shown = page.locator("#note-result")
    assert answer["risk"]["class"] == "high"
    for text in (
        answer["disclaimer"],
        answer["summary"],
        *answer["attention"],
        *answer["risk"]["reasons"],
        "high (",
        answer["model"]["sha256"],
    ):
        expect(shown).to_contain_text(text)
    rows = shown.locator(".statements tbody tr")
    expect(rows).to_have_count(len(answer["statements"]))
    family = rows.filter(has_text="lung cancer")
    expect(family).to_contain_text("family")
    expect(family.locator("mark")).to_have_text("lung cancer")
    expect(rows.filter(has=page.locator("mark", has_text="chest pain"))).to_contain_text("negated")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#contradictions")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "note-title"
    assert page.locator(".score .missing").count() == 0


def test_a_contradiction_between_note_and_film_is_named(open_page: Callable[..., Page], effusion: Path) -> None:
    """Where the note says another side than the film, both are told on top, with the note's sentence."""
    page = open_page()
    page.locator("#file").set_input_files(effusion)
    page.get_by_label("Clinical note").fill(NOTE.format(side="left"))
    first = score(page, button="Score this film, read the note")
    side = next(one["side"] for one in first["findings"] if one["name"] == "Pleural effusion")
    expect(page.locator("#result")).to_be_visible()
    other = {"left": "right", "right": "left"}[side]
    note = f"Patient: Doe, Jane. {NOTE.format(side=other)}"
    page.get_by_label("Clinical note").fill(note)
    answer = score(page, button="Score this film, read the note")
    assert {one["kind"] for one in answer["text"]["contradictions"]} == {"side", "patient"}
    told = page.locator("#contradictions")
    expect(told).to_contain_text(f"The note says {other}, the film {side}: pleural effusion.")
    expect(told).to_contain_text(f"Known {other} pleural effusion.")
    expect(told).to_contain_text("The note names Doe, Jane, the film Roe Richard.")
    expect(page.locator("#result")).to_contain_text("Asked about")
    expect(page.locator("#note-result")).to_be_visible()
    assert axe_findings(page) == []
    if folder := os.environ.get("NOTE_PICTURES"):  # pragma: no cover - for docs/images
        page.screenshot(path=f"{folder}/try-note.png", full_page=True)


def test_a_study_of_the_list_is_held_against_request_and_note(
    open_page: Callable[..., Page], running: RunningSite
) -> None:
    """From the header of a film that was sent: its order's reason by itself, and a note that somebody pastes."""
    film = film_with_effusion(90)
    film.PatientName, film.PatientID, film.PatientSex, film.PatientAge = "SIMULATED-Roe^Ann", "P-0090", "F", "071Y"
    del film.PatientBirthDate
    film.ReasonForStudy = "Dyspnea, known left effusion."
    running.send([film])
    uid = film.StudyInstanceUID
    item = running.done(1)[uid]
    side = next(one["side"] for one in item["findings"] if one["named"] and one["name"] == "Pleural effusion")
    assert side == "right"
    page = open_page(1440, path="")
    page.set_viewport_size({"width": 1440, "height": 1680})
    wait_until_live(page)
    row_of(page, uid).locator(".name").press("Enter")
    panel, told = page.locator("#details"), page.locator("#contradictions")
    expect(told).to_contain_text("The request says left, the film right: pleural effusion.")
    page.locator("#note-fold summary").click()
    page.get_by_label("Clinical note of this patient").fill("Patient: Jane Doe. " + NOTE.format(side="left"))
    page.get_by_role("button", name="Read this note").click()
    expect(told.locator("li")).to_have_count(3)
    expect(told.locator("li").first).to_contain_text("The note names Jane Doe")
    expect(told).to_contain_text("The note says left, the film right: pleural effusion.")
    expect(panel.locator(".risk")).to_have_text("high (CRB-65)")
    assert axe_findings(page) == []
    if folder := os.environ.get("NOTE_PICTURES"):  # pragma: no cover - for docs/images
        expect(panel.locator("#film")).not_to_have_js_property("naturalWidth", 0)
        panel.screenshot(path=f"{folder}/panel-note.png")


def test_what_a_language_model_adds_stands_apart(open_page: Callable[..., Page]) -> None:
    """Its sentence and its terms under its name, or why there are none; nothing where the site has no such model."""
    page = open_page()
    answer = read(page, NOTE.format(side="left"))
    told = page.locator("#note-model")
    expect(told).to_be_hidden()
    added: dict[str, Any] = {
        "model": {**answer["model"], "name": "medgemma"},
        "prompt": None,
        "statements": [],
        "checks": [],
    }
    said: list[dict[str, str | None]] = [
        {"summary": "The note states fever.", "why": None},
        {"summary": None, "why": "it is away"},
    ]
    for words in said:
        page.route("**/text", replying(answer | {"language_model": added | words}))
        page.get_by_role("button", name="Read this note").click()
        expect(told).to_contain_text("medgemma")
        expect(told).to_contain_text(words["summary"] or "Nothing: it is away.")


def test_hostile_notes_stay_text(open_page: Callable[..., Page]) -> None:
    """Markup in a note is shown letter by letter and never runs, and characters beyond the first plane move no mark."""
    page = open_page()
    read(page, "😀😀 <img src=x onerror=hack()> fever <script>hack()</script>")
    expect(page.locator("#note-result mark")).to_have_text("fever")
    expect(page.locator("#note-result .quotation")).to_contain_text("<script>hack()</script>")
    assert page.locator("#try script, #try img[src='x']").count() == 0


@pytest.mark.parametrize("width", [1400, 400])
def test_a_note_needs_no_sideways_scrolling(width: int, open_page: Callable[..., Page]) -> None:
    """The page fits its window with a note of every part."""
    page = open_page(width)
    read(page, NOTE.format(side="left") + f"\nfever {'x' * 300}")
    expect(page.locator("#note-result")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_what_is_no_note_is_told(open_page: Callable[..., Page], running: RunningSite) -> None:
    """Another language is said and not read; the page gives no class of risk for it."""
    del running
    page = open_page()
    answer = read(page, "Die Patientin hat seit drei Tagen Fieber und Husten, kein Pleuraerguss links.")
    assert answer["statements"] == []
    expect(page.locator("#note-result")).to_contain_text("The note seems to be in German.")
    expect(page.locator("#note-result .risk")).to_have_text("unknown")
