"""C-STORE to a real Orthanc, and to peers that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import AssociationSocket

from gateway.dimse.associate import Checkpoint
from gateway.dimse.send import Outcome, SendResult, progress_bar, send
from imaging.files import open_study_files, wrap_picture_file
from tests.bad_films import BAD_FILMS, chest
from tests.left_sockets import LEFT_SOCKETS
from tests.servers import OrthancServer, free_ports
from worklist.errors import InvalidInput, PacsUnavailable

pytestmark = LEFT_SOCKETS

_ABORT = 0xFFFF
_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless, MPEG2MPML)


class Peer:
    """A small PACS that answers each C-STORE as it is told, and takes notes.

    Args:
        answer: from the number of the request, 0 for the first, to its status, or what else to do.
    """

    def __init__(self, answer: Callable[[Peer, int], int] = lambda _peer, _number: 0x0000) -> None:
        self.contexts: list[int] = []  # proposed, by association
        self.received: list[str] = []  # SOP Instance UIDs
        self.datasets: list[bytes] = []
        self._answer = answer
        entity = AE(ae_title="PEER")
        entity.require_called_aet = True
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax or "", list(_SYNTAXES))
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._note)]
        server = entity.start_server(("127.0.0.1", free_ports(1)[0]), block=False, evt_handlers=handlers)
        assert server is not None
        self.server = server
        self.port = int(server.server_address[1])

    def __enter__(self) -> Self:
        """Listen."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop listening."""
        self.server.shutdown()

    def send(self, images: Iterable[Path | Dataset], *, called_aet: str = "PEER") -> SendResult:
        """Send to this peer."""
        return send(images, host="127.0.0.1", port=self.port, called_aet=called_aet)

    def _note(self, event: evt.Event) -> None:
        self.contexts.append(len(event.assoc.requestor.requested_contexts))

    def _store(self, event: evt.Event) -> Dataset:
        assert isinstance(event.request, C_STORE)
        self.received.append(str(event.request.AffectedSOPInstanceUID))
        self.datasets.append(event.encoded_dataset(include_meta=False))
        response = Dataset()
        response.Status = self._answer(self, len(self.received) - 1)
        response.ErrorComment = "told so" if response.Status else ""
        if response.Status == _ABORT:
            event.assoc.abort()
        return response


def tiny_images(count: int) -> list[Dataset]:
    """Datasets of next to nothing, each of a storage SOP class of its own."""
    images = []
    for context in AllStoragePresentationContexts[:count]:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = context.abstract_syntax, generate_uid()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        images.append(image)
    return images


def send_to(orthanc: OrthancServer, sources: Iterable[Path | Dataset]) -> SendResult:
    """Send to an Orthanc."""
    return send(sources, host="127.0.0.1", port=orthanc.dicom_port, called_aet=orthanc.aet)


def file_of(orthanc: OrthancServer, sop_instance_uid: str) -> bytes:
    """The Part 10 file that Orthanc keeps of an instance."""
    (found,) = (
        item["ID"]
        for item in orthanc.get("/instances?expand")
        if item["MainDicomTags"]["SOPInstanceUID"] == sop_instance_uid
    )
    return httpx.get(f"{orthanc.url}/instances/{found}/file", trust_env=False, timeout=60).content


def saved(film: Dataset, path: Path) -> Path:
    """A film as a Part 10 file."""
    film.save_as(path, enforce_file_format=True)
    return path


def raw_dataset(content: bytes) -> bytes:
    """What lies behind the file meta information of a Part 10 file."""
    stream = BytesIO(content)
    meta = dcmread(stream, stop_before_pixels=True).file_meta
    return content[128 + 4 + 12 + meta.FileMetaInformationGroupLength :]


@pytest.mark.parametrize(
    "name",
    ["truncated_pixel_data", "window_center_text", "nan_rescale_slope", "rows_as_text", "unsupported_transfer_syntax"],
)
def test_files_are_sent_byte_for_byte(name: str, tmp_path: Path) -> None:
    """What goes out behind the file meta information is what the file holds, whatever is wrong with it."""
    path = BAD_FILMS[name](tmp_path)
    with Peer() as peer:
        result = peer.send([path])
    assert result.outcomes == (Outcome(name=str(path), status="0000", reason=""),)
    assert peer.datasets == [raw_dataset(path.read_bytes())]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_bare_dataset_is_sent_byte_for_byte(syntax: UID, tmp_path: Path) -> None:
    """A file without preamble and file meta is sent as it is, in the encoding that it has."""
    path = tmp_path / "bare"
    Dataset(chest()).save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=False)
    with Peer() as peer:
        assert peer.send([path]).failed == ()
    assert peer.datasets == [path.read_bytes()]


