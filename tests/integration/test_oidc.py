"""Logging in at an identity provider: a real one over HTTP, forged tokens, and what a browser brings back."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import httpx
import pytest
from joserfc.jwk import RSAKey
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from gateway.access import issuer as issuers
from gateway.access import sessions
from gateway.access.oidc import local_path
from tests.gateways import running_gateway
from tests.issuers import ADA, AUDIENCE, CLIENT_ID, CLIENT_SECRET, Provider, running_provider
from tests.lists import FilledList
from worklist.records import Database

Forge = Callable[[Provider], str]
PUBLIC = "http://firstread.hospital.example"


@dataclass(frozen=True)
class Site:
    """A gateway, and the provider at which people log in."""

    url: str
    provider: Provider

    def browser(self, **headers: str) -> httpx.Client:
        """Somebody with a browser, who has not logged in; it follows no redirects by itself."""
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60)

    def leave(self, browser: httpx.Client, following: str = "/") -> str:
        """Go to the provider and log in there; where it sends the browser back to, at this gateway."""
        to_provider = browser.get("/login/start", params={"next": following})
        assert to_provider.status_code == 303, to_provider.text
        back = httpx.get(to_provider.headers["location"], trust_env=False, timeout=60).headers["location"]
        assert back.startswith(f"{PUBLIC}/login/callback?")
        return back.removeprefix(PUBLIC)

    def log_in(self, browser: httpx.Client, following: str = "/") -> httpx.Response:
        """The answer to whoever has come back."""
        return browser.get(self.leave(browser, following))


def logging_in_at(provider: Provider) -> dict[str, Any]:
    """The settings of a gateway that takes logins and access tokens of a provider."""
    return {
        "auth": "on",
        "oidc_issuer": provider.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_roles_claim": "realm_access.roles",
        "oidc_audience": AUDIENCE,
        "public_url": PUBLIC,
        "trusted_proxies": {"127.0.0.1"},
    }


@pytest.fixture(scope="module")
def served_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway that takes logins and access tokens of the provider, and nothing else."""
    with running_provider() as provider:
        folder = tmp_path_factory.mktemp("gateway")
        with running_gateway(folder, "http://127.0.0.1:9", **logging_in_at(provider)) as url:
            yield Site(url=url, provider=provider)


@pytest.fixture
def site(served_site: Site) -> Site:
    """The same, with a provider that errs in nothing."""
    provider = served_site.provider
    provider.person, provider.mistakes, provider.hangs = dict(ADA), {}, False
    return served_site


@pytest.fixture
def address(request: pytest.FixtureRequest) -> dict[str, str]:
    """An address that only this test comes from: failed logins are counted by it."""
    number = crc32(request.node.nodeid.encode())
    return {"X-Forwarded-For": f"10.{number % 250}.{number // 250 % 250}.{number // 62500 % 250 + 1}"}


def test_a_reader_logs_in_and_out(site: Site, address: dict[str, str]) -> None:
    """From the page to the provider and back to the page that was asked for, under the name and role that it tells."""
    with site.browser(**address) as browser:
        page = browser.get("/failures?a=1", headers={"Accept": "text/html"})
        login = browser.get(page.headers["location"])
        assert "Log in with the hospital" in login.text
        assert 'href="/login/start?next=/failures%3Fa%3D1"' in login.text
        answer = site.log_in(browser, "/failures?a=1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/failures?a=1")
        me = browser.get("/me").json()
        assert (me["name"], me["source"], me["roles"]) == ("ada", "session", ["radiologist"])
        assert "Signed in as" in browser.get("/", headers={"Accept": "text/html"}).text
        out = browser.post("/logout")
        told = urlsplit(out.json()["next"])
        assert f"{told.scheme}://{told.netloc}{told.path}" == f"{site.provider.url}/logout"
        assert parse_qs(told.query)["post_logout_redirect_uri"] == [f"{PUBLIC}/login"]
        assert browser.get("/me").status_code == 401


