"""Logging in and out with a real browser, at a real provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.access import sessions
from tests.axe import axe_findings
from tests.browsing import wait_until_live
from tests.gateways import running_gateway
from tests.issuers import ADA, CLIENT_ID, CLIENT_SECRET, Provider, running_provider
from tests.lists import NOTHING, FilledList
from tests.servers import free_ports
from worklist.records import Database


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """The hospital's identity provider, which logs in whoever comes."""
    with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def root(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Root of a gateway that asks for a login."""
    (port,) = free_ports(1)
    choices: dict[str, Any] = {
        "http_port": port,
        "auth": "on",
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_roles_claim": "realm_access.roles",
        "public_url": f"http://127.0.0.1:{port}",
    }
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, "http://127.0.0.1:9", **choices) as url:
        with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
            FilledList(database).add(1, "Roe^Jane", findings=NOTHING, question="Fall, rib pain.")
        yield url


@pytest.fixture
def page(browser: Browser, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page of a browser without cookies, before a provider that logs in Ada; open lists end soon after a log-out."""
    monkeypatch.setattr(sessions, "_LOOK_S", 0.2)
    provider.person = dict(ADA)
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_a_reader_logs_in_works_and_logs_out(page: Page, root: str) -> None:
    """The page that was asked for comes after the login, is live, names the reader, and is gone after the log-out."""
    page.goto(f"{root}/failures")
    button = page.get_by_role("link", name="Log in with the hospital's account")
    expect(button).to_be_visible()
    assert axe_findings(page) == []
    button.click()
    page.wait_for_url(f"{root}/failures")
    page.goto(f"{root}/")
    expect(page.locator("#reader-name")).to_have_text("ada")
    wait_until_live(page)
    assert axe_findings(page) == []
    page.route("**/logout?*", lambda route: route.fulfill(body="Logged out at the provider"))
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/logout?*")
    page.goto(f"{root}/")
    expect(button).to_be_visible()


def test_a_page_whose_login_has_ended_asks_for_another(page: Page, root: str, provider: Provider) -> None:
    """Nobody is left before a list that no longer changes: the page goes to the login, and back from there."""
    page.goto(f"{root}/login/start?next=/%3Fflag%3Dcritical")
    expect(page.locator("#reader-name")).to_have_text("ada")
    page.context.clear_cookies()
    page.reload(wait_until="commit")
    expect(page.get_by_role("link", name="Log in with the hospital's account")).to_be_visible()
    page.goto(f"{root}/login/start?next=/")
    wait_until_live(page)
    page.evaluate("() => { fetch('/logout', {method: 'POST'}); }")  # the page may be gone before its answer
    page.wait_for_url(f"{root}/login?next=%2F", timeout=60_000)
    assert provider.url


def test_a_technologist_opens_a_study_in_an_emergency(page: Page, root: str, provider: Provider) -> None:
    """The panel asks for a reason, and says who has opened the study; it offers no reading, and no note before."""
    provider.person = {"sub": "7", "preferred_username": "tom", "realm_access": {"roles": ["technologist"]}}
    page.goto(f"{root}/login/start?next=/")
    wait_until_live(page)
    page.locator("#rows .name").click()
    form = page.locator("#open-form")
    expect(form).to_be_visible()
    expect(page.locator("#images")).to_be_hidden()
    expect(page.locator("#clinical")).to_be_hidden()
    expect(page.locator("#details .acts")).to_be_hidden()
    assert axe_findings(page) == []
    page.get_by_label("Why must you see it?").press_sequentially("Asked for by Dr Roe on the phone")
    page.get_by_role("button", name="Open it").click()
    expect(page.locator("#opening-list li")).to_contain_text("tom, ")
    expect(page.locator("#opening-list li")).to_contain_text(": Asked for by Dr Roe on the phone")
    expect(form).to_be_hidden()
    expect(page.locator("#images")).to_be_visible()
    expect(page.locator("#note-result")).to_contain_text("An injury is stated")
    page.reload()
    wait_until_live(page)
    page.locator("#rows .name").click()
    expect(page.locator("#images")).to_be_visible()
    expect(form).to_be_hidden()


def test_who_may_not_see_the_list_is_told_so(page: Page, root: str, provider: Provider) -> None:
    """In a sentence that names the roles, with what there is instead, and the way out."""
    provider.person = {"sub": "it", "preferred_username": "ines", "realm_access": {"roles": ["it"]}}
    page.goto(f"{root}/login/start?next=/")
    expect(page.get_by_role("alert")).to_contain_text("ines has the role it: only")
    expect(page.get_by_role("link")).to_have_text(["What failed", "Settings", "Try a film"])
    assert axe_findings(page) == []
    page.route("**/logout?*", lambda route: route.fulfill(body="Logged out at the provider"))
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/logout?*")
