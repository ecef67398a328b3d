"""Logging in by keys and by a proxy, and what is refused: at a running gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from firstread.compose_gateway import build_gateway
from firstread.settings import Settings
from gateway.access.keys import make_key, remove_key
from gateway.access.login import RoleNames, WaysIn
from tests.gateways import running_gateway
from tests.lists import NOTHING, FilledList, uid_of
from worklist.errors import InvalidInput
from worklist.records import Database
from worklist.roles import Role

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens
PROXY, ELSEWHERE = "127.0.0.2", "127.0.0.3"
RADIOLOGIST = {"X-Remote-User": "k.adeyemi", "X-Remote-Roles": "staff; radiology-doctors"}


@dataclass(frozen=True)
class Gateway:
    """A running gateway that asks for a login; keys are by role."""

    url: str
    keys_file: Path
    keys: dict[str, str]

    def client(self, address: str = "127.0.0.1", key: str = "", **headers: str) -> httpx.Client:
        """Somebody at an address of this machine."""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=60, transport=httpx.HTTPTransport(local_address=address)
        )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway, with a proxy at 127.0.0.2."""
    folder = tmp_path_factory.mktemp("gateway")
    file = folder / "keys"
    keys = {role.value: make_key(file, f"a {role}", role) for role in Role}
    choices: dict[str, Any] = {
        "auth": "on",
        "api_keys_file": file,
        "proxy_login": True,
        "trusted_proxies": {PROXY},
        "role_names": {"radiology-doctors": "radiologist"},
        "doorbell_secret": "a secret of the bell",
        "public_url": "https://firstread.hospital.example",
    }
    with running_gateway(folder, "http://127.0.0.1:9", **choices) as url:
        with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
            FilledList(database).add(1, "Roe^Jane", findings=NOTHING)
            FilledList(database).add(2, "Roe^John", findings=NOTHING)
        yield Gateway(url=url, keys_file=file, keys=keys)


