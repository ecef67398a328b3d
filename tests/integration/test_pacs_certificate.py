"""HTTPS to Orthanc under the hospital's own authority, and what is said of a certificate that is not right."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset

from firstread.doctor import examine
from firstread.settings import Settings
from gateway.intake.orthanc import OrthancClient
from gateway.problems import MEDIA_TYPE
from tests.bad_films import chest
from tests.gateways import running_gateway
from tests.proxies import proxied
from tests.servers import OrthancServer
from worker.pacs import Pacs
from worklist.errors import InvalidInput, PacsUnavailable
from worklist.pacs_connection import trusting

AUTHORITY, FOREIGN = "authority", "foreign"
FAULTS = {
    "expired": "has expired: renew it",
    FOREIGN: "comes from an authority that is not trusted",
    "self-made": "is made by itself, and no authority vouches for it",
    "elsewhere": "is for another host",
}


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME.pem holds a certificate and its key, each right or wrong in one way; authority.crt vouches for most."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in (AUTHORITY, FOREIGN):
        subject = ("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign")
        made = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt")
        openssl(folder, "req", "-x509", *made, *subject)
    for name, issuer, host, days in (
        ("right", AUTHORITY, "127.0.0.1", "2"),
        ("expired", AUTHORITY, "127.0.0.1", "-1"),
        ("from-foreign", FOREIGN, "127.0.0.1", "2"),
        ("elsewhere", AUTHORITY, "192.0.2.7", "2"),
    ):
        openssl(
            folder,
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            "/CN=pacs",
        )
        (folder / "names").write_text(f"subjectAltName=IP:{host}\n")
        signed = ("-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-extfile", "names")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-days", days, "-out", f"{name}.crt")
    alone = ("-keyout", "self-made.key", "-out", "self-made.crt", "-subj", "/CN=pacs")
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *alone, "-addext", "subjectAltName=IP:127.0.0.1")
    for certificate in folder.glob("*.crt"):
        key = certificate.with_suffix(".key")
        certificate.with_suffix(".pem").write_text(certificate.read_text() + key.read_text())
    (folder / "from-foreign.pem").replace(folder / "foreign.pem")
    return folder


@contextmanager
def orthanc_with(certificate: Path) -> Iterator[str]:
    """The root of a server that speaks TLS under a certificate, and answers as Orthanc does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}" if self.path.startswith("/system") else b"[]")

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_hospitals_own_authority_is_trusted_once_it_is_named(certificates: Path) -> None:
    """By the intake and by the workers; without its file its certificates are those of a stranger."""
    tls = trusting(certificates / "authority.crt")
    with orthanc_with(certificates / "right.pem") as url:
        with closing(OrthancClient(url, auth=None, tls=tls)) as client:
            assert client.system() == {}
        assert Pacs(url, auth=None, tls=tls).own_series("study") == []
        with closing(OrthancClient(url, auth=None)) as client, pytest.raises(PacsUnavailable) as refused:
            client.system()
    assert refused.value.code == "pacs_certificate_refused"
    assert FAULTS[FOREIGN] in refused.value.message


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_wrong_certificate_is_named_in_a_line(certificates: Path, name: str) -> None:
    """Expired, foreign, self-made or another host's: intake, worker and doctor say which, and what to do."""
    authority = certificates / "authority.crt"
    with orthanc_with(certificates / f"{name}.pem") as url:
        said = []
        with closing(OrthancClient(url, auth=None, tls=trusting(authority))) as client:
            for ask in (client.system, lambda: Pacs(url, auth=None, tls=trusting(authority)).own_series("study")):
                with pytest.raises(PacsUnavailable) as refused:
                    ask()
                assert refused.value.code == "pacs_certificate_refused"
                said.append(refused.value.message)
        settings = Settings(orthanc_url=url, orthanc_ca_file=authority)
        said.append(next(finding.detail for finding in examine(settings) if finding.check == "Orthanc"))
    assert len(said) == 3
    for line in said:
        assert line.startswith(f"Orthanc's certificate at {url} {FAULTS[name]}")
        assert "\n" not in line


def uids(film: Dataset) -> tuple[str, str, str]:
    """Of its study, its series and itself."""
    return str(film.StudyInstanceUID), str(film.SeriesInstanceUID), str(film.SOPInstanceUID)


@pytest.mark.parametrize(("name", "named"), [("right", AUTHORITY), ("self-made", "self-made")])
def test_viewers_reach_an_orthanc_of_the_hospitals_own_certificate(
    certificates: Path, orthanc: OrthancServer, tmp_path: Path, name: str, named: str
) -> None:
    """Search, retrieval, pictures and storage all pass the gateway, under the authority that was named to it."""
    trusted: dict[str, Any] = {"orthanc_ca_file": certificates / f"{named}.crt"}
    with (
        proxied(orthanc.url, certificate=certificates / f"{name}.pem") as url,  # Debian's Orthanc ends at its first TLS
        running_gateway(tmp_path, url, accept_stow=True, **trusted) as gateway,
    ):
        viewer = DICOMwebClient(f"{gateway}/dicom-web")
        film, later = chest(1), chest(2)
        orthanc.post(film)
        viewer.store_instances([later])
        found = {study["0020000D"]["Value"][0] for study in viewer.search_for_studies()}
        assert found == {str(film.StudyInstanceUID), str(later.StudyInstanceUID)}
        assert viewer.retrieve_instance(*uids(film)).PixelData == film.PixelData
        assert len(viewer.retrieve_study_metadata(str(film.StudyInstanceUID))) == 1
        assert viewer.retrieve_instance_rendered(*uids(film), media_types=("image/png",)).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_viewer_is_told_what_is_wrong_with_the_certificate(certificates: Path, tmp_path: Path, name: str) -> None:
    """What passes the gateway, and what it asks Orthanc for itself, ends in a problem that names it; so does /ready."""
    study, series, image = uids(chest(1))
    instance = f"/dicom-web/studies/{study}/series/{series}/instances/{image}"
    trusted: dict[str, Any] = {"orthanc_ca_file": certificates / "authority.crt"}
    with (
        orthanc_with(certificates / f"{name}.pem") as url,
        running_gateway(tmp_path, url, accept_stow=True, **trusted) as gateway,
        httpx.Client(base_url=gateway, trust_env=False, timeout=60) as viewer,
    ):
        answers = [viewer.get(f"{path}") for path in ("/dicom-web/studies", instance, f"{instance}/rendered")]
        answers.append(viewer.post("/dicom-web/studies", content=b"x", headers={"Content-Type": "application/dicom"}))
        ready = viewer.get("/ready").json()
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert answer.json()["detail"].startswith(f"Orthanc's certificate at {url} {FAULTS[name]}")
    assert not ready["checks"]["orthanc"]["ok"]
    assert FAULTS[name] in ready["checks"]["orthanc"]["detail"]


def test_a_self_made_certificate_can_be_named_itself(certificates: Path) -> None:
    """As Orthanc's documentation has them made."""
    tls = trusting(certificates / "self-made.crt")
    with orthanc_with(certificates / "self-made.pem") as url, closing(OrthancClient(url, auth=None, tls=tls)) as client:
        assert client.system() == {}


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_no_authority_is_refused_in_a_line(tmp_path: Path, content: str | None) -> None:
    """One that is not there, or holds something else."""
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(InvalidInput, match=r"FIRSTREAD_ORTHANC_CA_FILE=\S+ca.pem cannot be used"):
        trusting(file)
