"""The samples of docs/operations.md: nginx and Caddy before a gateway, run as they stand but for ports and files."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.gateways import running_gateway
from tests.lists import NOTHING, FilledList
from tests.servers import REPOSITORY, free_ports
from worklist.records import Database

NAME = "firstread.hospital"
PATIENCE_S = 60.0


def sample(language: str) -> str:
    """A sample of the page."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def command(proxy: str, folder: Path, port: int, gateway: str) -> list[str]:
    """How a proxy is started with its sample, on a port of its own and under a certificate of the test's."""
    text = sample(proxy).replace("127.0.0.1:8080", gateway.removeprefix("http://"))
    text = text.replace("/etc/ssl/", f"{folder}/")
    if proxy == "nginx":
        text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
        paths = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        frame = f"daemon off; user root; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        (folder / "conf").write_text(f"{frame}http {{ access_log off; {paths}\n{text}}}\n", encoding="utf-8")
        return ["nginx", "-c", str(folder / "conf"), "-p", str(folder)]
    text = text.replace(f"{NAME} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1", 1)
    options = "\tadmin off\n\tauto_https off\n\tgrace_period 1s\n"
    (folder / "conf").write_text(f"{{\n{options}}}\n{text}", encoding="utf-8")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "conf")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway as the page has it set, with a study on its list."""
    folder = tmp_path_factory.mktemp("gateway")
    public, proxies = f"https://{NAME}", {"127.0.0.1"}
    with running_gateway(
        folder, "http://127.0.0.1:9", allowed_hosts={NAME}, public_url=public, trusted_proxies=proxies
    ) as url:
        with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
            FilledList(database).add(1, "Roe^Jane", findings=NOTHING)
        yield url


@contextmanager
def running_proxy(proxy: str, folder: Path, gateway: str) -> Iterator[int]:
    """A proxy before it; its port."""
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "firstread.key", "-out", "firstread.pem")
    subject = ("-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")
    subprocess.run(["openssl", *made, *subject], cwd=folder, check=True, capture_output=True)
    (port,) = free_ports(1)
    environment = {"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    process = subprocess.Popen(command(proxy, folder, port, gateway), env=environment, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def asked(port: int, folder: Path) -> httpx.Client:
    """A client that calls the site by its name, under the certificate that it has."""
    trusted = ssl.create_default_context(cafile=folder / "firstread.pem")
    return httpx.Client(
        base_url=f"https://127.0.0.1:{port}",
        headers={"Host": NAME},
        verify=trusted,
        trust_env=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_a_sample_serves_all_that_people_and_viewers_ask(proxy: str, gateway: str, tmp_path: Path) -> None:
    """Page, events at once, a WebSocket, a claim, an upload of 40 MB; no doorbell from outside, no forged name."""
    if not shutil.which(proxy, path="/usr/sbin:/usr/bin"):
        pytest.skip(f"{proxy} is not installed: make setup")
    with running_proxy(proxy, tmp_path, gateway) as port, asked(port, tmp_path) as client:
        by_name = {"extensions": {"sni_hostname": NAME}}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                page = client.get("/", **by_name)  # type: ignore[arg-type]
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, (tmp_path / "conf").read_text()
                time.sleep(0.1)
        assert page.status_code == 200, page.text
        assert "Reading list" in page.text
        assert "max-age" in page.headers["strict-transport-security"]
        assert client.post("/events/orthanc", **by_name).status_code == 404  # type: ignore[arg-type]
        (study,) = client.get("/worklist", **by_name).json()["items"]  # type: ignore[arg-type]
        with client.stream("GET", "/worklist/events", **by_name) as events:  # type: ignore[arg-type]
            assert "heartbeat" in next(iter(events.iter_text()))
        address = f"/worklist/{study['study_instance_uid']}/state"
        body = {"state": "reading", "by": "Ann"}
        forged = {"X-Remote-User": "Mallory"}
        claimed = client.put(address, json=body, headers=forged, **by_name).json()  # type: ignore[arg-type]
        assert claimed["reading"]["by"] == "Ann", claimed
        large = {"file": ("film.dcm", b"\0" * 40_000_000)}
        assert client.post("/predict", files=large, **by_name).status_code == 415  # type: ignore[arg-type]
        trusted = ssl.create_default_context(cafile=tmp_path / "firstread.pem")
        uri = f"wss://{NAME}/dicom-web/subscribers/VIEWER"
        plain = socket.create_connection(("127.0.0.1", port))
        with connect(uri, sock=plain, ssl=trusted, proxy=None, open_timeout=PATIENCE_S):
            pass