def test_only_health_and_the_log_in_page_are_open(gateway: Gateway) -> None:
    """Nothing else is told to somebody who is not logged in, and a browser is led to the log-in page."""
    with gateway.client() as nobody:
        assert [nobody.get(path).status_code for path in ("/health", "/login", "/static/login.css")] == [200] * 3
        assert nobody.get("/ready").status_code in {200, 503}
        answer = nobody.get("/worklist")
        assert (answer.status_code, answer.json()["code"]) == (401, "not_logged_in")
        assert answer.headers["www-authenticate"] == "Bearer"
        page = nobody.get("/?a=1", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/%3Fa%3D1")
        assert nobody.post("/predict", content=b"x" * 10).status_code == 401
        assert nobody.get("/nothing").status_code == 401


def test_a_key_says_who_asks(gateway: Gateway) -> None:
    """A machine acts under its key's name, whatever it says of itself, and does what its role may."""
    with gateway.client(key=gateway.keys["radiologist"]) as machine:
        me = machine.get("/me").json()
        assert (me["name"], me["source"], me["roles"], me["login"]) == ("a radiologist", "key", ["radiologist"], "on")
        assert "read" in me["may"]
        answer = machine.put("/worklist/1.2.3/state", json={"state": "reading", "by": "Somebody Else"})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_study")
    with gateway.client(key=gateway.keys["technologist"]) as machine:
        assert machine.get("/worklist").status_code == 200
        answer = machine.put("/worklist/1.2.3/state", json={"state": "reading", "by": "Dr Roe"})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
        assert "radiologist" in answer.json()["detail"]
    with gateway.client(key=gateway.keys["it"]) as machine:
        page = machine.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 403
        assert "only qa, radiologist, service, technologist may see the reading list" in page.text


def test_the_proxys_groups_say_which_sites_are_seen(tmp_path: Path) -> None:
    """By the group that FIRSTREAD_SEES names; a group that is called like a machine's entry opens nothing."""
    choices: dict[str, Any] = {
        "auth": "on",
        "proxy_login": True,
        "trusted_proxies": {PROXY},
        "sites": {"north": ["North"], "south": ["South"]},
        "sees": {"north-doctors": ["north"], "key:viewer": ["*"]},
    }
    with running_gateway(tmp_path, "http://127.0.0.1:9", **choices) as url:
        with closing(Database(f"sqlite:///{tmp_path / 'firstread.db'}")) as database:
            FilledList(database).add(1, institution="north")
            FilledList(database).add(2, institution="south")
        gateway = Gateway(url=url, keys_file=tmp_path, keys={})
        for groups, seen in (("staff", []), ("north-doctors", [uid_of(1)]), ("key:viewer", [])):
            headers = {"X-Remote-User": "k.adeyemi", "X-Remote-Roles": f"radiologist; {groups}"}
            with gateway.client(PROXY, **headers) as reader:
                found = reader.get("/worklist").json()["items"]
                assert [item["study_instance_uid"] for item in found] == seen


@pytest.mark.parametrize("shown", ["firstread_" + "a" * 43, "firstread_", "Basic a", "secret"])
def test_what_is_no_key_is_refused(gateway: Gateway, shown: str) -> None:
    """A wrong key, an empty one, another scheme."""
    header = shown if shown.startswith("Basic") else f"Bearer {shown}"
    with gateway.client("127.0.1.1", Authorization=header) as machine:
        answer = machine.get("/worklist")
    assert (answer.status_code, answer.json()["code"]) == (401, "login_refused")


def test_a_key_in_an_address_is_refused(gateway: Gateway) -> None:
    """Also a good one, and on every path: addresses are kept by logs, proxies and browsers."""
    key = gateway.keys["service"]
    with gateway.client("127.0.1.2") as machine:
        for address in (f"/worklist?api_key={key}", f"/worklist?x={key}", "/health?access_token=abc", f"/{key}"):
            answer = machine.get(address)
            assert (answer.status_code, answer.json()["code"]) == (400, "key_in_address"), address
            assert "Authorization" in answer.json()["detail"]
            assert key not in answer.text


def test_keys_come_and_go_without_a_restart(gateway: Gateway) -> None:
    """A new key is good at once, and a removed one is not, and so none is once the file is broken."""
    key = make_key(gateway.keys_file, "a viewer", Role.SERVICE)
    with gateway.client("127.0.1.3", key=key) as machine:
        assert machine.get("/me").json()["name"] == "a viewer"
        remove_key(gateway.keys_file, "a viewer")
        assert machine.get("/me").status_code == 401
    whole = gateway.keys_file.read_text(encoding="utf-8")
    gateway.keys_file.write_text("{", encoding="utf-8")
    with gateway.client("127.0.1.3", key=gateway.keys["qa"]) as machine:
        assert machine.get("/me").status_code == 401
        gateway.keys_file.write_text(whole, encoding="utf-8")
        os.utime(gateway.keys_file, (1, 1))
        assert machine.get("/me").status_code == 200


def test_the_proxy_names_readers_and_their_roles(gateway: Gateway) -> None:
    """Groups become roles by the site's own names; who has none of them is told so, and sees nothing."""
    with gateway.client(PROXY, **RADIOLOGIST) as reader:
        me = reader.get("/me").json()
        assert (me["name"], me["source"], me["roles"]) == ("k.adeyemi", "proxy", ["radiologist"])
        assert "k.adeyemi" in reader.get("/", headers={"Accept": "text/html"}).text
    with gateway.client(PROXY, **{"X-Remote-User": "visitor", "X-Remote-Roles": "staff"}) as visitor:
        answer = visitor.get("/worklist")
        assert answer.status_code == 403
        assert "visitor has no role here" in answer.json()["detail"]
        assert visitor.get("/me").json()["may"] == []


def test_the_proxys_header_from_elsewhere_is_refused(gateway: Gateway) -> None:
    """Whoever writes it without being the proxy is refused, and not merely passed over."""
    with gateway.client(ELSEWHERE, **RADIOLOGIST) as stranger:
        answer = stranger.get("/worklist")
    assert (answer.status_code, answer.json()["code"]) == (403, "header_refused")


def test_two_names_of_the_proxy_are_none(gateway: Gateway) -> None:
    """One of them may be the caller's own."""
    headers = [("X-Remote-User", "a"), ("X-Remote-User", "b"), ("X-Remote-Roles", "radiologist")]
    with gateway.client(PROXY) as reader:
        answer = reader.get("/worklist", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_name")


def test_orthancs_plug_in_asks_for_the_order_by_its_secret(gateway: Gateway) -> None:
    """The doorbell's secret opens the order and the bell, and nothing else."""
    with gateway.client("127.0.1.4", key="a secret of the bell") as plugin:
        assert len(plugin.get("/worklist/order").json()["studies"]) == 2
        assert plugin.post("/events/orthanc", json={}).status_code == 202
        assert plugin.get("/worklist").status_code == 401
    with gateway.client("127.0.1.4", key="another secret") as plugin:
        assert plugin.get("/worklist/order").status_code == 401
        assert plugin.post("/events/orthanc", json={}).status_code == 403


def test_whoever_fails_too_often_waits(gateway: Gateway) -> None:
    """After so many wrong keys an address waits a minute, and others do not."""
    with gateway.client("127.0.1.5", key="firstread_" + "b" * 43) as stranger:
        answer = stranger.get("/me")
        assert answer.status_code == 401
        for _ in range(200):  # turns come back meanwhile
            answer = stranger.get("/me")
            if answer.status_code != 401:
                break
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    with gateway.client("127.0.1.6", key=gateway.keys["qa"]) as other:
        assert other.get("/me").status_code == 200


def test_in_an_emergency_one_study_is_opened_for_a_reason(gateway: Gateway) -> None:
    """To whoever gives a reason, that study alone; who it was and why is kept, and shown to all who see the list."""
    one, other = f"/worklist/{uid_of(1)}", f"/worklist/{uid_of(2)}"
    paths = [
        f"{one}/images/1.png",
        f"{one}/steps",
        f"/fhir/DiagnosticReport/{uid_of(1)}",
        *(f"/dicom-web/studies/{uid_of(1)}{rest}" for rest in ("", "/series", "/metadata")),
    ]
    reason = {"reason": "Asked for by Dr Roe on the phone"}
    with gateway.client(key=gateway.keys["technologist"]) as tech, gateway.client(key=gateway.keys["it"]) as it:
        assert {tech.get(path).status_code for path in paths} == {403}
        for nothing in ("", "now", " " * 20, "x" * 301):
            answer = tech.put(f"{one}/opening", json={"reason": nothing})
            assert (answer.status_code, answer.json()["code"]) == (422, "no_reason")
        assert tech.put("/worklist/1.2.3/opening", json=reason).status_code == 404
        assert tech.put(f"{one}/opening", json=reason).status_code == 200
        assert not {tech.get(path).status_code for path in paths} & {401, 403}
        assert tech.get(f"{other}/steps").status_code == 403
        assert tech.get(f"/dicom-web/studies/{uid_of(2)}/series").status_code == 403
        assert tech.get("/dicom-web/series").status_code == 403
        assert it.get(f"{one}/steps").status_code == 403, "it is open to one person"
    with gateway.client(key=gateway.keys["radiologist"]) as reader:
        (opening,) = reader.get(f"{one}/openings").json()["items"]
        assert (opening["by"], opening["reason"]) == ("a technologist", reason["reason"])
        assert reader.get(f"{other}/openings").json()["items"] == []
        assert reader.put(f"{other}/opening", json=reason).status_code == 403, "whoever may open studies needs none"


def test_the_command_line_sends_its_key(gateway: Gateway, tmp_path: Path) -> None:
    """The reading list in a terminal is asked for by FIRSTREAD_API_KEY; without one, the refusal says what to set."""
    environment = os.environ | {"FIRSTREAD_HTTP_PORT": gateway.url.rpartition(":")[2]}
    command = [sys.executable, "-m", "firstread", "worklist", "--json"]

    def listed(**key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment | key, cwd=tmp_path, capture_output=True, text=True, check=False)

    refused = listed()
    assert refused.returncode == 1
    assert "set FIRSTREAD_API_KEY" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert json.loads(listed(FIRSTREAD_API_KEY=gateway.keys["service"]).stdout)["total"] == 2


def test_browsers_are_told_to_stay_with_https(gateway: Gateway) -> None:
    """Where the public address is https (RFC 6797), on refusals too; the public name is one of ours."""
    with gateway.client() as nobody:
        answer = nobody.get("/worklist", headers={"Host": "firstread.hospital.example"})
    assert answer.status_code == 401
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "published", "starts"),
    [
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("::1", "", True),
        (EVERY_ADDRESS, "", False),
        ("10.1.2.3", "", False),
        ("::", "", False),
        ("", "", False),
        (EVERY_ADDRESS, "127.0.0.1", True),
        (EVERY_ADDRESS, "10.1.2.3", False),
        (EVERY_ADDRESS, EVERY_ADDRESS, False),
    ],
)
def test_without_a_login_others_are_not_served(host: str, published: str, *, starts: bool) -> None:
    """A gateway that others reach and that asks nobody to log in does not start, and says what to do.

    In a container it counts where the port is published: Compose says so by the variable by which it publishes it.
    """
    settings = Settings(database_url="sqlite://", http_host=host, http_published_host=published)
    if starts:
        assert build_gateway(settings)
        return
    with pytest.raises(InvalidInput, match="FIRSTREAD_AUTH=on, or FIRSTREAD_HTTP_HOST") as refused:
        build_gateway(settings)
    assert refused.value.code == "open_to_anybody"


def test_roles_by_the_hospitals_words() -> None:
    """The roles' own names hold, the hospital's come beside them, and a default is for who has none of both."""
    names = RoleNames(names={"rad": Role.RADIOLOGIST}, default=Role.TECHNOLOGIST)
    assert names.roles(["rad", "qa", "cooks"]) == {Role.RADIOLOGIST, Role.QA}
    assert names.roles(["cooks"]) == {Role.TECHNOLOGIST}
    assert RoleNames().roles(["cooks", "Radiologist"]) == frozenset()
    assert WaysIn(role_names=names).keys is None
