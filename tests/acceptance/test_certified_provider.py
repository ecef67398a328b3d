"""Logging in at a certified OpenID Provider: what is not ours says that we speak as the standard has it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.gateways import running_gateway
from tests.issuers import AUDIENCE, CLIENT_ID, CLIENT_SECRET
from tests.servers import free_ports

INSTALLED = Path(sys.prefix) / "share" / "oidc-provider"
SOURCE = Path(__file__).parents[1] / "provider" / "provider.mjs"


@contextmanager
def running_provider(folder: Path, port: int, redirect: str) -> Iterator[str]:
    """Its identifier."""
    if not (INSTALLED / "installed").is_file() or not shutil.which("node"):
        pytest.skip(f"needs npm's oidc-provider in {INSTALLED} and Node.js: make setup")
    script = folder / SOURCE.name
    shutil.copy(SOURCE, script)
    (folder / "node_modules").symlink_to(INSTALLED / "node_modules")
    with subprocess.Popen(
        ["node", script, str(port), redirect], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout
            assert any(line == "ready\n" for line in process.stdout), "it ended"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_a_certified_provider_logs_in_people_and_machines(tmp_path: Path) -> None:
    """A reader through its own forms, a machine by a token that it signs; and its log-out is where it says."""
    own, port = free_ports(2)
    root = f"http://127.0.0.1:{own}"
    with running_provider(tmp_path, port, f"{root}/login/callback") as issuer:
        choices = {
            "auth": "on",
            "oidc_issuer": issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_audience": AUDIENCE,
            "public_url": root,
        }
        with (
            running_gateway(tmp_path, "http://127.0.0.1:9", http_port=own, **choices),  # type: ignore[arg-type] # as JSON
            httpx.Client(trust_env=False, timeout=60, follow_redirects=True) as browser,
        ):
            form = browser.get(f"{root}/login/start?next=/me")
            consent = submitted(browser, form, {"login": "ada", "password": "any"})
            me = submitted(browser, consent, {})
            assert str(me.url) == f"{root}/me"
            assert (me.json()["name"], me.json()["roles"]) == ("ada", ["radiologist"])
            login = ("firstread", "a%20secret%3A%20of%20%2Bthe%20client%25")  # RFC 6749 section 2.3.1
            asked = {"grant_type": "client_credentials", "resource": "https://firstread.example", "scope": "api"}
            token = httpx.post(f"{issuer}/token", data=asked, auth=login, trust_env=False).json()["access_token"]
            machine = httpx.get(f"{root}/me", headers={"Authorization": f"Bearer {token}"}, trust_env=False).json()
            assert (machine["name"], machine["source"], machine["roles"]) == ("a machine", "token", ["service"])
            assert browser.post(f"{root}/logout").json()["next"].startswith(f"{issuer}/session/end?client_id=")
            assert browser.get(f"{root}/me").status_code == 401


def submitted(browser: httpx.Client, page: httpx.Response, fields: Mapping[str, str]) -> httpx.Response:
    """The answer to a page's form, with these fields filled in."""
    action = re.search(r'action="([^"]+)"', page.text)
    assert action, page.text
    hidden = dict(re.findall(r'name="([^"]+)" value="([^"]+)"', page.text))
    return browser.post(action[1], data={**hidden, **fields})