def test_a_cookie_is_nobody_elses(site: Site, address: dict[str, str]) -> None:
    """No script reads it, no other site sends it with a form, and https keeps it to itself."""
    with site.browser(**address) as browser:
        cookie = next(one for one in site.log_in(browser).headers.get_list("set-cookie") if "leaving" not in one)
        assert cookie.startswith("firstread=")
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    with site.browser(**address, **{"X-Forwarded-Proto": "https"}) as browser:
        answer = browser.get("/login/start")
        leaving = answer.headers["set-cookie"]
        assert "Secure" in leaving
        back = (
            httpx.get(answer.headers["location"], trust_env=False, timeout=60).headers["location"].removeprefix(PUBLIC)
        )
        kept = leaving.partition(";")[0]
        cookies = browser.get(back, headers={"Cookie": kept}).headers.get_list("set-cookie")
        cookie = next(one for one in cookies if "leaving" not in one)
        assert cookie.startswith("__Host-firstread=")
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
        secret = cookie.partition(";")[0]
        assert browser.get("/me", headers={"Cookie": secret}).status_code == 200
        tossed = secret.removeprefix("__Host-")
        assert browser.get("/me", headers={"Cookie": tossed}).status_code == 401


def test_logging_out_ends_the_session_and_not_only_the_cookie(site: Site, address: dict[str, str]) -> None:
    """Whoever kept the cookie has nothing; and a session of somebody else goes on."""
    with site.browser(**address) as browser, site.browser(**address) as other:
        site.log_in(browser)
        site.log_in(other)
        kept = browser.cookies["firstread"]
        browser.post("/logout")
        assert other.get("/me").status_code == 200
        with site.browser(**address) as thief:
            thief.cookies["firstread"] = kept
            assert thief.get("/me").status_code == 401


