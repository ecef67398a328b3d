"""The details of a study, what comes from outside, and how the page fits its window."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import focused_uid, row_of
from tests.list_gateway import ListGateway
from tests.lists import LATERAL, PNEUMOTHORAX, FilledList, uid_of
from worklist.account import Account, Certainty, Change, Comparison, Statement
from worklist.finding import Analysis, Code, FindingType, QualityNote, Side
from worklist.step import Step, StepName, StepVerdict
from worklist.study import Failure

OpenPage = Callable[..., Page]


def test_focus_and_selection_stay_with_the_study_that_moves(morning: FilledList, open_page: OpenPage) -> None:
    """When the selected row rises, the focus and the panel rise with it, and the panel shows the new result."""
    page = open_page()
    row_of(page, 8).locator(".reason").click()
    expect(page.locator("#details")).to_contain_text("None computed. That says nothing about the film.")
    morning.score(uid_of(8), {FindingType.PNEUMOTHORAX: 0.97})
    expect(row_of(page, 8).locator("[data-field=rank]")).to_have_text("4")
    assert focused_uid(page) == uid_of(8)
    expect(page.locator("#details [data-field=score]")).to_contain_text("Score 0.97")


@pytest.mark.usefixtures("morning")
def test_details_show_evidence_numbers_and_provenance(open_page: OpenPage) -> None:
    """The panel holds each shown probability as bar and number with its meaning, the crops and the model."""
    page = open_page()
    row_of(page, 1).locator(".reason").click()
    panel = page.locator("#details")
    for text in (
        "Not a diagnosis. Research use. Unverified AI output.",
        "It is not the radiologist's report.",
        "Pneumothorax likely, right. Up 7 places (9th by arrival)",
        "The patient is slightly rotated.",
        "F 71 y",
    ):
        expect(panel).to_contain_text(text)
    bars = panel.locator("meter").evaluate_all("meters => meters.map(meter => [meter.ariaLabel, meter.value])")
    names = {FindingType.PNEUMOTHORAX: "Pneumothorax", FindingType.PLEURAL_EFFUSION: "Pleural effusion"}
    times = {kind: PNEUMOTHORAX[kind] / 0.45 for kind in names}
    assert bars == [
        [f"{name}, {times[kind]:.1f} times its threshold", pytest.approx(min(times[kind], 2))]
        for kind, name in names.items()
    ]
    expect(panel.locator(".findings .value").first).to_have_text("0.93")
    expect(panel.locator(".findings .named")).to_contain_text("Pneumothorax, patient's right")
    expect(panel.locator(".findings [data-field=meaning]")).to_have_text(
        ["Of 10 films marked like this, about 7 had it (counted on 19 films).", ""]
    )
    link = panel.get_by_role("link", name="Part of the film that weighed most, 2 of 2")
    expect(link).to_have_attribute("href", re.compile(rf"worklist/{re.escape(uid_of(1))}/crops/2\.png$"))
    expect(panel.locator("#crops img").first).to_have_js_property("naturalWidth", 240)
    expect(panel.locator("#provenance")).to_contain_text("embedded 1")


def test_the_panel_says_who_explained(morning: FilledList, open_page: OpenPage) -> None:
    """Who wrote the words, when, in whose place and why; what a language model adds; and that it is to be confirmed."""
    added = Account(
        explained_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
        instead_of="MedGemma, version 1",
        why="the model was busy: it explains flagged and STAT studies first",
        statements=(
            Statement(type=FindingType.MASS, certainty=Certainty.POSSIBLE, sides=(Side.LEFT,), is_supported=False),
        ),
        comparison=Comparison(change=Change.WORSENED, compared_with=("report 1.2.9",)),
    )
    morning.add(30, findings={FindingType.PNEUMOTHORAX: 0.97}, is_reported=False)
    morning.report(uid_of(30), explanation="Look <b>here</b>.", account=added)
    page = open_page()
    row_of(page, 30).locator(".reason").click()
    panel = page.locator("#explanation")
    expect(panel).to_contain_text("Look <b>here</b>.")
    expect(panel.locator("li")).to_have_text(
        [
            "Its own, not supported by the scores: mass possible, left.",
            "Change, by the language model: worsened, compared with report 1.2.9.",
        ]
    )
    said = panel.locator("[data-field=explained_by]")
    expect(said).to_contain_text("Explained by template 1, ")
    expect(said).to_contain_text("In place of MedGemma, version 1: the model was busy: it explains flagged and STAT")
    expect(said).to_contain_text("Unverified: a radiologist has to confirm it.")


def test_the_panel_tells_how_a_result_came_about(morning: FilledList, open_page: OpenPage) -> None:
    """Folded at first; unfolded, each step with its verdict, its time, what went in and what came out, as text."""
    taken = [
        Step(name=StepName.SCORE, verdict=StepVerdict.DONE, elapsed_ms=2140.0, input="a film", output="score 0.97"),
        Step(name=StepName.COMPARE, verdict=StepVerdict.LEFT_OUT, elapsed_ms=0.0, input="no prior", output="nothing"),
        Step(name=StepName.EXPLAIN, verdict=StepVerdict.FAILED, elapsed_ms=0.4, input="scores", output="<b>why</b>"),
    ]
    pneumothorax = {FindingType.PNEUMOTHORAX: 0.97}
    morning.add(30, findings=pneumothorax, analyzed=lambda analysis: analysis.after(taken))
    morning.add(31, findings=pneumothorax)
    page = open_page()
    row_of(page, 30).locator(".reason").click()
    lines = page.locator("#step-list li")
    expect(page.locator("#steps")).to_be_visible()
    expect(lines).to_have_count(0)
    page.locator("#steps summary").click()
    expect(lines).to_have_text(
        [
            re.compile(r"^score done 2\.1 s\s*a film\s*score 0\.97$"),
            re.compile(r"^compare left out\s*no prior\s*nothing$"),
            re.compile(r"^explain failed under 1 ms\s*scores\s*<b>why</b>$"),
        ]
    )
    row_of(page, 31).locator(".reason").click()
    expect(lines).to_have_count(0)
    expect(page.locator("#steps")).to_contain_text("An earlier version scored this study and kept no steps.")


@pytest.mark.usefixtures("morning")
def test_a_failure_says_what_happened(open_page: OpenPage) -> None:
    """A study that failed, and one out of scope, say why in words and by a code."""
    page = open_page()
    row_of(page, 11).locator(".patient .quiet").click()
    expect(page.locator("#failure")).to_contain_text("the pixel data ends after 1.2 of 7.2 MB")
    expect(page.locator("#failure")).to_contain_text("truncated_pixels")
    row_of(page, 10).locator(".patient .quiet").click()
    expect(page.locator("#failure")).to_contain_text(LATERAL.message)
    expect(page.locator("#provenance")).to_be_hidden()


def test_the_panel_acts_on_its_study(morning: FilledList, open_page: OpenPage) -> None:
    """Its buttons and keys claim and read the study it shows, and it closes when that has left the list."""
    page = open_page()
    row_of(page, 4).locator(".reason").click()
    panel = page.locator("#details")
    panel.get_by_role("button", name="Claim Haddad, Layla").click()
    expect(panel.locator("[data-field=reading]")).to_have_text("being read by Dr. Nguyen since < 1 min")
    panel.get_by_role("button", name="Close details").focus()
    page.keyboard.press("r")
    expect(row_of(page, 4)).to_have_count(0)
    expect(panel).to_be_hidden()
    assert uid_of(4) not in morning.uids()


def test_hostile_text_stays_text(morning: FilledList, open_page: OpenPage) -> None:
    """Markup in any field is shown letter by letter, by the server's drawing and by the script's, and never runs."""
    attack = "<img src=x onerror=hack()><script>hack()</script>"
    family = "<img src onerror><script>hack()</script>"  # "=" and "^" have a meaning in names
    name = f"{family}^<u>Jane</u>"

    def spoil(analysis: Analysis) -> Analysis:
        kind = FindingType(key="pneumothorax", code=Code(value="1", scheme="SCT", meaning="x"), label=attack)
        return replace(
            analysis,
            scorer=replace(analysis.scorer, name=attack, version=attack),
            findings=tuple(replace(finding, type=kind) for finding in analysis.findings[:1]),
            quality=(QualityNote(code=attack, message=attack),),
            explanation=attack,
        )

    texts: dict[str, Any] = dict.fromkeys(("patient_id", "accession_number", "study_description", "modality"), attack)
    uid = morning.add(50, name, findings=PNEUMOTHORAX, analyzed=spoil, **texts)
    morning.add(51, name, refused=Failure(code=attack, message=attack), uid="1.2'\"><script>hack()<script>", **texts)
    drawn = row_of(open_page(scripts=False), uid)
    expect(drawn.locator(".patient")).to_contain_text(f"{family}, <u>Jane</u>")
    expect(drawn.locator(".study")).to_contain_text(attack)
    expect(drawn.locator(".reason")).to_contain_text(f"{attack} likely")
    page = open_page(reader=attack.replace("'", ""))
    expect(page.locator("#rows tr")).to_have_count(14)
    row_of(page, uid).get_by_role("button", name="Claim").click()
    expect(row_of(page, uid).locator("[data-field=reading]")).to_contain_text(f"being read by {attack}")
    row_of(page, uid).locator(".waiting").click()
    expect(page.locator("#details-name")).to_contain_text(f"{family}, <u>Jane</u>")
    for place in ("#explanation", ".findings", "#quality", "#provenance", "#details .facts >> nth=0"):
        expect(page.locator(place)).to_contain_text(attack)
    page.locator("#rows tr", has_text="Out of scope").last.locator(".waiting").click()
    expect(page.locator("#failure")).to_contain_text(attack)
    made = "#rows :is(img, script, u), #details :is(script, u), #details img[src='x'], header :is(script, img)"
    assert page.locator(made).count() == 0


@pytest.mark.parametrize("width", [1440, 1024, 800])
def test_nothing_needs_sideways_scrolling(width: int, morning: FilledList, open_page: OpenPage) -> None:
    """The page fits its window, details open or closed, even with the longest unbroken name and UID."""
    long: dict[str, Any] = {"accession_number": "9" * 16, "patient_id": "8" * 64, "study_description": "X" * 64}
    morning.add(99, "W" * 64, minutes=30 * 60, refused=Failure(code="x", message="y" * 200), **long)
    morning.claim(99, "N" * 64)
    morning.add(98, "P" * 64, days_old=400, findings=PNEUMOTHORAX, **long)
    page = open_page(width)
    page.locator("#priors summary").click()
    expect(page.locator("#prior-rows tr")).to_have_count(1)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    row_of(page, 99).locator(".waiting").click()
    expect(page.locator("#details")).to_be_visible()
    assert page.evaluate(overflow) == 0
    inside = "panel => panel.scrollWidth <= panel.clientWidth && panel.getBoundingClientRect().right <= innerWidth"
    assert page.eval_on_selector("#details", inside)
    too_wide = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.outerHTML)"
    assert page.eval_on_selector_all("#rows td, #prior-rows td", too_wide) == []


def test_page_and_static_files_carry_security_headers(open_page: OpenPage, gateway: ListGateway) -> None:
    """Scripts and styles come from the gateway alone, and types are not guessed."""
    request = open_page().request
    for path in ("", "try", "static/worklist.js", "static/worklist.css"):
        headers = request.get(gateway.url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
