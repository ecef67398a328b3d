"""The page is called live only while it is, and nothing that happens meanwhile is missed."""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from gateway.list.hub import ListHub
from tests.acceptance.conftest import RunningSite
from tests.browsing import STOPPABLE, ask_once, expect_order, row_of, stop_clocks, wait_until
from tests.list_gateway import ListGateway, running_list
from tests.lists import CARD, PNEUMOTHORAX, FilledList, uid_of
from tests.relays import relay_to

OpenPage = Callable[..., Page]
HEAR_CONNECTION = """() => {
    window.said = [];
    const connection = document.getElementById('connection');
    new MutationObserver(() => said.push(connection.textContent)).observe(connection, {childList: true});
}"""


def test_a_silent_gateway_is_not_live(morning: FilledList, gateway: ListGateway, open_page: OpenPage) -> None:
    """Where bytes stop and nothing is closed, the page says within 20 s as of when it is, and then makes up for all."""
    with relay_to(gateway.url) as (relay, url):
        page = open_page(url=url)
        relay.freeze()
        connection = page.locator("#connection")
        expect(connection).to_contain_text("Not live: list as of", timeout=60_000)
        morning.score(uid_of(8), PNEUMOTHORAX)
        morning.read(1, "Dr. Marchetti")
        relay.thaw()
        expect(connection).to_have_text("Live", timeout=60_000)
        expect_order(page, morning)
        page.close()


def test_a_quiet_list_stays_live(morning: FilledList, open_page: OpenPage) -> None:
    """Where nothing happens, heartbeats alone keep the page live for longer than it would wait."""
    with running_list(morning, heartbeat=timedelta(seconds=1)) as gateway:  # a second: however slow the machine is
        page = open_page(url=gateway.url)
        page.evaluate(HEAR_CONNECTION)
        page.wait_for_timeout(18_000)
        assert page.evaluate("window.said") == []
        expect(page.locator("#connection")).to_have_text("Live")
        script = page.request.get(f"{gateway.url}static/feed.js").text()
        page.close()
    (silence_ms,) = re.findall(r"^const SILENCE_MS = ([0-9_]+);", script, re.MULTILINE)
    beat: timedelta = inspect.signature(ListHub).parameters["heartbeat"].default
    assert beat + timedelta(seconds=3) < timedelta(milliseconds=int(silence_ms)) < timedelta(seconds=15)