def test_an_open_list_ends_with_its_session(
    site: Site, address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events stop after the log-out, whoever still listens."""
    monkeypatch.setattr(sessions, "_LOOK_S", 0.05)
    with site.browser(**address) as browser:
        site.log_in(browser)
        heard: list[str] = []
        begun = threading.Event()

        def listen() -> None:
            with httpx.stream(
                "GET", f"{site.url}/worklist/events", cookies=browser.cookies, trust_env=False, timeout=60
            ) as events:
                for line in events.iter_lines():
                    heard.append(line)
                    begun.set()

        listener = threading.Thread(target=listen)
        listener.start()
        assert begun.wait(60)
        browser.post("/logout")
        listener.join(60)
        assert not listener.is_alive()
    assert any(line.startswith("event: ") for line in heard)


def test_events_of_workitems_need_a_session_too(
    site: Site, address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser's WebSocket bears its cookie: without one it is refused, and after the log-out it is closed."""
    monkeypatch.setattr(sessions, "_LOOK_S", 0.05)
    channel = f"{site.url.replace('http', 'ws', 1)}/dicom-web/subscribers/VIEWER"
    with pytest.raises(InvalidStatus, match="403"), connect(channel, proxy=None, open_timeout=60):
        pass
    with site.browser(**address) as browser:
        site.log_in(browser)
        cookie = {"Cookie": f"firstread={browser.cookies['firstread']}"}
        with connect(channel, additional_headers=cookie, proxy=None, open_timeout=60) as events:
            browser.post("/logout")
            with pytest.raises(ConnectionClosed):
                events.recv(60)


def test_no_other_site_logs_anybody_out(site: Site, address: dict[str, str]) -> None:
    """A form of another site's page ends no session."""
    with site.browser(**address) as browser:
        site.log_in(browser)
        assert browser.post("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.get("/me").status_code == 200


def test_what_comes_back_is_good_once(site: Site, address: dict[str, str]) -> None:
    """A code and state that are shown again, by the same browser or another, log in nobody."""
    with site.browser(**address) as browser, site.browser(**address) as other:
        back = site.leave(browser)
        kept = dict(browser.cookies)
        assert browser.get(back).status_code == 303
        for thief in (browser, other):
            thief.cookies.delete("firstread") if "firstread" in thief.cookies else None
            answer = thief.get(back)
            assert answer.status_code == 401
            assert "not begun in this browser" in answer.text
        other.cookies.update(kept)  # even with the cookie: the provider knows the code no more
        answer = other.get(back)
        assert answer.status_code == 401
        assert "invalid_grant" in answer.text
        assert other.get("/me").status_code == 401


@pytest.mark.parametrize("change", ["state", "iss", "error", "code"])
def test_an_answer_that_does_not_fit_is_refused(site: Site, address: dict[str, str], change: str) -> None:
    """Another state, another provider, an error, a code of somebody's own."""
    with site.browser(**address) as browser:
        back = urlsplit(site.leave(browser))
        brought = {name: values[0] for name, values in parse_qs(back.query).items()} | {change: "another"}
        answer = browser.get(back.path, params=brought)
        assert answer.status_code == 401
        assert browser.get("/me").status_code == 401


MISTAKES: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "another audience": {"aud": "another client"},
    "no audience": {"aud": None},
    "another party": {"azp": "another client"},
    "another issuer": {"iss": "https://another.example"},
    "expired": {"exp": int(time.time()) - 3600},
    "no end": {"exp": None},
    "no beginning": {"iat": None},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "of the future": {"iat": int(time.time()) + 3600},
    "too long a name": {"preferred_username": "x" * 65},
    "two lines": {"preferred_username": "a\nb"},
    "no name": {"preferred_username": None, "sub": None},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_id_token_that_is_not_for_this_login_is_refused(site: Site, address: dict[str, str], mistake: str) -> None:
    """Each claim that must hold, once wrong and once missing."""
    site.provider.mistakes = MISTAKES[mistake]
    with site.browser(**address) as browser:
        assert site.log_in(browser).status_code == 401
        assert browser.get("/me").status_code == 401


def test_a_little_skew_of_the_clocks_is_none(site: Site, address: dict[str, str]) -> None:
    """A provider whose clock is half a minute ahead, or behind, logs people in."""
    for skew in (30, -30):
        now = int(time.time()) + skew
        site.provider.mistakes = {"iat": now, "nbf": now, "exp": now + (15 if skew < 0 else 300)}
        with site.browser(**address) as browser:
            assert site.log_in(browser).status_code == 303


def test_who_has_no_role_is_told_so(site: Site, address: dict[str, str]) -> None:
    """Logged in, and nothing to see: a page that says what to do, and the way out."""
    site.provider.person = {"sub": "4712"}
    with site.browser(**address) as browser:
        assert site.log_in(browser).status_code == 303
        page = browser.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 403
        assert "4712 has no role here" in page.text
        assert browser.get("/me").json()["may"] == []
        assert browser.post("/logout").status_code == 200


# ---- Access tokens of machines, and forged ones ----


def test_a_login_sees_the_sites_of_its_groups(tmp_path: Path, address: dict[str, str]) -> None:
    """People and machines, by the groups that the provider tells, as of the login."""
    with running_provider() as provider:
        choices = {
            **logging_in_at(provider),
            "sites": {"north": ["North"], "south": ["South"]},
            "sees": {"north-doctors": ["north"], "pacs": ["*"]},
        }
        with running_gateway(tmp_path, "http://127.0.0.1:9", **choices) as url:
            with closing(Database(f"sqlite:///{tmp_path / 'firstread.db'}")) as database:
                FilledList(database).add(1, institution="north")
                FilledList(database).add(2, institution="south")
            site = Site(url=url, provider=provider)
            for groups, seen in (([], 0), (["north-doctors"], 1), (["pacs"], 2)):
                provider.person = {**ADA, "realm_access": {"roles": ["radiologist", *groups]}}
                with site.browser(**address) as browser:
                    assert site.log_in(browser).status_code == 303
                    assert browser.get("/worklist").json()["total"] == seen
                    provider.person = dict(ADA)
                    assert browser.get("/worklist").json()["total"] == seen
                token = provider.access_token(realm_access={"roles": ["service", *groups]})
                with site.browser(**address, Authorization=f"Bearer {token}") as machine:
                    assert machine.get("/worklist").json()["total"] == seen


def test_a_machine_sends_an_access_token(site: Site, address: dict[str, str]) -> None:
    """Under the name and the roles that it tells."""
    with site.browser(**address, Authorization=f"Bearer {site.provider.access_token()}") as machine:
        me = machine.get("/me").json()
        assert (me["name"], me["source"], me["roles"]) == ("ada", "token", ["radiologist"])
        assert machine.get("/worklist").status_code == 200


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _by_hand(provider: Provider, algorithm: str, secret: bytes = b"") -> str:
    """A token that no library makes: unsigned, or signed by what everybody knows."""
    header = {"alg": algorithm, "kid": provider.key.kid, "typ": "JWT"}
    signed = ".".join(_part(json.dumps(one).encode()) for one in (header, provider.claims(aud=AUDIENCE)))
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), 'sha256')) if secret else ''}"


