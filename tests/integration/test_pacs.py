"""Fetching from Orthanc and storing into it: what is given up for good, and what is tried again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydicom import Dataset
from pydicom.uid import RLELossless

from tests import sr_films
from tests.bad_films import chest
from tests.servers import OrthancServer, free_ports
from worker.encoding import encode
from worker.pacs import Pacs
from worklist.errors import PacsUnavailable, UnusableImage

_LOOPBACK = "127.0.0.1"


def pacs_of(orthanc: OrthancServer, dicomweb_root: str = "dicom-web") -> Pacs:
    """The worker's side of an Orthanc."""
    return Pacs(orthanc.url, auth=None, dicomweb_root=dicomweb_root)


def uids(film: Dataset) -> tuple[str, str, str]:
    """What an instance is fetched by."""
    return film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID


def test_an_image_comes_as_it_was_stored(orthanc: OrthancServer) -> None:
    """Every element is there, in the transfer syntax in which the modality sent it."""
    packed = chest(22)
    packed.compress(RLELossless, generate_instance_uid=False)
    for film in (chest(21), packed):
        orthanc.post(film)
        fetched = pacs_of(orthanc).fetch_instance(*uids(film))
        assert fetched.file_meta.TransferSyntaxUID == film.file_meta.TransferSyntaxUID
        assert fetched.to_json_dict() == film.to_json_dict()


def test_an_image_whose_uid_lies_there_twice_is_still_found(orthanc: OrthancServer) -> None:
    """One SOP Instance UID in two studies gives each study its own image."""
    first, second = chest(21), chest(22)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    orthanc.post(first)
    orthanc.post(second)
    for film in (first, second):
        assert pacs_of(orthanc).fetch_instance(*uids(film)).PatientID == film.PatientID


def test_only_an_image_that_is_gone_is_given_up(orthanc: OrthancServer) -> None:
    """A missing image is lost for good; a missing plug-in or a wrong root is for the site to mend."""
    film = chest(21)
    orthanc.post(film)
    with pytest.raises(UnusableImage) as lost:
        pacs_of(orthanc).fetch_instance(*uids(film)[:2], "1.2.3.4")
    assert lost.value.code == "deleted_from_pacs"
    with pytest.raises(UnusableImage) as elsewhere:
        pacs_of(orthanc).fetch_instance("1.2.3", *uids(film)[1:])
    assert elsewhere.value.code == "deleted_from_pacs"
    with pytest.raises(PacsUnavailable) as absent:
        pacs_of(orthanc, dicomweb_root="wrong-root").find_triage_reports()
    assert absent.value.code == "no_dicomweb"


def test_a_connection_that_orthanc_has_closed_is_opened_again(orthanc: OrthancServer) -> None:
    """Orthanc closes a silent connection after a second; the next request does not fail for it."""
    film = chest(21)
    orthanc.post(film)
    pacs = pacs_of(orthanc)
    for pause_s in (0, 1.0, 1.5):
        time.sleep(pause_s)
        assert pacs.fetch_instance(*uids(film)).SOPInstanceUID == film.SOPInstanceUID


def test_reports_are_stored_and_found_again(orthanc: OrthancServer) -> None:
    """What was stored is what the study's reports are, and what a search by day finds."""
    pacs, results = pacs_of(orthanc), sr_films.build(sr_films.analysis(sr_films.PNEUMOTHORAX))
    pacs.store(results.objects)
    pacs.store(results.objects)  # done twice, it is there once
    report = results.triage_report
    (fetched,) = pacs.fetch_triage_reports(report.StudyInstanceUID)
    assert encode(fetched) == encode(report)
    found, unreadable = pacs.find_triage_reports(since=date(2026, 11, 22))
    assert ([one.sop_instance_uid for one in found], unreadable) == ([report.SOPInstanceUID], 0)
    assert pacs.find_triage_reports(since=date(2026, 11, 23)) == ([], 0)


@contextmanager
def a_pacs_that_answers(status: int, content: bytes = b"", content_type: str = "text/plain") -> Iterator[Pacs]:
    """A PACS that gives one answer to whatever it is asked."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the name that http.server asks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer((_LOOPBACK, 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Pacs(f"http://{_LOOPBACK}:{server.server_port}", auth=("a", "käse"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "content", "code", "said"),
    [
        (401, b"", "pacs_refuses_login", "FIRSTREAD_ORTHANC_USERNAME"),
        (500, b"", "pacs_error", "500"),
        (200, b"<html>", "pacs_error", "JSON"),
    ],
    ids=["another password", "a fault", "another server"],
)
def test_a_pacs_that_cannot_serve_is_tried_again(status: int, content: bytes, code: str, said: str) -> None:
    """A changed password or a fault fails no image for good: the jobs wait until the site has mended it."""
    with a_pacs_that_answers(status, content) as pacs, pytest.raises(PacsUnavailable, match=said) as refused:
        pacs.fetch_instance("1.2", "1.3", "1.4")
    assert refused.value.code == code


def _refusing(reason: int) -> dict[str, object]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


def test_a_pacs_that_is_away_is_tried_again() -> None:
    """Nobody at the address is for the site to mend; the message says where nobody is."""
    pacs = Pacs(f"http://{_LOOPBACK}:{free_ports(1)[0]}", auth=None)
    with pytest.raises(PacsUnavailable, match=_LOOPBACK) as refused:
        pacs.fetch_instance("1.2", "1.3", "1.4")
    assert refused.value.code == "pacs_unavailable"


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ({"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}, "pacs_full", "seems to be full"),  # as Orthanc 1.10 does
        (_refusing(0xA700), "pacs_full", "seems to be full"),
        (_refusing(0x0110), "store_refused", "reason 0110"),
    ],
    ids=["nothing said", "out of resources", "refused"],
)
def test_what_was_not_stored_is_never_taken_for_stored(answer: dict[str, object], code: str, said: str) -> None:
    """An answer that does not name every object as stored is a failure, even under the status 200."""
    content = json.dumps(answer).encode()
    with a_pacs_that_answers(200, content) as pacs, pytest.raises(PacsUnavailable, match=said) as refused:
        pacs.store([chest(21)])
    assert refused.value.code == code


def test_no_message_quotes_what_is_no_dicom() -> None:
    """Whatever comes back instead of DICOM is an unreadable object, and its bytes stand in no message."""
    lookup = json.dumps([{"ID": "x", "Path": "/instances/x", "Type": "Instance"}]).encode()
    with a_pacs_that_answers(200, lookup) as pacs, pytest.raises(UnusableImage) as unreadable:
        pacs.fetch_instance("1.2", "1.3", "1.4")
    assert unreadable.value.code == "unreadable_object"
    assert "instances" not in unreadable.value.message
