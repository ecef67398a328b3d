"""A study's images as the page shows them, drawn by a real Orthanc, and its priors, over HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from gateway.intake.orthanc import OrthancClient
from gateway.list.items import PriorsPage
from imaging.display import to_display
from imaging.radiograph import read_radiograph
from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, complete_file_meta
from tests.gateways import served
from tests.list_gateway import list_app
from tests.lists import EFFUSION, LATERAL, NOTHING, FilledList, uid_of
from tests.servers import OrthancServer, orthanc_id
from worklist.errors import OutOfScope
from worklist.job import Queue
from worklist.records import Database
from worklist.study import StudyState

ROWS, COLUMNS = 400, 700
FIRST, SECOND = 1001, 1002  # numbers of studies, of which valid UIDs are made

Change = Callable[[Dataset], None]


def orthanc_id_of(study_instance_uid: str, *uids: str) -> str:
    """Orthanc's identifier of a study of the list, or of its image."""
    return orthanc_id(f"MRN-{int(study_instance_uid.rpartition('.')[2])}", study_instance_uid, *uids)


@pytest.fixture
def listed(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[FilledList]:
    """An empty list."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}")) as database:
        yield FilledList(database, orthanc_id=orthanc_id_of)


@pytest.fixture
def client(listed: FilledList, orthanc: OrthancServer) -> Iterator[httpx.Client]:
    """Asks the list's routes, behind which Orthanc draws."""
    with (
        closing(OrthancClient(orthanc.url, auth=None)) as pacs,
        served(list_app(listed, pacs)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client


def film(number: int, change: Change = lambda _: None) -> Dataset:
    """The image of a study of the list, wider than high, with a narrow window; changed."""
    dataset = chest_dx(simulate_film(number, finding=None, rows=ROWS, columns=COLUMNS), bits_stored=12)
    uid = uid_of(number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid, f"{uid}.1", f"{uid}.1.1"
    dataset.PatientID, dataset.PatientName, dataset.StudyDate = f"MRN-{number}", "SIMULATED^Film", "20260102"
    dataset.WindowCenter, dataset.WindowWidth = 1800, 1500
    complete_file_meta(dataset)
    change(dataset)
    return dataset


def as_monochrome1(dataset: Dataset) -> None:
    """White is low: the same film to a reader."""
    greys = 4095 - np.frombuffer(dataset.PixelData, np.uint16)
    dataset.PixelData = greys.astype(np.uint16).tobytes()
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    dataset.WindowCenter = 4095 - dataset.WindowCenter


def encoded(syntax: UID, encode: Callable[[npt.NDArray[np.uint16]], bytes | bytearray]) -> Change:
    """The same film, compressed."""

    def change(dataset: Dataset) -> None:
        pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(ROWS, COLUMNS)
        dataset.PixelData = encapsulate([bytes(encode(pixels))])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax

    return change


def as_rle(dataset: Dataset) -> None:
    """The same film, run-length encoded."""
    dataset.compress(RLELossless, generate_instance_uid=False)


jpeg_lossless = encoded(JPEGLosslessSV1, lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=16))
jpeg_ls = encoded(JPEGLSLossless, imagecodecs.jpegls_encode)
jpeg_2000 = encoded(
    JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True)
)


def both(first: Change, second: Change) -> Change:
    """One change after the other."""

    def change(dataset: Dataset) -> None:
        first(dataset)
        second(dataset)

    return change


def picture(client: httpx.Client, number: int, position: int = 1) -> httpx.Response:
    """The answer for an image of a study."""
    return client.get(f"/worklist/{uid_of(number)}/images/{position}.png")


def assert_shows(answer: httpx.Response, dataset: Dataset) -> None:
    """It is the film as a reader sees it: the same shape and the same greys, 1024 pixels wide."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["cache-control"] == "no-cache"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.width, image.height) == (1024, round(1024 * ROWS / COLUMNS))
        ours = Image.fromarray(to_display(read_radiograph(dataset))).resize(image.size, Image.Resampling.BILINEAR)
        difference = np.abs(np.asarray(image.convert("L"), float) - np.asarray(ours, float))
    assert difference.mean() < 3


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        as_monochrome1,
        as_rle,
        jpeg_lossless,
        jpeg_ls,
        jpeg_2000,
        both(as_monochrome1, jpeg_lossless),
        both(as_monochrome1, jpeg_2000),
    ],
    ids=["plain", "MONOCHROME1", "RLE", "JPEG lossless", "JPEG-LS", "JPEG 2000", "M1 JPEG lossless", "M1 JPEG 2000"],
)
def test_a_scored_image_is_shown_as_a_reader_sees_it(
    client: httpx.Client, listed: FilledList, orthanc: OrthancServer, change: Change
) -> None:
    """In its own window, shape and sense, whatever its transfer syntax, so that boxes lie where they belong."""
    dataset = film(FIRST, change)
    orthanc.post(dataset)
    listed.add(FIRST, findings=EFFUSION)
    assert_shows(picture(client, FIRST), dataset)
    missing = picture(client, FIRST, 2)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert picture(client, SECOND).status_code == 404
    assert picture(client, FIRST, 0).status_code == 422


def test_an_image_out_of_scope_is_shown_where_it_is_not_compressed(
    client: httpx.Client, listed: FilledList, orthanc: OrthancServer
) -> None:
    """Nobody has decoded it, and a broken compressed image takes Orthanc down: the answer is 404, and says why."""
    plain, packed = film(FIRST), film(SECOND, jpeg_lossless)
    for number, dataset in ((FIRST, plain), (SECOND, packed)):
        orthanc.post(dataset)
        listed.add(number, refused=LATERAL)
    assert_shows(picture(client, FIRST), plain)
    answer = picture(client, SECOND)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_drawn_safely")


def test_an_image_that_the_gates_refused_is_shown(
    client: httpx.Client, listed: FilledList, orthanc: OrthancServer
) -> None:
    """A worker has decoded it, compressed or not."""
    dataset = film(FIRST, jpeg_lossless)
    orthanc.post(dataset)
    listed.add(FIRST)
    ((job_id, _),) = listed.jobs.due(1, Queue.SCORE)
    assert listed.jobs.claim(job_id, "w")
    listed.jobs.give_up(job_id, "w", OutOfScope("not_chest_film", "does not look like a chest film"))
    line = listed.worklist.find(uid_of(FIRST))
    assert line is not None
    assert line.state is StudyState.OUT_OF_SCOPE
    assert_shows(picture(client, FIRST), dataset)


def half_of_it(dataset: Dataset) -> None:
    """A transfer that was cut off."""
    dataset.PixelData = dataset.PixelData[: ROWS * COLUMNS]


def too_many_rows(dataset: Dataset) -> None:
    """A header that promises more than there is."""
    dataset.Rows = 60_000


def of_five_frames(dataset: Dataset) -> None:
    """A header that promises more frames than there are."""
    dataset.NumberOfFrames = 5


def rows_as_text(dataset: Dataset) -> None:
    """A header that a worker can still read."""
    rows = str(dataset.Rows)
    del dataset.Rows
    dataset.add_new("Rows", "LO", rows)


@pytest.mark.parametrize("is_scored", [False, True])
@pytest.mark.parametrize("change", [of_five_frames, rows_as_text], ids=["frames", "rows as text"])
def test_an_image_that_workers_can_read_and_orthanc_cannot_is_not_drawn(
    client: httpx.Client, listed: FilledList, orthanc: OrthancServer, change: Change, *, is_scored: bool
) -> None:
    """Scored or not, it is never handed to Orthanc's decoder, which dies of it."""
    orthanc.post(film(FIRST, change))
    orthanc.post(film(SECOND))
    listed.add(FIRST, findings=EFFUSION if is_scored else None)
    listed.add(SECOND, findings=NOTHING)
    assert picture(client, FIRST).json()["code"] == "not_drawn_safely"
    assert picture(client, SECOND).status_code == 200


@pytest.mark.parametrize("change", [half_of_it, too_many_rows], ids=["cut off", "rows"])
def test_a_broken_image_does_not_take_the_pacs_down(
    client: httpx.Client, listed: FilledList, orthanc: OrthancServer, change: Change
) -> None:
    """Orthanc dies of drawing such an image: it is not asked to, the answer is 404, and the next image is drawn."""
    broken, whole = film(FIRST, change), film(SECOND)
    orthanc.post(broken)
    orthanc.post(whole)
    listed.add(FIRST, failed=True)
    listed.add(SECOND, findings=NOTHING)
    answer = picture(client, FIRST)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_drawn_safely"
    assert_shows(picture(client, SECOND), whole)


def test_an_image_that_is_gone_is_404(client: httpx.Client, listed: FilledList) -> None:
    """The study is still listed, and Orthanc has none of it any more."""
    listed.add(FIRST, findings=EFFUSION)
    answer = picture(client, FIRST)
    assert (answer.status_code, answer.json()["code"]) == (404, "deleted_from_pacs")


def test_an_image_of_an_earlier_version_is_found(
    client: httpx.Client, listed: FilledList, orthanc: OrthancServer
) -> None:
    """Of what was taken in by a version that kept no identifiers of images, Orthanc is asked by the UIDs."""
    whole = film(FIRST)
    orthanc.post(whole)
    listed.add(FIRST, findings=NOTHING, instance_orthanc_id=None)
    assert_shows(picture(client, FIRST), whole)


def test_without_orthanc_there_is_no_image(client: httpx.Client, listed: FilledList, orthanc: OrthancServer) -> None:
    """The answer is 503, and says that Orthanc does not answer."""
    listed.add(FIRST, findings=EFFUSION)
    orthanc.stop()
    answer = picture(client, FIRST)
    assert (answer.status_code, answer.json()["code"]) == (503, "pacs_unavailable")


def test_priors_are_listed(client: httpx.Client, listed: FilledList) -> None:
    """Newest first, with date, flag and reading, as OpenAPI says; a study without has none, an unknown one is 404."""
    listed.add(1, study_date="20261125", findings=EFFUSION, patient_id="MRN-7")
    listed.add(2, study_date="20250301", study_description="CT CHEST", modality="CT", patient_id="MRN-7")
    listed.add(3, study_date="20251231", findings=EFFUSION, patient_id="MRN-7")
    listed.read(3, "Dr. A")
    answer = client.get(f"/worklist/{uid_of(1)}/priors")
    page = PriorsPage.model_validate_json(answer.content)
    assert [(item.study_instance_uid, str(item.study_date)) for item in page.items] == [
        (uid_of(3), "2025-12-31"),
        (uid_of(2), "2025-03-01"),
    ]
    newest, oldest = answer.json()["items"]
    assert (newest["urgency"], newest["reading"]["state"], newest["reading"]["by"]) == ("urgent", "read", "Dr. A")
    assert (oldest["study_description"], oldest["modality"], oldest["acquired_at"]) == ("CT CHEST", "CT", None)
    assert client.get(f"/worklist/{uid_of(2)}/priors").json() == {"items": []}
    unknown = client.get("/worklist/1.2.3/priors")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_study")


def test_at_most_fifty_priors_are_listed(client: httpx.Client, listed: FilledList) -> None:
    """The newest of them, while the item counts them all."""
    for number in range(53):
        listed.add(number, study_date=f"2024{1 + number // 28:02}{1 + number % 28:02}", patient_id="MRN-7")
    items = client.get(f"/worklist/{uid_of(52)}/priors").json()["items"]
    assert [item["study_instance_uid"] for item in items] == [uid_of(number) for number in range(51, 1, -1)]
    listing = client.get("/worklist", params={"reading": "all"}).json()["items"]
    assert {item["study_instance_uid"]: item["prior_count"] for item in listing}[uid_of(52)] == 52
