"""POST /predict as other systems call it: judged by the site's own worker, refused clearly, and soon forgotten."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pydicom import Dataset
from sqlalchemy import text

from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.predict.routes import Prediction, PredictLimits, build_predict
from gateway.problems import install_problems
from tests.acceptance.conftest import RunningSite
from tests.bad_films import BAD_FILMS, chest
from tests.boxed_films import boxed_picture, picture
from tests.hospitals import wait_until
from tests.servers import free_ports
from worklist.job import JobLimits
from worklist.records import Database, JobRecords, PredictionRecords, UploadFiles
from worklist.site import SiteRules

PRIOR = "Small left pleural effusion. Heart of usual size. No pneumothorax."


def part_10(film: Dataset) -> bytes:
    """A dataset as a file's content."""
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def post(running: RunningSite, content: bytes, prior: str | None = None, name: str = "Doe^Jane.bin") -> httpx.Response:
    """Ask the site for a prediction."""
    data = {} if prior is None else {"prior_report": prior}
    url = f"{running.site.gateway_url}/predict"
    return httpx.post(url, files={"file": (name, content)}, data=data, timeout=60, trust_env=False)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["detail"]
    return document


def get_picture(running: RunningSite, path: str) -> Image.Image:
    """A picture of a result."""
    answer = httpx.get(running.site.gateway_url + path, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    return Image.open(io.BytesIO(answer.content))


# ---- What is judged ----


def test_a_prediction_is_what_the_list_shows(running: RunningSite) -> None:
    """The same film through the PACS and through /predict has the same class and numbers, to the last digit."""
    film = chest(31)
    answer = post(running, part_10(film))
    assert answer.status_code == 200, answer.text
    prediction = answer.json()
    Prediction.model_validate(prediction)
    running.send([film])
    item = running.done(1)[film.StudyInstanceUID]
    for shared in ("score", "harm", "urgency", "model", "explanation"):
        assert prediction[shared] == item[shared]
    placed = [finding.pop("box") for finding in item["findings"]]  # an upload's boxes are its crops
    assert prediction["findings"] == item["findings"]
    assert sum(box is not None for box in placed) <= len(prediction["crops"])
    assert prediction["label"] == ("Non-Urgent" if item["urgency"] == "none" else "Urgent")
    assert (prediction["rows"], prediction["columns"]) == (512, 512)
    assert prediction["disclaimer"] == "Not a diagnosis. Research use. Unverified AI output."
    assert prediction["model_size_mb"] > 1
    assert prediction["elapsed_ms"] > 0
    assert film.PatientName.family_name not in answer.text


def test_a_dicom_upload_makes_no_study(running: RunningSite) -> None:
    """What was only tried appears neither on the list nor in the PACS."""
    film = chest(32)
    assert post(running, part_10(film)).status_code == 200
    later = chest(36)
    running.send([later])
    listed = running.done(1)  # all that came to the PACS before has been taken in by now
    assert later.StudyInstanceUID in listed
    assert film.StudyInstanceUID not in listed
    assert running.own_objects(film.StudyInstanceUID) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_judged(running: RunningSite, kind: str) -> None:
    """A PNG or JPEG is judged whatever its name says, and its boxes lie inside it."""
    prediction = post(running, picture(kind), name="film.dcm").json()
    Prediction.model_validate(prediction)
    assert (prediction["columns"], prediction["rows"]) == (512, 600)
    for crop in prediction["crops"]:
        assert 0 <= crop["x"] < crop["x"] + crop["w"] <= 512
        assert 0 <= crop["y"] < crop["y"] + crop["h"] <= 600


def test_boxes_have_pictures(running: RunningSite) -> None:
    """Each box has a crop that shows this very part of the film with a margin, and the film itself is there."""
    content = boxed_picture()
    source = Image.open(io.BytesIO(content))
    prediction = post(running, content).json()
    assert prediction["crops"]
    assert get_picture(running, prediction["image"]).size == source.size
    for box in prediction["crops"]:
        margin = round(0.15 * max(box["w"], box["h"]))
        left, top = max(box["x"] - margin, 0), max(box["y"] - margin, 0)
        part = source.crop((left, top, min(box["x"] + box["w"] + margin, 512), min(box["y"] + box["h"] + margin, 600)))
        thumbnail = get_picture(running, box["thumb_path"])
        assert max(thumbnail.size) == min(320, max(part.size))
        difference = np.asarray(part.resize(thumbnail.size), float) - np.asarray(thumbnail, float)
        assert np.abs(difference).mean() < 3
    named = {finding["name"] for finding in prediction["findings"] if finding["named"]}
    assert {box["finding"] for box in prediction["crops"]} <= named
    beyond = prediction["image"].replace("film", f"crop-{len(prediction['crops']) + 1}")
    assert problem(httpx.get(running.site.gateway_url + beyond, trust_env=False), 404)["code"] == "no_such_picture"


def test_a_large_film_is_shown_smaller(running: RunningSite) -> None:
    """A film of 2,500 columns is shown at 1,024 pixels, and its boxes stay in its own pixels."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(picture("PNG"))).resize((2500, 2048)).save(stream, "PNG")
    prediction = post(running, stream.getvalue()).json()
    assert (prediction["columns"], prediction["rows"]) == (2500, 2048)
    assert get_picture(running, prediction["image"]).size == (1024, 839)


def test_a_note_beside_a_film_is_read_and_refused_as_one_alone(running: RunningSite) -> None:
    """Its reading stands in the answer; one that is too long, or no text, is refused by name before it is judged."""
    url, files = f"{running.site.gateway_url}/predict", {"file": ("film.png", picture("PNG"))}

    def with_note(note: str | bytes) -> httpx.Response:
        parts = {**files, "note": ("note.txt", note)} if isinstance(note, bytes) else files
        data = {"note": note} if isinstance(note, str) else {}
        return httpx.post(url, files=parts, data=data, timeout=60, trust_env=False)

    prediction = with_note("71-year-old man with ?pneumonia. RR 32.").json()
    Prediction.model_validate(prediction)
    assert prediction["text"]["risk"]["class"] == "moderate"
    assert prediction["text"]["contradictions"] == []  # a picture states no patient
    assert prediction["explanation"].startswith("Asked about pneumonia.")
    assert with_note("  ").json()["text"] is None
    assert problem(with_note("fever " * 20_000), 422)["code"] == "note_too_long"
    assert problem(with_note(b"\xff\xfe fever"), 422)["code"] == "bad_note"


@pytest.mark.parametrize("as_file", [False, True])
def test_a_prior_report_is_quoted(running: RunningSite, as_file: bool) -> None:  # noqa: FBT001 - pytest's
    """Sentences on the findings are quoted word for word, whether the report comes as text or as a file."""
    files: dict[str, Any] = {"file": ("film.png", picture("PNG"))}
    data = {} if as_file else {"prior_report": PRIOR}
    if as_file:
        files["prior_report"] = ("prior.txt", "\ufeff" + PRIOR)
    url = f"{running.site.gateway_url}/predict"
    prediction = httpx.post(url, files=files, data=data, timeout=60, trust_env=False).json()
    snippets = {quote["snippet"] for quote in prediction["provenance"]}
    assert snippets == {"Small left pleural effusion.", "No pneumothorax."}
    assert {quote["source"] for quote in prediction["provenance"]} == {"prior_report"}


def test_many_at_once(running: RunningSite) -> None:
    """Twelve uploads at the same time are all judged, each as if it were alone."""
    seeds = [seed % 4 for seed in range(12)]
    alone = {seed: post(running, picture("PNG", seed)).json()["score"] for seed in range(4)}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda seed: post(running, picture("PNG", seed)), seeds))
    assert [answer.json()["score"] for answer in answers] == [alone[seed] for seed in seeds]
    paths = {answer.json()["image"] for answer in answers}
    assert len(paths) == 12


# ---- What is refused ----


@pytest.mark.parametrize("content", [b"%PDF-1.7 no film at all", b"MZ" * 300, b"x"])
def test_what_is_no_image_is_refused(running: RunningSite, content: bytes) -> None:
    """A file that is neither DICOM, PNG nor JPEG is 415, whatever its name says."""
    document = problem(post(running, content, name="film.dcm"), 415)
    assert document["code"] == "not_an_image"
    assert "DICOM, PNG nor JPEG" in document["detail"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ct_slice", "not_a_radiograph"),
        ("sr", "not_an_image"),
        ("truncated_pixel_data", "pixel_data_truncated"),
        ("no_pixel_data", "no_pixel_data"),
        ("blank", "blank_image"),
        ("huge", "image_too_large"),
        ("corrupt_jpeg_2000", "pixel_data_damaged"),
    ],
)
def test_a_film_that_cannot_be_judged_says_why(running: RunningSite, tmp_path: Path, name: str, code: str) -> None:
    """Out of scope or broken, the answer is 422 with the code and the line that the list would show."""
    document = problem(post(running, BAD_FILMS[name](tmp_path).read_bytes()), 422)
    assert document["code"] == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (part_10(chest(33))[:200], "unreadable_dicom"),
        (part_10(chest(33))[:-100_000], "pixel_data_truncated"),
        (picture("PNG")[:5000], "unreadable_picture"),
        (picture("JPEG")[:5000], "unreadable_picture"),
        (b"\x08\x00" + bytes(range(256)) * 40, "unreadable_dicom"),
        (b"", "empty_file"),
    ],
)
def test_cut_off_files_are_refused(running: RunningSite, content: bytes, code: str) -> None:
    """Wherever a file breaks off, the answer is 422 with a code, and one line to read."""
    document = problem(post(running, content), 422)
    assert document["code"] == code
    assert "\n" not in document["detail"]


def test_too_large_is_refused_early(running: RunningSite) -> None:
    """More than the limit is 413, for a file just above it and for an upload without end, which is not read to it."""
    url = f"{running.site.gateway_url}/predict"
    just_above = bytes(64_000_001)
    assert problem(post(running, just_above), 413)["code"] == "too_large"
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(150):
            sent += 1
            yield bytes(1_000_000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert problem(httpx.post(url, content=endless(), headers=headers, timeout=60, trust_env=False), 413)


def test_a_request_that_is_no_form_is_refused(running: RunningSite) -> None:
    """JSON is 415, a form without a file or with two 422, a broken form 400, and a prior report that is no text 422."""
    url = f"{running.site.gateway_url}/predict"
    with httpx.Client(trust_env=False) as client:
        assert problem(client.post(url, json={"file": "x"}), 415)["code"] == "not_a_form"
        assert problem(client.post(url), 415)["code"] == "not_a_form"
        without = client.post(url, files={"prior_report": ("a", "b")})
        assert problem(without, 422)["code"] == "no_file"
        as_text = client.post(url, files={"file": (None, "no file name")})
        assert problem(as_text, 422)["code"] == "no_file"
        two = [("file", (name, picture("PNG"))) for name in ("sick.png", "healthy.png")]
        assert problem(client.post(url, files=two), 422)["code"] == "several_files"
        headers = {"content-type": "multipart/form-data; boundary=x"}
        assert problem(client.post(url, content=b"nonsense", headers=headers), 400)["code"] == "unreadable_form"
        files = {"file": ("a.png", picture("PNG")), "prior_report": ("p.txt", b"\xff\xfe\x00")}
        assert problem(client.post(url, files=files), 422)["code"] == "bad_prior_report"


# ---- What is kept, and what is told ----


def test_nothing_of_an_upload_is_logged_or_kept(running: RunningSite) -> None:
    """Neither names nor words nor odd values of an upload reach a log, and the film is erased once it is judged."""
    film = chest(34)
    film.PatientName, film.PatientID = "SECRETNAME^X", "SECRETID"
    film.StudyInstanceUID = "1.987654321.1234"
    odd = part_10(film).replace(b"1.987654321.1234", b"SECRET IDENTITY ")  # pydicom warns of it, and quotes it
    assert post(running, odd, prior="SECRETWORD. No pneumothorax.", name="SECRETFILE.dcm").status_code == 200
    film.BodyPartExamined = film.StudyDescription = "SECRET KNEE"
    assert "not chest" in problem(post(running, part_10(film)), 422)["detail"]
    assert problem(post(running, part_10(film)[:400]), 422)
    logs = list(running.site.log("any").parent.glob("*.log"))
    assert {log.stem for log in logs} >= {"gateway", "worker-score"}
    for log in logs:
        assert "SECRET" not in log.read_text(encoding="utf-8", errors="replace").upper(), log
    with closing(Database(running.site.database_url)) as database, database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM predictions WHERE failure_code IS NOT NULL")) == 0
    kept = [file.name for file in (running.site.state / "uploads").rglob("*") if file.is_file()]
    assert {PurePath(name).suffix for name in kept} <= {".png"}


def test_openapi_declares_form_and_answers(running: RunningSite) -> None:
    """The interface's description names both parts of the form, the result, and every problem."""
    operation = httpx.get(f"{running.site.gateway_url}/openapi.json", trust_env=False).json()["paths"]["/predict"][
        "post"
    ]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert operation["requestBody"]["required"]
    assert schema["required"] == ["file"]
    assert schema["properties"]["file"]["format"] == "binary"
    assert schema["properties"]["prior_report"]["type"] == "string"
    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Prediction")
    for status, response in operation["responses"].items():
        assert status == "200" or set(response["content"]) == {"application/problem+json"}


# ---- When something is away ----


def test_a_worker_that_pauses_answers_late(running: RunningSite) -> None:
    """An upload waits for a worker that hangs for a moment, and is then judged."""
    group = running.supervisor.pid("worker-report")  # it serves uploads, too
    os.killpg(group, signal.SIGSTOP)
    try:
        with (
            ThreadPoolExecutor(1) as pool,
            closing(Database(running.site.environment["FIRSTREAD_DATABASE_URL"])) as database,
        ):
            before = untaken(database)
            answer = pool.submit(post, running, picture("PNG"))
            wait_until(lambda: bool(untaken(database) - before))
            assert not answer.done()
            os.killpg(group, signal.SIGCONT)
            assert answer.result().status_code == 200
    finally:
        os.killpg(group, signal.SIGCONT)


def untaken(database: Database) -> set[str]:
    """The uploads that no worker has taken; some may be left of those who did not wait for an answer."""
    with database.read() as session:
        return set(session.execute(text("SELECT prediction_id FROM predictions WHERE taken_at IS NULL")).scalars())


def ask_where_nobody_works(database: Database, broker_url: str, folder: Path, uploads: int = 1) -> list[httpx.Response]:
    """The answers to uploads sent at once to a gateway with the patience of one second and no worker."""
    jobs = JobRecords(database, SiteRules(), JobLimits())
    limits = PredictLimits(upload_bytes=1_000_000, in_hand_bytes=32_000_000, wait_s=1.0, keep=timedelta(hours=1))
    app = FastAPI()
    install_problems(app)

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client:
            files = {"file": ("film.png", picture("PNG"))}
            return await asyncio.gather(*(client.post("/predict", files=files) for _ in range(uploads)))

    with build_sender(broker_url) as sender:
        app.include_router(
            build_predict(PredictionRecords(database, UploadFiles(folder)), Dispatcher(jobs, sender), limits)
        )
        return asyncio.run(ask())


@pytest.mark.parametrize("broker", ["redis_url", None])
def test_without_worker_or_broker_the_answer_is_503_in_time(
    database: Database, request: pytest.FixtureRequest, broker: str | None, tmp_path: Path
) -> None:
    """Where nobody judges, the caller hears so within seconds, with the time to try again, and nothing stays behind."""
    url = request.getfixturevalue(broker) if broker else f"redis://127.0.0.1:{free_ports(1)[0]}/0"
    started = time.monotonic()
    (answer,) = ask_where_nobody_works(database, url, tmp_path)
    assert time.monotonic() - started < 60
    document = problem(answer, 503)
    assert document["code"] == ("no_answer_in_time" if broker else "broker_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM predictions")) == 0


def test_more_than_fits_is_turned_away_in_time(database: Database, redis_url: str, tmp_path: Path) -> None:
    """When no upload gets anywhere, those behind the first ones hear so in bounded time too."""
    started = time.monotonic()
    answers = ask_where_nobody_works(database, redis_url, tmp_path, uploads=12)
    assert time.monotonic() - started < 60
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"no_answer_in_time", "busy"}
