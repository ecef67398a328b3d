"""A study beside its patient's earlier film, on its row and in the panel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import row_of
from tests.lists import FilledList, analysis_of, uid_of
from worklist.comparison import PriorComparison, PriorReport, compare
from worklist.finding import FindingType, Snippet

OpenPage = Callable[..., Page]
NOW = {FindingType.PLEURAL_EFFUSION: 0.71, FindingType.CARDIOMEGALY: 0.4, FindingType.PNEUMONIA: 0.9}
THEN = {FindingType.PLEURAL_EFFUSION: 0.12, FindingType.CARDIOMEGALY: 0.45, FindingType.PNEUMONIA: 0.01}
REPORT = PriorReport(
    study_instance_uid=uid_of(31),
    series_instance_uid="1.2.9.2",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11",
    sop_instance_uid="1.2.9.2.1",
    kind="Basic Text SR, verified",
    limits="only its first 20000 characters were read",
)


@pytest.fixture
def compared(morning: FilledList) -> FilledList:
    """Study 30 has a prior, 31, with a report; study 32 clashes with another patient's, 33."""
    morning.add(31, "Roe^Jane", minutes=400_000, days_old=1, patient_id="4711")
    uid = morning.add(30, "Roe^Jane", findings=NOW, is_reported=False, patient_id="4711")
    now, then = (analysis_of(uid, scores) for scores in (NOW, THEN))
    morning.report(
        uid,
        explanation="Pleural effusion likely, left.",
        prior=PriorComparison(
            study_instance_uid=uid_of(31),
            study_date="20260303",
            film=replace(now.image, study_instance_uid=uid_of(31)),
            report=REPORT,
            compared=compare(now, then),
        ),
        snippets=(Snippet(source="1.2.9.2.1", snippet="No <b>effusion</b>."),),
    )
    morning.add(33, "Roe^John", minutes=400_000, days_old=1, patient_id="4712")
    other = morning.add(32, "Roe^Jim", findings=NOW, is_reported=False, patient_id="4712")
    clash = "a study of 3 March 2026 under the same Patient ID is not used: it states another name"
    morning.report(other, prior=PriorComparison(clash=clash))
    return morning


@pytest.mark.usefixtures("compared")
def test_the_panel_compares_with_the_earlier_film(open_page: OpenPage) -> None:
    """Both scores of each finding that is shown, what has changed first; the report's sentence with its source."""
    page = open_page()
    row = row_of(page, 30)
    assert "Pleural effusion: 0.12 on 3 March 2026, 0.71 now" in (row.locator("td.prior").get_attribute("title") or "")
    row.locator(".reason").click()
    section = page.locator("#comparison")
    expect(section).to_contain_text("Film of 2026-03-03")
    expect(section.locator("li")).to_have_text(
        [
            "Pleural effusion: 0.12 on 3 March 2026, 0.71 now, new by the score.",
            "Cardiomegaly: 0.45 on 3 March 2026, 0.40 now, no clear change.",
        ]
    )
    expect(section).to_contain_text("A lower score excludes nothing.")
    expect(section.locator("blockquote")).to_have_text(["No <b>effusion</b>."])
    expect(section.locator("[data-field=quoted_from]")).to_have_text(
        "Quoted from 1.2.9.2.1 (Basic Text SR, verified; only its first 20000 characters were read)."
    )


@pytest.mark.usefixtures("compared")
def test_a_clash_stands_on_the_row_and_in_the_panel(open_page: OpenPage) -> None:
    """Why nothing of the other study is used is said, and no score is compared."""
    page = open_page()
    row = row_of(page, 32)
    expect(row.locator("td.prior .clash")).to_have_text("clash")
    row.locator(".reason").click()
    section = page.locator("#comparison")
    expect(section.locator(".clash")).to_have_text(
        "A study of 3 March 2026 under the same Patient ID is not used: it states another name. Check whose it is."
    )
    expect(section.locator("li")).to_have_count(0)
    row_of(page, 1).locator(".reason").click()
    expect(section).to_be_hidden()
