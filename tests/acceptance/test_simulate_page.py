"""The page /simulate in a real browser: a room is described, simulated, and its waits are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from gateway.list.pages import mount_static
from gateway.problems import install_problems
from gateway.simulate.routes import SimulatedModel, build_simulate
from models.evaluation.shipped import scorer_card, shipped_aucs
from tests.axe import axe_findings
from tests.gateways import served
from tests.list_gateway import SITE
from worklist.job import JobLimits
from worklist.records import Database, JobRecords
from worklist.simulation.orders import Order
from worklist.site import SiteRules
from worklist.triage import SiteChoices, TriagePolicy

SMALL = {"run": "1", "days": "7", "films_per_day": "60", "counts_pleural_effusion": "1"}
_SLOW_MS = 700_000  # a simulation on a machine that has much else to do

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def url(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[str]:
    """The page, served as the gateway serves it before any worker has started."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    usual = TriagePolicy.of(scorer_card("embedded"), SiteChoices())
    with closing(Database(f"sqlite:///{file}")) as database:
        app = FastAPI()
        install_problems(app)
        jobs = JobRecords(database, SiteRules(), JobLimits())
        app.include_router(build_simulate(jobs, SimulatedModel(usual=lambda: usual, aucs=shipped_aucs), SITE))
        mount_static(app)
        with served(app) as root:
            yield f"{root}/simulate"


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end of the test, any script error, and any refusal by the page's policy, fails it."""
    troubles: list[str] = []
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            troubles.append(message.text)

    def opened(width: int = 1400, *, scheme: Literal["light", "dark"] = "dark") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(_SLOW_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def fill(page: Page, **values: str) -> None:
    """Write into fields, by their label."""
    for name, value in values.items():
        page.locator(f"#{name}").fill(value)


def simulate(page: Page) -> None:
    """Press the button and wait for the page that answers."""
    page.get_by_role("button", name="Simulate").click()
    expect(page.locator("#outcome, .failure").first).to_be_visible(timeout=_SLOW_MS)


def test_a_room_is_simulated_by_keyboard_alone(open_page: Callable[..., Page]) -> None:
    """Enter in any field sends the form; each group has a line for each order, and what was chosen stays chosen."""
    page = open_page()
    expect(page.locator(".blank")).to_be_visible()
    fill(page, films_per_day="60", days="7")
    page.locator("#days").press("Enter")
    expect(page.get_by_role("heading", name="How long studies wait, in minutes")).to_be_visible(timeout=_SLOW_MS)
    expect(page.locator("#films_per_day")).to_have_value("60")
    first = page.locator(".waits").first
    expect(first.locator("caption")).to_contain_text("All studies")
    expect(first.locator("tbody th")).to_have_text([order.label for order in Order])
    assert "days=7" in page.url, "the address holds the choices, so that it may be kept and sent"
    bars = first.locator("rect").evaluate_all("bars => bars.map(bar => Number(bar.getAttribute('width')))")
    assert len(bars) == 3 * len(Order)
    assert all(0 < bar <= 100 for bar in bars)


def test_a_finding_that_does_not_count_is_not_moved(open_page: Callable[..., Page]) -> None:
    """As shipped pneumothorax waits as before; once it counts and is seen well, it waits less."""
    page = open_page()
    fill(page, films_per_day="60", days="7")
    simulate(page)
    expect(page.get_by_label("Pneumothorax counts")).not_to_be_checked()
    before = _mean(page, "Pneumothorax")
    page.get_by_label("Pneumothorax counts").check()
    page.get_by_label("Pneumothorax, AUC").fill("0.97")
    simulate(page)
    expect(page.get_by_label("Pneumothorax counts")).to_be_checked()
    assert _mean(page, "Pneumothorax") < before


def _mean(page: Page, group: str) -> float:
    table = page.locator(".waits").filter(has=page.locator("caption", has_text=group)).first
    return float(table.locator(f"[data-order={Order.FIRSTREAD}] td").first.inner_text().split()[0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"films_per_day": "700", "days": "1"}, "More arrives than can be read"),
        ({"films_per_day": "1000", "days": "90"}, "films in 5 runs are too many here"),
        ({"readers": "sometimes"}, "'sometimes' is no shift: write shifts as in"),
        ({"readers": "mon 08-09 1\n" * 60}, "the shifts take more than 400 letters"),
        ({"days": "many"}, "Days that count: 'many' is no number from 1 to 180"),
        ({"days": "nan"}, "Days that count: 'nan' is no number"),
        ({"auc_pneumothorax": "1.5"}, "Pneumothorax, AUC: '1.5' is no number from 0.5 to 0.999"),
        ({"least_head_start_min": "1200"}, "must be shorter than the longest"),
        ({"weight_pleural_effusion": "0"}, "no finding counts: tick at least one"),
        ({"readers": "<script>alert(1)</script>"}, "is no shift"),
    ],
)
def test_a_choice_that_cannot_be_met_is_told_in_a_line(url: str, wrong: dict[str, str], said: str) -> None:
    """The answer is 422 with one sentence, the form as it was filled in, and nothing was run."""
    answer = httpx.get(url, params=SMALL | wrong, trust_env=False, timeout=_SLOW_MS)
    assert answer.status_code == 422
    assert said.lower().replace("'", "&#39;") in answer.text.lower()
    assert answer.text.count('role="alert"') == 1
    assert "<script" not in answer.text


def test_one_simulation_runs_at_a_time_and_is_kept(url: str) -> None:
    """Of many requests at once each gets its answer or is told to come back; the same one again is not run twice."""
    wanted = [SMALL | {"steepness": str(1 + index)} for index in range(8)]

    def ask(params: dict[str, str]) -> httpx.Response:
        return httpx.get(url, params=params, trust_env=False, timeout=_SLOW_MS)

    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(ask, wanted))
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert all("Other simulations are running" in answer.text for answer in refused)
    assert all(answer.headers["Retry-After"] for answer in refused)
    served_ones = [answer for answer in answers if answer.status_code == 200]
    again = httpx.get(str(served_ones[0].url), trust_env=False, timeout=_SLOW_MS)
    assert again.text == served_ones[0].text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1400])
def test_nothing_keeps_people_out(scheme: Literal["light", "dark"], width: int, open_page: Callable[..., Page]) -> None:
    """axe-core finds nothing, and nothing scrolls sideways: the empty form, an outcome, and a refusal."""
    page = open_page(width, scheme=scheme)
    for days in ("", "7", "999"):
        if days:
            fill(page, films_per_day="60")
            page.locator("#days").evaluate("(field, days) => { field.max = 1000; field.value = days; }", days)
            simulate(page)
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_page_lets_nothing_else_in(url: str) -> None:
    """It has the headers of the other pages, and its form may be sent to this site alone."""
    headers = httpx.get(url, trust_env=False).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "form-action 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