def test_compressed_pixels_stay_compressed(orthanc: OrthancServer, tmp_path: Path) -> None:
    """A JPEG-LS file arrives in JPEG-LS."""
    film = chest()
    film.compress(JPEGLSLossless, generate_instance_uid=False)
    assert send_to(orthanc, [saved(film, tmp_path / "film.dcm")]).failed == ()
    stored = dcmread(BytesIO(file_of(orthanc, film.SOPInstanceUID)))
    assert stored.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert stored.PixelData == film.PixelData


def test_a_bare_dataset_arrives(orthanc: OrthancServer, tmp_path: Path) -> None:
    """Orthanc takes in what was read without preamble and file meta."""
    film = chest()
    Dataset(film).save_as(tmp_path / "bare", implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert send_to(orthanc, [tmp_path / "bare"]).failed == ()
    assert (dcmread(BytesIO(file_of(orthanc, film.SOPInstanceUID))).pixel_array == film.pixel_array).all()


def test_a_missing_preamble_is_put_back(orthanc: OrthancServer, tmp_path: Path) -> None:
    """A file that starts right with its file meta is sent as what the meta says."""
    film = chest()
    film.compress(JPEGLSLossless, generate_instance_uid=False)
    whole = saved(film, tmp_path / "film.dcm").read_bytes()
    (tmp_path / "film.dcm").write_bytes(whole[132:])
    assert send_to(orthanc, [tmp_path / "film.dcm"]).failed == ()
    assert dcmread(BytesIO(file_of(orthanc, film.SOPInstanceUID))).PixelData == film.PixelData


def test_incomplete_file_meta_is_completed(orthanc: OrthancServer, tmp_path: Path) -> None:
    """A file whose meta lacks the SOP Instance UID is sent under the one in its dataset."""
    film = chest()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta = meta
    film.preamble = bytes(128)
    film.save_as(tmp_path / "film.dcm", enforce_file_format=False)
    assert send_to(orthanc, [tmp_path / "film.dcm"]).failed == ()
    assert (dcmread(BytesIO(file_of(orthanc, film.SOPInstanceUID))).pixel_array == film.pixel_array).all()


def test_the_dataset_outranks_its_file_meta(orthanc: OrthancServer, tmp_path: Path) -> None:
    """A file whose meta names another SOP class, which Orthanc would refuse, is sent as what its dataset says."""
    film = chest()
    film.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    film.preamble = bytes(128)
    film.save_as(tmp_path / "film.dcm", enforce_file_format=False)
    assert dcmread(tmp_path / "film.dcm").file_meta.MediaStorageSOPClassUID == SecondaryCaptureImageStorage
    assert send_to(orthanc, [tmp_path / "film.dcm"]).failed == ()
    assert dcmread(BytesIO(file_of(orthanc, film.SOPInstanceUID))).file_meta.MediaStorageSOPClassUID == film.SOPClassUID


def test_a_broken_dataset_behind_good_file_meta_is_sent(tmp_path: Path) -> None:
    """What cannot be parsed, but says in its file meta what it is, is left for the PACS to refuse."""
    whole = saved(chest(), tmp_path / "film.dcm").read_bytes()
    garbage = b"\x08\x00garbage" * 9
    (tmp_path / "broken.dcm").write_bytes(whole[: len(whole) - len(raw_dataset(whole))] + garbage)
    with Peer() as peer:
        assert peer.send([tmp_path / "broken.dcm"]).failed == ()
    assert peer.datasets == [garbage]


def test_datasets_and_pictures_are_sent_too(orthanc: OrthancServer, tmp_path: Path) -> None:
    """A dataset in memory and a PNG arrive as the images that they are."""
    picture = tmp_path / "film.png"
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(picture)
    film = chest()
    result = send_to(orthanc, [film, picture])
    assert [outcome.name for outcome in result.outcomes] == [film.SOPInstanceUID, str(picture)]
    assert result.failed == ()
    for dataset in (film, wrap_picture_file(picture)):
        stored = dcmread(BytesIO(file_of(orthanc, dataset.SOPInstanceUID)))
        assert (stored.pixel_array == dataset.pixel_array).all()


def test_one_bad_file_does_not_stop_the_others(orthanc: OrthancServer, tmp_path: Path) -> None:
    """Files that are no images, broken, or in a transfer syntax that the PACS refuses fail alone, with their reason."""
    good = [saved(chest(), tmp_path / f"good{number}.dcm") for number in (1, 2)]
    (tmp_path / "text").write_text("not an image")
    (tmp_path / "cut.dcm").write_bytes(good[0].read_bytes()[:200])
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    strange = chest()
    strange.PixelData = encapsulate([b"garbage!"])
    strange.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.110")  # JPEG XL, which Orthanc 1.10.1 refuses
    saved(strange, tmp_path / "jxl.dcm")
    seen: list[tuple[Outcome, int]] = []
    result = send(
        [good[0], tmp_path / "text", tmp_path / "cut.dcm", tmp_path / "cut.png", tmp_path / "jxl.dcm", good[1]],
        host="127.0.0.1",
        port=orthanc.dicom_port,
        called_aet=orthanc.aet,
        on_progress=lambda outcome, total: seen.append((outcome, total)),
    )
    assert {outcome.name for outcome in result.outcomes if outcome.is_stored} == {str(path) for path in good}
    reasons = {Path(outcome.name).name: outcome.reason for outcome in result.failed}
    assert set(reasons) == {"text", "cut.dcm", "cut.png", "jxl.dcm"}
    assert "neither DICOM, PNG nor JPEG" in reasons["text"]
    assert "broken picture" in reasons["cut.png"]
    assert "does not accept" in reasons["jxl.dcm"]
    assert "JPEG XL" in reasons["jxl.dcm"]
    assert [outcome for outcome, _total in seen] == list(result.outcomes)
    assert {total for _outcome, total in seen} == {6}
    assert len(orthanc.get("/instances")) == 2


@pytest.mark.parametrize("name", sorted(BAD_FILMS))
def test_orthanc_takes_in_every_bad_film(name: str, orthanc: OrthancServer, tmp_path: Path) -> None:
    """Each of the bad films gets past Orthanc, so that Firstread has to deal with it."""
    paths = list(open_study_files([BAD_FILMS[name](tmp_path)]))
    result = send_to(orthanc, list(paths))
    assert [outcome.status for outcome in result.outcomes] == ["0000"] * len(paths)
    expected = len({dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in paths})
    assert len(orthanc.get("/instances")) == expected


def test_a_second_object_under_one_uid_replaces_the_first(orthanc: OrthancServer, tmp_path: Path) -> None:
    """With OverwriteInstances, Orthanc keeps the later of two films that share their UIDs."""
    first, second = sorted(BAD_FILMS["one_sop_instance_uid_twice"](tmp_path).iterdir())
    send_to(orthanc, [first, second])
    stored = file_of(orthanc, dcmread(first).SOPInstanceUID)
    assert raw_dataset(stored) == raw_dataset(second.read_bytes())


def test_nothing_to_send_needs_no_pacs() -> None:
    """Without sources there is no association, and the result is empty."""
    assert send([], host="127.0.0.1", port=free_ports(1)[0], called_aet="ORTHANC") == SendResult(outcomes=())


@pytest.mark.parametrize("title", ["", "  ", "A_TITLE_TOO_LONG_", "P\u00c4CS", "PA\\CS", "PACS\n"])
def test_a_bad_ae_title_is_refused(title: str) -> None:
    """An AE title is 1 to 16 characters of the default repertoire (PS3.5 6.2)."""
    with pytest.raises(InvalidInput) as caught:
        send([], host="127.0.0.1", port=1, called_aet=title)
    assert caught.value.code == "bad_ae_title"


@pytest.mark.parametrize("host", ["127.0.0.1", "pacs.invalid"])
def test_a_pacs_that_is_not_there(host: str) -> None:
    """A closed port and an unknown host are one transient error that says what to check."""
    (port,) = free_ports(1)
    with pytest.raises(PacsUnavailable) as caught:
        send([chest()], host=host, port=port, called_aet="ORTHANC")
    assert caught.value.code == "pacs_unreachable"
    assert f"ORTHANC at {host}:{port}" in caught.value.message
    assert "check host, port and AE title" in caught.value.message


def test_a_port_that_speaks_something_else(orthanc: OrthancServer) -> None:
    """Orthanc's HTTP port is no DICOM server."""
    with pytest.raises(PacsUnavailable) as caught:
        send([chest()], host="127.0.0.1", port=int(orthanc.url.rpartition(":")[2]), called_aet="ORTHANC")
    assert caught.value.code == "pacs_unreachable"


def test_a_pacs_that_turns_us_away() -> None:
    """A wrong called AE title is rejected, and the message gives the reason and both titles."""
    with Peer() as peer, pytest.raises(PacsUnavailable) as caught:
        peer.send([chest()], called_aet="WRONG")
    assert caught.value.code == "association_rejected"
    assert "WRONG" in caught.value.message
    assert "FIRSTREAD (Called AE title not recognised)" in caught.value.message


class _SlowToWake(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        is_set = super().wait(timeout)
        time.sleep(0.5)
        return is_set


def test_a_refusal_that_overtakes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the answer is there before the caller has noticed that it is connected: it is still told."""
    begin = AssociationSocket.__init__

    def begin_slowly(self: AssociationSocket, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        begin(self, *arguments, **named)
        self._ready = _SlowToWake()

    monkeypatch.setattr(AssociationSocket, "__init__", begin_slowly)
    with Peer() as peer, pytest.raises(PacsUnavailable) as caught:
        peer.send([chest()], called_aet="WRONG")
    assert "FIRSTREAD (Called AE title not recognised)" in caught.value.message


def test_no_answer_is_taken_by_the_association_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its own thread is held up as it goes on, and ours before it waits, the answer still comes to us."""
    passed, awaited, stored = Checkpoint.wait, DIMSEServiceProvider.get_msg, Association.send_c_store

    def held_up(self: Checkpoint, timeout: float | None = None) -> bool:
        is_set = passed(self, timeout)
        time.sleep(0.2)
        return is_set

    def awaited_late(self: DIMSEServiceProvider, block: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002
        if block:
            time.sleep(0.4)
        return awaited(self, block)

    def stored_late(self: Association, *arguments: Any) -> Dataset:  # noqa: ANN401
        time.sleep(0.1)  # in which the other thread may go on
        return stored(self, *arguments)

    monkeypatch.setattr(Checkpoint, "wait", held_up)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", awaited_late)
    monkeypatch.setattr(Association, "send_c_store", stored_late)
    monkeypatch.setattr("gateway.dimse.send._ANSWER_S", 60)
    with Peer() as peer:
        assert peer.send(tiny_images(5)).failed == ()


def test_more_contexts_than_one_association_holds() -> None:
    """130 SOP classes go over two associations, and neither proposes more than 128 contexts (PS3.8 9.3.2.2)."""
    images = tiny_images(130)
    with Peer() as peer:
        result = peer.send(images)
    assert sorted(peer.contexts) == [2, 128]
    assert result.failed == ()
    assert sorted(peer.received) == sorted(image.SOPInstanceUID for image in images)


def test_a_refusal_is_told_with_status_and_comment() -> None:
    """The PACS's status and error comment are passed on, and a warning counts as stored."""
    with Peer(lambda _peer, number: (0xA700, 0xB000)[number]) as peer:
        result = peer.send(tiny_images(2))
    assert [(outcome.status, outcome.is_stored) for outcome in result.outcomes] == [("A700", False), ("B000", True)]
    assert [outcome.reason for outcome in result.outcomes] == [
        "Refused: Out of Resources: told so",
        "Coercion of Data Elements: told so",
    ]


def test_an_aborted_association_costs_one_image_alone() -> None:
    """Where the PACS breaks off at one image, the next goes over a new association."""
    with Peer(lambda _peer, number: (0, _ABORT, 0)[number]) as peer:
        result = peer.send(tiny_images(3))
    assert [outcome.is_stored for outcome in result.outcomes] == [True, False, True]
    assert "broke off" in result.outcomes[1].reason
    assert peer.contexts == [3, 3]


def test_a_pacs_that_goes_away_halfway_fails_the_rest() -> None:
    """Once images were sent, a lost PACS is told image by image, so that the result says what arrived."""

    def answer(peer: Peer, number: int) -> int:
        if number == 0:
            return 0x0000
        peer.server.server_close()
        return _ABORT

    with Peer(answer) as peer:
        result = peer.send(tiny_images(3))
    assert [outcome.is_stored for outcome in result.outcomes] == [True, False, False]
    assert "no DICOM server answers" in result.outcomes[2].reason


def test_the_progress_bar_names_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar goes to stderr, and names each image that was not sent with its status and reason."""
    with progress_bar() as on_progress:
        on_progress(Outcome(name="good.dcm", status="0000", reason=""), 2)
        on_progress(Outcome(name="[bad].dcm", status="A700", reason="out of space"), 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "[bad].dcm: out of space" in captured.err
    assert "A700" in captured.err
    assert "good.dcm" not in captured.err