def _changed(provider: Provider) -> str:
    header, _, signature = provider.access_token().split(".")
    claims = json.dumps(provider.claims(aud=AUDIENCE, preferred_username="root"))
    return ".".join((header, _part(claims.encode()), signature))


FORGED: dict[str, Forge] = {
    "expired": lambda provider: provider.access_token(exp=int(time.time()) - 3600),
    "not yet valid": lambda provider: provider.access_token(nbf=int(time.time()) + 3600),
    "of the future": lambda provider: provider.access_token(iat=int(time.time()) + 3600),
    "without an end": lambda provider: provider.access_token(exp=None),
    "wrong audience": lambda provider: provider.signed(provider.claims(aud="another")),
    "an ID token": lambda provider: provider.access_token(nonce="a"),
    "wrong issuer": lambda provider: provider.access_token(iss="https://another.example"),
    "none": lambda provider: _by_hand(provider, "none"),
    "None": lambda provider: _by_hand(provider, "None"),
    "HS256 with the public key": lambda provider: _by_hand(provider, "HS256", provider.key.as_pem(private=False)),
    "another's key": lambda provider: provider.signed(provider.claims(aud=AUDIENCE), RSAKey.generate_key(2048)),
    "unknown key": lambda provider: provider.signed(
        provider.claims(aud=AUDIENCE), RSAKey.generate_key(2048), kid="another"
    ),
    "changed": _changed,
    "cut off": lambda provider: provider.access_token()[:-20],
    "no token": lambda _: "a.b.c",
    "too long": lambda provider: provider.access_token(more="x" * 20_000),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_is_refused(site: Site, address: dict[str, str], kind: str) -> None:
    """Whatever is wrong with it, it opens nothing, and the refusal repeats nothing of it."""
    token = FORGED[kind](site.provider)
    with site.browser(**address, Authorization=f"Bearer {token}") as machine:
        answer = machine.get("/worklist")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")
    assert token not in answer.text


def test_keys_that_are_changed_are_asked_for_again(
    site: Site, address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of a new key is good at once; unknown keys make the gateway ask no more than so often."""
    monkeypatch.setattr(issuers, "_AGAIN_S", 0.0)
    site.provider.rotate("second")
    with site.browser(**address) as machine:
        good = {"Authorization": f"Bearer {site.provider.access_token()}"}
        assert machine.get("/me", headers=good).status_code == 200
        monkeypatch.setattr(issuers, "_AGAIN_S", 3600.0)
        before = site.provider.asked.count("/keys")
        unknown = site.provider.signed(site.provider.claims(aud=AUDIENCE), RSAKey.generate_key(2048), kid="third")
        for _ in range(5):
            assert machine.get("/me", headers={"Authorization": f"Bearer {unknown}"}).status_code == 401
        assert site.provider.asked.count("/keys") == before
        assert machine.get("/me", headers=good).status_code == 200


def test_a_provider_that_hangs_harms_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs in is told in one line after a while; health, and who shows a key, go on at once."""
    monkeypatch.setattr(issuers, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(issuers, "_PAUSE_S", 3600.0)
    with running_provider() as provider:
        provider.hangs = True
        choices: dict[str, Any] = {
            "auth": "on",
            "oidc_issuer": provider.url,
            "oidc_audience": AUDIENCE,
            "public_url": PUBLIC,
        }
        with running_gateway(tmp_path, "http://127.0.0.1:9", **choices) as url:
            page = httpx.get(f"{url}/login/start", trust_env=False, timeout=60)
            assert page.status_code == 503
            assert f"the identity provider {provider.url} cannot be used: no answer within" in page.text
            token = {"Authorization": f"Bearer {provider.access_token()}"}
            answer = httpx.get(f"{url}/worklist", headers=token, trust_env=False, timeout=60)
            assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
            assert httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200
            monkeypatch.setattr(issuers, "_PATIENCE_S", 600.0)  # so that nobody waits for it again at once
            assert httpx.get(f"{url}/login/start", trust_env=False, timeout=60).status_code == 503


def test_a_provider_that_goes_away_meanwhile_costs_one_login(
    site: Site, address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes back from it is told so, and begins anew; whoever is logged in goes on; once it is back, all is."""
    monkeypatch.setattr(issuers, "_PAUSE_S", 0.0)
    with site.browser(**address) as reader, site.browser(**address) as late:
        assert site.log_in(reader).status_code == 303
        back = site.leave(late)
        monkeypatch.setattr(issuers, "_PATIENCE_S", 0.5)
        site.provider.hangs = True
        page = late.get(back)
        assert page.status_code == 503
        assert f"the identity provider {site.provider.url} cannot be used: no answer within" in page.text
        assert "/login/start" in page.text
        assert late.get("/me").status_code == 401
        assert reader.get("/me").status_code == 200
        site.provider.hangs = False
        assert late.get(back).status_code in {400, 401}, "what came back is good once"
        monkeypatch.setattr(issuers, "_PATIENCE_S", 60.0)
        assert site.log_in(late).status_code == 303
        assert late.get("/me").json()["name"] == "ada"


def test_a_provider_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Nobody listens at its address: 503 in a page that says so, and the log-in page itself stands."""
    choices: dict[str, Any] = {"auth": "on", "oidc_issuer": "http://127.0.0.1:9", "oidc_audience": AUDIENCE}
    with running_gateway(tmp_path, "http://127.0.0.1:9", public_url=PUBLIC, **choices) as url:
        page = httpx.get(f"{url}/login/start", trust_env=False, timeout=60)
        assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (503, "text/html")
        assert "the identity provider http://127.0.0.1:9 cannot be used" in page.text
        assert httpx.get(f"{url}/login", trust_env=False, timeout=60).status_code == 200


def test_tokens_of_known_keys_are_good_while_the_provider_hangs(
    site: Site, address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are asked for again each hour; whoever sends a token does not have to wait for that, nor is refused."""
    with site.browser(**address, Authorization=f"Bearer {site.provider.access_token()}") as machine:
        assert machine.get("/me").status_code == 200
        monkeypatch.setattr(issuers, "_PATIENCE_S", 0.3)
        monkeypatch.setattr(issuers, "_PAUSE_S", 0.0)
        monkeypatch.setattr(issuers, "_FRESH_S", 0.0)
        site.provider.hangs = True
        assert [machine.get("/me").status_code for _ in range(3)] == [200] * 3
        monkeypatch.setattr(issuers, "_STALE_S", 0.0)
        assert machine.get("/me").status_code == 503


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("/failures?a=1", "/failures?a=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: b", "/"),
        ("", "/"),
    ],
)
def test_a_login_ends_at_this_gateway(told: str, path: str) -> None:
    """Whatever a link says, nobody is sent to another site."""
    assert local_path(told) == path