def test_a_connection_that_broke_goes_on_where_it_was(
    morning: FilledList, gateway: ListGateway, open_page: OpenPage
) -> None:
    """After a cut the page hears what it missed by its number, without asking for the whole list again."""
    with relay_to(gateway.url) as (relay, url):
        page = open_page(url=url, prelude=STOPPABLE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate(HEAR_CONNECTION)
        stop_clocks(page)  # after too long a silence it would ask for all
        relay.freeze()
        morning.add(13, "Late^Arrival")
        morning.read(1, "Dr. Marchetti")
        relay.cut()
        relay.thaw()
        expect(row_of(page, 13)).to_be_visible(timeout=60_000)
        expect(row_of(page, 1)).to_have_count(0)
        expect(page.locator("#connection")).to_have_text("Live")
        assert re.match(r"Not live: list as of \d.*, reconnecting", page.evaluate("window.said")[0])
        assert not [asking for asking in asked if "offset=" in asking]
        expect_order(page, morning)
        page.close()


def test_a_page_that_missed_too_much_asks_for_all_of_it(
    morning: FilledList, gateway: ListGateway, open_page: OpenPage
) -> None:
    """Told to, it fetches the whole list anew, and forgets what is no longer on it."""
    page = open_page(
        prelude="""
        const Source = EventSource;
        window.EventSource = function (url) {
            window.source = new Source(url);
            return window.source;
        };
        window.EventSource.CLOSED = Source.CLOSED;
    """
    )
    morning.change(uid_of(1), quietly=True, reading_state="prior")
    page.evaluate("window.source.dispatchEvent(new Event('resync'))")
    expect(row_of(page, 1)).to_have_count(0)
    expect(row_of(page, 2)).to_be_visible()
    assert gateway.listed is morning


def test_a_count_that_differs_is_looked_into(morning: FilledList, open_page: OpenPage) -> None:
    """Where the heartbeats' count stays another than the page's own, something was missed, and all is asked anew."""
    page = open_page()
    morning.change(uid_of(1), quietly=True, reading_state="prior")
    expect(row_of(page, 1)).to_have_count(0, timeout=60_000)


def test_a_lost_connection_shows_wherever_the_reader_is(
    listed: FilledList, gateway: ListGateway, open_page: OpenPage
) -> None:
    """Scrolled far down, and beside the details on a narrow screen, a list that is not live says so in the window."""
    for number in range(60):
        listed.add(200 + number, f"Name^{number}", minutes=number)
    with relay_to(gateway.url) as (relay, url):
        page = open_page(800, url=url)
        row = page.locator("#rows tr").nth(40)
        row.scroll_into_view_if_needed()
        row.locator(".patient .quiet").click()
        connection = page.locator("#connection")
        expect(connection).not_to_be_in_viewport()
        relay.close()
        expect(connection).to_contain_text("Not live: list as of")
        expect(connection).to_be_in_viewport(ratio=1)
        on_top = """node => {
            const { left, top } = node.getBoundingClientRect();
            return document.elementFromPoint(left + 8, top + 8) === node;
        }"""
        assert connection.evaluate(on_top)
        page.close()


@pytest.mark.usefixtures("morning")
def test_a_live_list_that_may_be_incomplete_says_so(gateway: ListGateway, open_page: OpenPage) -> None:
    """Where the gateway cannot reach Orthanc or the broker, the page does not just say Live."""
    page = open_page()
    gateway.away = {"orthanc", "broker"}
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    connection = page.locator("#connection")
    expect(connection).to_contain_text("may be missing: no answer from the broker and Orthanc")
    gateway.away = {"disk", "pacs_disk", "work"}
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    full = "hardly any room on Firstread's disk and Orthanc's disk"
    expect(connection).to_contain_text(f"may be missing: no answer from the AI, {full}")
    gateway.away = set()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(connection).to_have_text("Live")


@pytest.mark.usefixtures("morning")
def test_what_the_gateway_lacked_before_is_not_told_again(gateway: ListGateway, open_page: OpenPage) -> None:
    """An answer that comes behind the answer to a later question changes nothing."""
    held: list[Route] = []

    def hold_first(page: Page) -> None:
        page.route("**/ready", lambda route: route.continue_() if held else held.append(route))

    page = open_page(routed=hold_first)
    wait_until(page, lambda: len(held) == 1)
    gateway.away = {"broker"}
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    connection = page.locator("#connection")
    expect(connection).to_contain_text("no answer from the broker")
    with page.expect_response("**/ready"):
        held[0].fulfill(json={"checks": {}})
    ask_once(page)
    expect(connection).to_contain_text("no answer from the broker")


def test_another_model_changes_the_head(morning: FilledList, open_page: OpenPage) -> None:
    """A study that a new model has judged makes the page ask what that one looks for."""
    page = open_page()
    findings = tuple(replace(found, critical_from=None, critical_precision=None) for found in CARD.findings)
    card = replace(CARD, name="another", version="2", sha256="a1" * 32, findings=findings)
    morning.change_model(uid_of(8), card, PNEUMOTHORAX)
    scope = page.locator("#scope")
    expect(scope).to_contain_text("The AI (another 2) looks for")
    expect(scope.get_by_text("It flags nothing as critical.")).to_be_visible()


def test_a_frozen_gateway_is_not_live(running: RunningSite, open_page: OpenPage) -> None:
    """Where the gateway's process stops, Live is gone within 15 s, and back once it goes on."""
    page = open_page(url=f"{running.site.gateway_url}/", routed=lambda page: page.clock.install())
    connection = page.locator("#connection")
    gateway = running.supervisor.pid("gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        page.clock.fast_forward(15_000)
        expect(connection).to_contain_text("Not live: list as of")
    finally:
        os.kill(gateway, signal.SIGCONT)
    expect(connection).to_have_text("Live", timeout=60_000)
    page.close()


def test_a_page_whose_files_did_not_all_come_is_loaded_again(morning: FilledList, open_page: OpenPage) -> None:
    """One file of the script that is lost on the way leaves no page that stands still: it says so, and comes whole."""
    lost: list[str] = []

    def lose_once(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.request.url)
            route.abort("connectionreset")

    page = open_page(routed=lambda page: page.route("**/static/readings.js", lose_once))
    assert len(lost) == 1
    expect_order(page, morning)
